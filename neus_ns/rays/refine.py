"""NeuS up-sampling on packed sections: spend the samples where the weight is.

NeuS draws new depths from the coarse weights by inverse transform and sorts them in. On packed sections the same law
needs no sort: every section is given an expected number of samples, and systematic resampling turns the running sum of
these into whole numbers,

    count_i = floor(C_i + u) - floor(C_{i-1} + u),     C = running sum on the ray, u one shift per ray,

or, where a batch is to have exactly N samples whatever it meets, so that nobody has to wait to hear how many there are,

    C = running sum over the whole batch, scaled to reach N at its end, u one shift for all;

then a section with count n is cut into n equal parts and one with count 0 is dropped. The parts tile what is kept, so
section lengths stay exact whatever the gaps.

This is the law in plain torch: the reference for the kernels that do the same a ray at a time, and the fallback.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neus_ns.kernels.room import Room
from neus_ns.kernels.torch_packed import weights_from_alpha
from neus_ns.rays.sections import Rays, Sections
from neus_ns.rendering.neus import alpha_from_sdf

SdfFn = Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]]

# A section whose blurred weight times this reaches one is certain to survive pruning.
CERTAIN = 50.0


@dataclass(frozen=True)
class Allotment:
    """What one batch of rays may take, and its random numbers."""

    shift: Float[Tensor, " rays"]
    """In [0, 1): moves each ray's lattice, and its counts; random in training, else one half."""
    samples: int | None = None
    """So many samples in all; None: as many as the budget of each ray comes to."""
    room: Room | None = None
    """Memory for sections whose number need not be waited for; None: exactly what is needed."""


class Refined(NamedTuple):
    """Samples of a batch, and how many the budget of its rays comes to."""

    sections: Sections
    wanted: Float[Tensor, ""]


@dataclass(frozen=True)
class RefineBudget:
    """Expected samples of a ray: `by_weight` in proportion to its opacity, plus `anywhere` spread evenly."""

    by_weight: float
    anywhere: float


def resolvable(step: float) -> float:
    """The sharpness up to which a rough distance still tells in which section of this length the weight will be."""
    return 2.0 / step


def neighbours(sections: Sections) -> tuple[Tensor, Tensor]:
    """For each section whether the one before and the one after touch it on the same ray."""
    index, gap = sections.ray_index, 1e-3 * sections.length
    touches = (index[1:] == index[:-1]) & ((sections.t_start[1:] - sections.t_end[:-1]).abs() <= gap[1:])
    no = touches.new_zeros(1)
    return torch.cat([no, touches]), torch.cat([touches, no])


def slope_along_ray(sdf: Float[Tensor, " sections"], sections: Sections) -> Float[Tensor, " sections"]:
    """Change of signed distance per unit length, from the touching neighbours; -1 (head on) where there are none."""
    has_before, has_after = neighbours(sections)
    middle = sections.t_middle
    step = torch.where(has_after[:-1], (sdf[1:] - sdf[:-1]) / (middle[1:] - middle[:-1]).clamp_min(1e-9), 0)
    zero = step.new_zeros(1)
    before, after = torch.cat([zero, step]), torch.cat([step, zero])
    # NeuS takes the smaller of the two slopes, which keeps grazing rays from missing a thin surface.
    slope = torch.minimum(torch.where(has_before, before, torch.inf), torch.where(has_after, after, torch.inf))
    return torch.where(has_before | has_after, slope, -torch.ones_like(slope)).clamp(-1e3, 0)


def expected_counts(
    weights: Float[Tensor, " sections"], sections: Sections, num_rays: int, budget: RefineBudget
) -> Float[Tensor, " sections"]:
    """Expected number of samples per section: by weight, blurred to both neighbours, plus an even share."""
    has_before, has_after = neighbours(sections)
    zero = weights.new_zeros(1)
    before = torch.where(has_before, torch.cat([zero, weights[:-1]]), 0)
    after = torch.where(has_after, torch.cat([weights[1:], zero]), 0)
    # The surface moves while it is learnt and a midpoint slope is only an estimate: neighbours get a share as well.
    blurred = 0.6 * weights + 0.2 * (before + after)
    per_ray = torch.bincount(sections.ray_index, minlength=num_rays).clamp_min(1)
    expected = budget.by_weight * blurred + (budget.anywhere / per_ray)[sections.ray_index]
    # Where the field gives no number the losses must see it, for there it is reported.
    return torch.where(expected.isfinite(), expected, 1.0)


