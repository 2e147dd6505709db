"""Sampling where the weight is, in Warp: one thread a ray does what `neus_ns.rays.refine` says in whole-batch steps.

Marching and pruning are one pass, in which a ray's sections never leave its row of memory; what survives is packed. The
network then says the distances there, and two more passes count and write the refined sections.

Weights and expectations are float32, their running sum along a ray float64, so where a running sum comes to lie next to
a whole number a section may be drawn once more or less than by the reference; nothing else can differ.
"""

import math
from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.kernels.cells import OccupiedCells
from neus_ns.kernels.warp_launch import array
from neus_ns.kernels.warp_march import SHORTEST_RUN, plain, walk_inputs
from neus_ns.kernels.warp_packed import first_samples
from neus_ns.kernels.warp_rays import empty_sections, over_rays, places
from neus_ns.kernels.warp_refine_kernels import count_kernel, gather_kernel, likely_kernel, split_kernel

# The longest stretch of a ray: across the unit ball.
_LONGEST = 2.0


@dataclass(frozen=True)
class Pruning:
    """How to march, and what survives: expectations `by_weight` times the weight plus `anywhere` spread over the ray.

    Sharpness is limited to `most_inv_s`, what remembered distances can tell.
    """

    step: float
    most_inv_s: float
    by_weight: float
    anywhere: float


def likely_sections(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    t_near: Float[Tensor, " rays"],
    t_far: Float[Tensor, " rays"],
    shift: Float[Tensor, " rays"],
    occupied: OccupiedCells,
    distance: Float[Tensor, "res res res"],
    inv_s: Float[Tensor, ""],
    pruning: Pruning,
) -> tuple[Int[Tensor, " sections"], Float[Tensor, " sections"], Float[Tensor, " sections"]]:
    """Ray index (sorted), start and end of the marched sections that are drawn at least once."""
    count, device = len(origins), origins.device
    if count == 0:
        return empty_sections(0, device)
    rays = plain(origins, directions, t_near, t_far, shift)
    known, sharpness = plain(distance, inv_s.reshape(1))
    room = math.ceil(_LONGEST / pruning.step) + 3
    per_ray = torch.empty(count, dtype=torch.int64, device=device)
    row_start, row_end, row_value = torch.empty(3, count * room, device=device)
    starts, ends, values = (array(row, wp.float32) for row in (row_start, row_end, row_value))
    inputs = (
        *walk_inputs(rays, occupied, pruning.step),
        array(known.view(-1), wp.float32),
        array(sharpness, wp.float32),
        float(pruning.most_inv_s),
        float(pruning.by_weight),
        float(pruning.anywhere),
        room,
        array(per_ray, wp.int64),
        starts,
        ends,
        values,
    )
    over_rays(likely_kernel(), inputs, count, origins, SHORTEST_RUN)
    first, total = places(per_ray)
    if total > count * room:
        raise ValueError(f"a ray has more than {room} sections of {pruning.step}: it is longer than the unit ball")
    ray_index, t_start, t_end = empty_sections(total, device)
    if total > 0:
        places_and_counts = (array(first, wp.int64), array(per_ray, wp.int64))
        written = (array(ray_index, wp.int64), array(t_start, wp.float32), array(t_end, wp.float32))
        over_rays(gather_kernel(), (*places_and_counts, room, starts, ends, *written), count, origins, SHORTEST_RUN)
    return ray_index, t_start, t_end


def resampled(
    ray_index: Int[Tensor, " sections"],
    t_start: Float[Tensor, " sections"],
    t_end: Float[Tensor, " sections"],
    sdf: Float[Tensor, " sections"],
    shift: Float[Tensor, " rays"],
    inv_s: Float[Tensor, ""],
    by_weight: float,
    anywhere: float,
) -> tuple[Int[Tensor, " parts"], Float[Tensor, " parts"], Float[Tensor, " parts"]]:
    """Ray index (sorted), start and end of the parts that the sections are cut into, given the distances there."""
    count, device = len(shift), shift.device
    if len(ray_index) == 0:
        return empty_sections(0, device)
    starts, ends, shifts, sharpness = plain(t_start, t_end, shift, inv_s.reshape(1))
    values = sdf.detach().to(torch.float32, copy=True).contiguous()
    first = first_samples(ray_index, count)
    counts = torch.empty(len(ray_index), dtype=torch.int32, device=device)
    per_ray = torch.empty(count, dtype=torch.int64, device=device)
    of_ray, begin, end = array(first, wp.int64), array(starts, wp.float32), array(ends, wp.float32)
    inputs = (of_ray, array(shifts, wp.float32), begin, end, array(values, wp.float32), array(sharpness, wp.float32))
    drawn = (array(counts, wp.int32), array(per_ray, wp.int64))
    over_rays(count_kernel(), (*inputs, float(by_weight), float(anywhere), *drawn), count, shift, SHORTEST_RUN)
    place, total = places(per_ray)
    parts = empty_sections(total, device)
    if total > 0:
        written = (array(parts[0], wp.int64), array(parts[1], wp.float32), array(parts[2], wp.float32))
        inputs = (of_ray, begin, end, array(counts, wp.int32), array(place, wp.int64), *written)
        over_rays(split_kernel(), inputs, count, shift, SHORTEST_RUN)
    return parts
