"""Where rays first enter the surface, by linear interpolation between samples: differentiable in their distances.

Between touching samples before (f > 0) and behind (f <= 0) the surface, at depths t_0 and t_1,

    t = t_0 + (t_1 - t_0) f_0 / (f_0 - f_1)

as in Geo-NeuS, eq. 6. Its derivative is that of the depth at which the ray meets the zero level set, dt = -df / (n.d).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neus_ns.rays.refine import neighbours
from neus_ns.rays.sections import Sections


@dataclass(frozen=True)
class Crossings:
    """For some rays whether they enter the surface, and between which samples; their number is known beforehand."""

    ray_index: Int[Tensor, " rays"]
    enters: Bool[Tensor, " rays"]
    before: Int[Tensor, " rays"]
    """The last sample before the surface, and the next one is behind it; any two where the ray does not enter."""

    def __len__(self) -> int:
        return len(self.ray_index)

    def some(self, count: int) -> "Crossings":
        """So many at random, those that enter first."""
        order = torch.rand(len(self), device=self.enters.device) + (~self.enters)
        chosen = order.topk(min(count, len(self)), largest=False).indices
        return Crossings(self.ray_index[chosen], self.enters[chosen], self.before[chosen])


@torch.no_grad()
def first_crossings(sections: Sections, sdf: Float[Tensor, " sections"], num_rays: int) -> Crossings:
    """The first entry of every ray, if it has one; no rays at all if there are not two samples.

    A ray whose first negative sample has no positive one right before it started inside, or entered where nobody
    looked: what it crosses later is not what its photograph shows, so it is left out.
    """
    count = len(sdf)
    rays, number = torch.arange(num_rays, device=sdf.device), torch.arange(count, device=sdf.device)
    if count < 2:
        return Crossings(rays[:0], rays[:0].bool(), rays[:0])
    behind = torch.full_like(rays, count)
    behind = behind.scatter_reduce(0, sections.ray_index.long(), torch.where(sdf <= 0, number, count), "amin")
    touches_before, _ = neighbours(sections)
    enters = (behind < count) & touches_before[behind.clamp_max(count - 1)]
    return Crossings(rays, enters, torch.where(enters, behind - 1, 0))


def crossing_share(
    sdf_before: Float[Tensor, " crossings"], sdf_behind: Float[Tensor, " crossings"]
) -> Float[Tensor, " crossings"]:
    """Where on the way from one sample (0) to the next (1) the surface is."""
    return sdf_before / (sdf_before - sdf_behind)
