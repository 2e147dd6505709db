"""The world outside the unit ball, for captures without masks: a small radiance field in inverted coordinates.

A point outside the ball is pulled to x / |x| * (2 - 1 / |x|), inside radius 2 (the contraction of mip-NeRF 360, eq.
10), so that the far world is seen coarsely and infinity has a place.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.direction import SH_WIDTH, spherical_harmonics
from neus_ns.fields.hash_grid import HashGrid
from neus_ns.fields.mlp import ReluMlp
from neus_ns.kernels.backend import Backend
from neus_ns.kernels.layout import GridLayout

LAYOUT = GridLayout(levels=8, features=2, log2_rows=16, coarsest=16, finest=256)
_FEATURES = 16


def contract(points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Pull all of space into the ball of radius 2; the unit ball stays as it is."""
    norm = points.norm(dim=-1, keepdim=True).clamp_min(1.0)
    return points * ((2 - 1 / norm) / norm)


class BackgroundField(nn.Module):
    """Density and colour outside the unit ball."""

    def __init__(self, width: int, appearance: int, backend: Backend) -> None:
        super().__init__()
        self.grid = HashGrid(LAYOUT, half_side=2.0, backend=backend)
        self.density = ReluMlp(self.grid.width, width, 1, _FEATURES)
        self.colour = ReluMlp(_FEATURES + SH_WIDTH + appearance, width, 1, 3)

    def forward(
        self, contracted: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points features"]]:
        """Density per unit length of the contracted distance, and what colour is made of."""
        # The density is made of a feature, too: to take it out of them would copy the rest.
        feature = self.density(self.grid.value(contracted))
        return F.softplus(feature[:, 0]), feature

    def shade(
        self,
        feature: Float[Tensor, "rays features"],
        directions: Float[Tensor, "rays 3"],
        appearance: Float[Tensor, "rays embedding"],
    ) -> Float[Tensor, "rays 3"]:
        """Colour of what rays met on their way. Once a ray, not once a sample: that would be most of a step's time."""
        return torch.sigmoid(self.colour(feature, spherical_harmonics(directions), appearance))
