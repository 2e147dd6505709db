"""Sampling where the weight is, in Warp: one thread a ray does what `neus_ns.rays.refine` says in whole-batch steps.

Marching and pruning are one pass, in which a ray's sections never leave its row of memory; what survives is packed. The
network then says the distances there, and three more passes weigh them, count and write the refined sections.

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
from neus_ns.kernels.room import Room
from neus_ns.kernels.warp_launch import array
from neus_ns.kernels.warp_march import SHORTEST_RUN, plain, section_arrays, walk_inputs
from neus_ns.kernels.warp_packed import first_samples
from neus_ns.kernels.warp_rays import empty_sections, idle_sections, over_rays, places
from neus_ns.kernels.warp_refine_kernels import (
    count_kernel,
    expect_kernel,
    gather_kernel,
    likely_kernel,
    split_kernel,
)

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
    memory: Room | None,
) -> tuple[Int[Tensor, " sections"], Float[Tensor, " sections"], Float[Tensor, " sections"]]:
    """Ray index (sorted), start and end of the marched sections that are drawn at least once.

    With a `memory` the number of sections is not waited for: there may be idle ones at the end.
    """
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
    packed = int(total) if memory is None else memory.sections(total, count, room)
    if packed > count * room:
        raise ValueError(f"a ray has more than {room} sections of {pruning.step}: it is longer than the unit ball")
    found = empty_sections(packed, device) if memory is None else idle_sections(packed, count, rays[2][-1:])
    if packed > 0:
        rows = (array(first, wp.int64), array(per_ray, wp.int64), room, starts, ends)
        over_rays(gather_kernel(), (*rows, packed, *section_arrays(found)), count, origins, SHORTEST_RUN)
    return found


@dataclass(frozen=True)
class Expectations:
    """How many samples each section should get, the same for each ray, and where each ray's sections begin."""

    of_section: Float[Tensor, " sections"]
    of_ray: Float[Tensor, " rays"]
    first: Int[Tensor, " ends"]


def expectations(
    ray_index: Int[Tensor, " sections"],
    t_start: Float[Tensor, " sections"],
    t_end: Float[Tensor, " sections"],
    sdf: Float[Tensor, " sections"],
    num_rays: int,
    inv_s: Float[Tensor, ""],
    by_weight: float,
    anywhere: float,
) -> Expectations:
    """What `neus_ns.rays.refine.expected_counts` says, given the distances at the sections."""
    starts, ends, sharpness = plain(t_start, t_end, inv_s.reshape(1))
    values = sdf.detach().to(torch.float32, copy=True).contiguous()
    of_ray = torch.empty(num_rays, dtype=torch.float64, device=values.device)
    first = first_samples(ray_index, num_rays)
    # Idle sections are of the last ray, whose one thread is not to walk them: on CUDA all others would wait for it.
    first[-1:] = torch.count_nonzero(ends > starts)
    inputs = (array(first, wp.int64), *(array(each, wp.float32) for each in (starts, ends, values, sharpness)))
    shares = (float(by_weight), float(anywhere), array(of_ray, wp.float64))
    over_rays(expect_kernel(), (*inputs, *shares), num_rays, values, SHORTEST_RUN)
    return Expectations(values, of_ray, first)


def cut(
    t_start: Float[Tensor, " sections"],
    t_end: Float[Tensor, " sections"],
    expected: Expectations,
    shift: Float[Tensor, " rays"],
    scale: Float[Tensor, ""] | None,
    samples: int | None,
) -> tuple[Int[Tensor, " parts"], Float[Tensor, " parts"], Float[Tensor, " parts"]]:
    """Ray index (sorted), start and end of the parts that the sections are cut into.

    With `samples`, there are so many of them whatever `scale` times the expectations comes to: a last one that rounding
    has left over is idle, and one too many is left out.
    """
    count, device = len(shift), shift.device
    starts, ends = plain(t_start, t_end)
    shifts = shift.double().contiguous()
    factor = torch.ones(1, dtype=torch.float64, device=device) if scale is None else scale.reshape(1)
    counts = torch.empty(len(starts), dtype=torch.int32, device=device)
    per_ray = torch.empty(count, dtype=torch.int64, device=device)
    first = array(expected.first, wp.int64)
    inputs = (first, array(shifts, wp.float64), array(expected.of_section, wp.float32), array(factor, wp.float64))
    drawn = (array(counts, wp.int32), array(per_ray, wp.int64))
    over_rays(count_kernel(), (*inputs, *drawn), count, shift, SHORTEST_RUN)
    place, total = places(per_ray)
    parts = empty_sections(int(total), device) if samples is None else idle_sections(samples, count, starts[-1:])
    if len(parts[0]) > 0:
        cuts = (first, array(starts, wp.float32), array(ends, wp.float32), array(counts, wp.int32))
        inputs = (*cuts, array(place, wp.int64), len(parts[0]), *section_arrays(parts))
        over_rays(split_kernel(), inputs, count, shift, SHORTEST_RUN)
    return parts
