"""Lines of sight in Warp: one thread follows one of them, as `neus_ns.rays.sight` follows all together.

That takes hundreds of small operations over all lines, of which most have met something or arrived after a few steps.
"""
# Warp compiles the kernel itself; as Python it is full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.kernels.warp_launch import array
from neus_ns.kernels.warp_march import plain
from neus_ns.kernels.warp_rays import over_rays
from neus_ns.kernels.warp_refine_kernels import distance_at

# Fewer lines than this are not worth waking a second thread for.
_SHORTEST_RUN = 256


def free_lines(
    distance: Float[Tensor, "res res res"],
    points: Float[Tensor, "pairs 3"],
    eyes: Float[Tensor, "pairs 3"],
    asked: Bool[Tensor, " pairs"],
    sets_out: float,
    least_step: float,
    steps: int,
) -> Bool[Tensor, " pairs"]:
    """Lines that meet nothing; no, where it is not asked."""
    free = torch.empty_like(asked, memory_format=torch.contiguous_format)
    known, starts, ends = plain(distance, points, eyes)
    wanted = asked.contiguous()
    inputs = (
        array(known.view(-1), wp.float32),
        known.shape[0],
        array(starts, wp.vec3),
        array(ends, wp.vec3),
        array(wanted, wp.bool),
        float(sets_out),
        float(least_step),
        steps,
        array(free, wp.bool),
    )
    over_rays(sight_kernel(), inputs, len(points), points, _SHORTEST_RUN)
    return free


@wp.func
@no_type_check
def to_the_ball(origin: wp.vec3, direction: wp.vec3):
    """How far ahead a line leaves the unit ball; where it enters it, or zero, if it misses it."""
    middle = -wp.dot(origin, direction)
    under_root = middle * middle - wp.dot(origin, origin) + 1.0
    half = wp.sqrt(wp.max(under_root, 0.0))
    near = wp.max(middle - half, 0.0)
    if under_root <= 0.0:
        return near
    return wp.max(middle + half, near)


@functools.cache
@no_type_check
def sight_kernel() -> wp.Kernel:
    """Follow each line from its point towards its eye, by the distances that cells remember."""

    @wp.kernel(enable_backward=False, module="unique")
    def follow_sight(
        begin: int,
        distance: wp.array(dtype=float),
        resolution: int,
        points: wp.array(dtype=wp.vec3),
        eyes: wp.array(dtype=wp.vec3),
        asked: wp.array(dtype=wp.bool),
        sets_out: float,
        least_step: float,
        steps: int,
        free: wp.array(dtype=wp.bool),
    ):
        line = begin + wp.tid()
        met = wp.bool(not asked[line])
        if not met:
            point = points[line]
            towards = eyes[line] - point
            length = wp.length(towards)
            direction = towards / wp.max(length, 1.0e-12)
            end = wp.min(length, to_the_ball(point, direction))
            half = 0.5 * float(resolution)
            t = float(sets_out)
            for _step in range(steps):
                if t >= end or met:
                    break
                at = point + t * direction
                ahead = distance_at(distance, half * (at + wp.vec3(1.0, 1.0, 1.0)), resolution)
                met = ahead < 0.0
                t += wp.max(ahead, least_step)
        free[line] = not met

    return follow_sight
