"""Small fully connected networks."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.products import Dense

# Matrix products are up to twice as fast if the result is a multiple of this many numbers wide.
_FAST_WIDTH = 16


def padding(width: int) -> int:
    """How many columns of zeros make a matrix of so many columns fast to multiply with."""
    return -width % _FAST_WIDTH


def relu_mlp(inputs: int, width: int, hidden_layers: int, outputs: int) -> nn.Sequential:
    """A plain ReLU network without an output activation."""
    layers: list[nn.Module] = []
    for layer in range(hidden_layers):
        layers += [Dense(inputs if layer == 0 else width, width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, Dense(width, outputs))


def even_directions(count: int) -> Float[Tensor, "count 3"]:
    """Unit vectors spread evenly over the sphere, in opposite pairs (a spherical Fibonacci lattice and its mirror)."""
    half = (count + 1) // 2
    k = torch.arange(half, dtype=torch.float64) + 0.5
    z = 1 - k / half
    angle = k * torch.pi * (1 + 5**0.5)
    ring = (1 - z * z).clamp_min(0).sqrt()
    upper = torch.stack([ring * angle.cos(), ring * angle.sin(), z], 1)
    return torch.cat([upper, -upper])[:count].float()
