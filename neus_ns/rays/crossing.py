"""Where rays first enter the surface, by linear interpolation between samples: differentiable in their distances.

Between touching samples before (f > 0) and behind (f <= 0) the surface, at depths t_0 and t_1,

    t = t_0 + (t_1 - t_0) f_0 / (f_0 - f_1)

as in Geo-NeuS, eq. 6. Its derivative is that of the depth at which the ray meets the zero level set, dt = -df / (n.d).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.rays.refine import neighbours
from neus_ns.rays.sections import Sections


@dataclass(frozen=True)
class Crossings:
    """Rays that enter the surface: which, between which samples, and how far along the way from one to the other."""

    ray_index: Int[Tensor, " crossings"]
    before: Int[Tensor, " crossings"]
    """The last sample before the surface; the next one is behind it."""

    def __len__(self) -> int:
        return len(self.ray_index)

    def some(self, chosen: Int[Tensor, " some"]) -> "Crossings":
        """Some of them."""
        return Crossings(self.ray_index[chosen], self.before[chosen])


@torch.no_grad()
def first_crossings(sections: Sections, sdf: Float[Tensor, " sections"]) -> Crossings:
    """The first entry of every ray that has one.

    A ray whose first negative sample has no positive one right before it started inside, or entered where nobody
    looked: what it crosses later is not what its photograph shows, so it is left out.
    """
    behind = torch.nonzero(sdf <= 0)[:, 0]
    ray = sections.ray_index[behind]
    first = torch.ones_like(ray, dtype=torch.bool)
    first[1:] = ray[1:] != ray[:-1]
    touches_before, _ = neighbours(sections)
    enters = first & touches_before[behind]
    return Crossings(ray[enters], behind[enters] - 1)


def crossing_share(
    sdf_before: Float[Tensor, " crossings"], sdf_behind: Float[Tensor, " crossings"]
) -> Float[Tensor, " crossings"]:
    """Where on the way from one sample (0) to the next (1) the surface is."""
    return sdf_before / (sdf_before - sdf_behind)
