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
from neus_ns.rays.refine import CERTAIN, Allotment, RefineBudget, Refined, SdfFn, levelled, prune, refine, resolvable
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
    allotment: Allotment,
    backend: Backend,
) -> Refined:
    """Sections worth evaluating, and how many the budget of these rays comes to."""
    if plan.budget is None:
        sections = marched_sections(rays, grid, plan.step, allotment.shift, backend)
        return Refined(sections, torch.tensor(float(len(sections)), device=sections.t_start.device))
    likely = likely_sections(rays, grid, inv_s, plan.step, plan.budget.anywhere, allotment, backend)
    return refined_sections(rays, likely, sdf_fn, inv_s, plan.budget, allotment, backend)


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
    allotment: Allotment,
    backend: Backend,
) -> Sections:
    """The marched sections that survive pruning by the distances that the grid remembers."""
    if backend == "torch":
        marched = marched_sections(rays, grid, step, allotment.shift, backend)
        return prune(rays, marched, grid.remembered_sdf, inv_s, step, anywhere, allotment.shift)
    from neus_ns.kernels import warp_refine

    pruning = warp_refine.Pruning(step, resolvable(step), CERTAIN, anywhere)
    given = (rays.origins, rays.directions, rays.t_near, rays.t_far, allotment.shift)
    return Sections(*warp_refine.likely_sections(*given, grid.cells, grid.distance, inv_s, pruning, allotment.room))


def refined_sections(
    rays: Rays,
    likely: Sections,
    sdf_fn: SdfFn,
    inv_s: Float[Tensor, ""],
    budget: RefineBudget,
    allotment: Allotment,
    backend: Backend,
) -> Refined:
    """The likely sections cut into samples where the network's own distances say that the weight is."""
    if backend == "torch" or len(likely) == 0:
        return refine(rays, likely, sdf_fn, inv_s, budget, allotment)
    from neus_ns.kernels import warp_refine

    sdf = sdf_fn(rays.points(likely))
    packed = (likely.ray_index, likely.t_start, likely.t_end)
    expected = warp_refine.expectations(*packed, sdf, len(rays), inv_s, budget.by_weight, budget.anywhere)
    scale, shift = None, allotment.shift
    if allotment.samples is not None:
        scale, shift = levelled(expected.of_ray, allotment.samples, shift[:1])
    drawn = warp_refine.cut(likely.t_start, likely.t_end, expected, shift, scale, allotment.samples)
    return Refined(Sections(*drawn), expected.of_ray.sum().float())
