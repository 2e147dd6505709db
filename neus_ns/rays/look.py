"""Where to look along a batch of rays: march through occupied cells, then (by default) refine where the weight is.

A coarse pass of the network over every marched section would cost as much as everything else in a step. The distances
that the occupancy grid remembers cost nothing and leave a handful of likely sections, and only these are asked for.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels.backend import Backend
from neus_ns.kernels.march import march
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.refine import RefineBudget, SdfFn, prune, refine
from neus_ns.rays.sections import Rays, Sections


@dataclass(frozen=True)
class LookPlan:
    """How finely to march, and what to spend on refinement (None: march only)."""

    step: float
    budget: RefineBudget | None


def look(
    rays: Rays,
    grid: OccupancyGrid,
    sdf_fn: SdfFn,
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
    likely = prune(rays, marched, grid.remembered_sdf, inv_s, plan.budget.anywhere, shift, backend)
    return refine(rays, likely, sdf_fn, inv_s, plan.budget, shift, backend)
