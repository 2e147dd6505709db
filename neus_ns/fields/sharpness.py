"""How sharp the surface is: NeuS's inverse standard deviation s, learned."""

import torch
from torch import Tensor, nn

_SHARPEST = 1e5


class Sharpness(nn.Module):
    """inv_s = exp(10 v), v learned (NeuS); the factor 10 lets one learning rate serve it and the networks.

    `ceiling`, set by schedule, keeps it from running ahead: a surface that is sharp before it is in place can no longer
    move far, because only what lies within about 1 / inv_s of it is seen by the rays.
    """

    def __init__(self, initial_inv_s: float) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.tensor(initial_inv_s).log() / 10)
        self.ceiling = _SHARPEST

    def forward(self) -> Tensor:
        return torch.exp(10 * self.v).clamp(1e-3, min(self.ceiling, _SHARPEST))