def levelled(
    expected_per_ray: Float[Tensor, " rays"], samples: int, shift: Float[Tensor, "1"]
) -> tuple[Float[Tensor, ""], Float[Tensor, " rays"]]:
    """The scale of expectations at which the batch comes to `samples`, and the shift of each ray with which the rays'
    counts, one after another, are those of a single resampling of the whole batch."""
    running = torch.cumsum(expected_per_ray.double(), 0)
    scale = samples / running[-1].clamp_min(1e-9)
    begin = (running - expected_per_ray) * scale + shift.double()
    return scale, begin - torch.floor(begin)


def resample_counts(
    expected: Float[Tensor, " sections"], ray_index: Int[Tensor, " sections"], shift: Float[Tensor, " rays"]
) -> Int[Tensor, " sections"]:
    """Whole numbers with the given expectations, by systematic resampling along each ray."""
    running = torch.cumsum(expected.double(), 0)
    count = torch.bincount(ray_index, minlength=len(shift))
    first = (torch.cumsum(count, 0) - count).clamp_max(len(expected) - 1)
    begin = (running - expected)[first]
    upper = running - begin[ray_index] + shift.double()[ray_index]
    return (torch.floor(upper) - torch.floor(upper - expected)).clamp_min(0).long()


def select(sections: Sections, keep: Bool[Tensor, " sections"]) -> Sections:
    """The sections that are kept, in order."""
    return Sections(sections.ray_index[keep], sections.t_start[keep], sections.t_end[keep])


def split(sections: Sections, counts: Int[Tensor, " sections"]) -> Sections:
    """Cut every section into `counts` equal parts; a count of zero drops it."""
    parent = torch.repeat_interleave(counts)
    first = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(parent), device=parent.device) - first[parent]
    part = (sections.length / counts.clamp_min(1))[parent]
    t_start = sections.t_start[parent] + rank * part
    return Sections(sections.ray_index[parent], t_start, t_start + part)


def coarse_weights(
    rays: Rays, sections: Sections, sdf_fn: SdfFn, inv_s: Float[Tensor, ""]
) -> Float[Tensor, " sections"]:
    """Compositing weights of sections from distances alone, the slope taken between neighbours."""
    sdf = sdf_fn(rays.points(sections))
    alpha = alpha_from_sdf(sdf, slope_along_ray(sdf, sections), sections.length, inv_s)
    return weights_from_alpha(alpha, sections.ray_index, len(rays))[0]


@torch.no_grad()
def prune(
    rays: Rays,
    sections: Sections,
    sdf_fn: SdfFn,
    inv_s: Float[Tensor, ""],
    step: float,
    anywhere: float,
    shift: Float[Tensor, " rays"],
) -> Sections:
    """Drop sections that will hardly count, by a cheap and rough distance; some survive anywhere, at random.

    The rough distance may be off by a fraction of a section, so the sharpness that it is judged with is limited to what
    a section can resolve.
    """
    if len(sections) == 0:
        return sections
    weights = coarse_weights(rays, sections, sdf_fn, inv_s.clamp_max(resolvable(step)))
    expected = expected_counts(weights, sections, len(rays), RefineBudget(CERTAIN, anywhere)).clamp_max(1.0)
    return select(sections, resample_counts(expected, sections.ray_index, shift) > 0)


@torch.no_grad()
def refine(
    rays: Rays,
    sections: Sections,
    sdf_fn: SdfFn,
    inv_s: Float[Tensor, ""],
    budget: RefineBudget,
    allotment: Allotment,
) -> Refined:
    """Sections where the coarse weights say the surface is: about `budget` of them a ray, or what is allotted."""
    if len(sections) == 0:
        return Refined(sections, sections.t_start.new_zeros(()))
    weights = coarse_weights(rays, sections, sdf_fn, inv_s)
    expected = expected_counts(weights, sections, len(rays), budget)
    wanted, shift = expected.sum(), allotment.shift
    if allotment.samples is not None:
        of_ray = expected.new_zeros(len(rays), dtype=torch.float64).index_add_(0, sections.ray_index, expected.double())
        scale, shift = levelled(of_ray, allotment.samples, shift[:1])
        expected = expected * scale
    return Refined(split(sections, resample_counts(expected, sections.ray_index, shift)), wanted)
