"""Where to look along a batch of rays: march through occupied cells, then (by default) refine where the weight is.

A coarse pass of the network over every marched section would cost as much as everything else in a step. The distances
that the occupancy grid remembers cost nothing and leave a handful of likely sections, and only these are asked for.

Both stages are the torch code of `refine`, or kernels of the same law; which of them runs is decided here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels.backend import Backend
from neus_ns.kernels.march import march
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.refine import CERTAIN, RefineBudget, SdfFn, prune, refine, resolvable
from neus_ns.rays.sections import Rays, Sections


@dataclass(frozen=True)
class LookPlan:
    """How finely to march, and what to spend on refinement (None: march only)."""

    step: float
    budget: RefineBudget | None


@torch.no_grad()
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
    if plan.budget is None:
        return marched_sections(rays, grid, plan.step, shift, backend)
    likely = likely_sections(rays, grid, inv_s, plan.step, plan.budget.anywhere, shift, backend)
    return refined_sections(rays, likely, sdf_fn, inv_s, plan.budget, shift, backend)


def marched_sections(
    rays: Rays, grid: OccupancyGrid, step: float, shift: Float[Tensor, " rays"], backend: Backend
) -> Sections:
    """Every section of the rays' lattices whose midpoint is in an occupied cell."""
    return Sections(*march(rays.origins, rays.directions, rays.t_near, rays.t_far, shift, grid.cells, step, backend))


def likely_sections(
    rays: Rays,
    grid: OccupancyGrid,
    inv_s: Float[Tensor, ""],
    step: float,
    anywhere: float,
    shift: Float[Tensor, " rays"],
    backend: Backend,
) -> Sections:
    """The marched sections that survive pruning by the distances that the grid remembers."""
    if backend == "torch":
        marched = marched_sections(rays, grid, step, shift, backend)
        return prune(rays, marched, grid.remembered_sdf, inv_s, step, anywhere, shift)
    from neus_ns.kernels import warp_refine

    pruning = warp_refine.Pruning(step, resolvable(step), CERTAIN, anywhere)
    given = (rays.origins, rays.directions, rays.t_near, rays.t_far, shift)
    return Sections(*warp_refine.likely_sections(*given, grid.cells, grid.distance, inv_s, pruning))


def refined_sections(
    rays: Rays,
    likely: Sections,
    sdf_fn: SdfFn,
    inv_s: Float[Tensor, ""],
    budget: RefineBudget,
    shift: Float[Tensor, " rays"],
    backend: Backend,
) -> Sections:
    """The likely sections cut into samples where the network's own distances say that the weight is."""
    if backend == "torch" or len(likely) == 0:
        return refine(rays, likely, sdf_fn, inv_s, budget, shift)
    from neus_ns.kernels import warp_refine

    packed = (likely.ray_index, likely.t_start, likely.t_end)
    sdf = sdf_fn(rays.points(likely))
    return Sections(*warp_refine.resampled(*packed, sdf, shift, inv_s, budget.by_weight, budget.anywhere))
