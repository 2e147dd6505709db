"""How sharp the surface is: NeuS's inverse standard deviation s, learned."""

import torch
from torch import Tensor, nn


class Sharpness(nn.Module):
    """inv_s = exp(10 v), v learned (NeuS); the factor 10 lets one learning rate serve it and the networks."""

    def __init__(self, initial_inv_s: float) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.tensor(initial_inv_s).log() / 10)

    def forward(self) -> Tensor:
        return torch.exp(10 * self.v).clamp(1e-3, 1e5)
