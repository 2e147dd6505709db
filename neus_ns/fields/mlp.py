"""Small fully connected networks."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.relu_function import relu_network


class ReluMlp(nn.Sequential):
    """A plain ReLU network without an output activation."""

    def __init__(self, inputs: int, width: int, hidden_layers: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for layer in range(hidden_layers):
            layers += [nn.Linear(inputs if layer == 0 else width, width), nn.ReLU()]
        super().__init__(*layers, nn.Linear(width, outputs))

    def forward(self, *inputs: Float[Tensor, "points _"]) -> Float[Tensor, "points outputs"]:
        """Of the inputs side by side."""
        return relu_network(inputs, [layer for layer in self if isinstance(layer, nn.Linear)])


def even_directions(count: int) -> Float[Tensor, "count 3"]:
    """Unit vectors spread evenly over the sphere, in opposite pairs (a spherical Fibonacci lattice and its mirror)."""
    half = (count + 1) // 2
    k = torch.arange(half, dtype=torch.float64) + 0.5
    z = 1 - k / half
    angle = k * torch.pi * (1 + 5**0.5)
    ring = (1 - z * z).clamp_min(0).sqrt()
    upper = torch.stack([ring * angle.cos(), ring * angle.sin(), z], 1)
    return torch.cat([upper, -upper])[:count].float()
