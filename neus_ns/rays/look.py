"""Where to look along a batch of rays: march through occupied cells, then (by default) refine where the weight is.

The weight that refinement goes by comes from the distances that the occupancy grid remembers, not from the network: a
coarse pass through the network would cost as much as everything else in a step.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels.backend import Backend
from neus_ns.kernels.march import march
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.refine import RefineBudget, refine
from neus_ns.rays.sections import Rays, Sections


@dataclass(frozen=True)
class LookPlan:
    """How finely to march, and what to spend on refinement (None: march only)."""

    step: float
    budget: RefineBudget | None


def look(
    rays: Rays,
    grid: OccupancyGrid,
    inv_s: Float[Tensor, ""],
    plan: LookPlan,
    shift: Float[Tensor, " rays"],
    backend: Backend,
) -> Sections:
    """Sections worth evaluating. `shift` in [0, 1) moves each ray's lattice: random in training, else one half."""
    marched = Sections(
        *march(rays.origins, rays.directions, rays.t_near, rays.t_far, shift, grid.occupied, plan.step, backend)
    )
    if plan.budget is None:
        return marched
    return refine(rays, marched, grid.remembered_sdf, inv_s, plan.budget, shift, backend)
