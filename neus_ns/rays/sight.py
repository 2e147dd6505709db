"""Whether points near the surface can be seen from places, by the distances that the occupancy grid remembers.

A line of sight is followed as a sphere is traced: each step as long as the distance there says is free, and no shorter
than half a cell. It is hidden if it ever gets inside. No network is asked, so that thousands of lines cost little; what
is thinner than half a cell may be missed.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.kernels.backend import Backend
from neus_ns.kernels.room import picked
from neus_ns.rays.bounds import clip_to_unit_ball
from neus_ns.rays.occupancy import OccupancyGrid

# How far from its point a line of sight sets out, and its least step, in cells of the grid: a surface does not hide
# itself.
_SETS_OUT, _LEAST_STEP = 2.0, 0.5
# So many times a line of sight takes so many steps, and those that have arrived or met something go no further. One
# that is still on its way in the end has met nothing so far, and is taken as free.
_STAGES, _STEPS = 6, 8


@torch.no_grad()
def in_sight(
    grid: OccupancyGrid,
    points: Float[Tensor, "*pairs 3"],
    eyes: Float[Tensor, "*pairs 3"],
    asked: Bool[Tensor, "*pairs"],
    backend: Backend,
) -> Bool[Tensor, "*pairs"]:
    """Whether nothing is between each point and its eye, both in the unit frame; no, where that is not asked."""
    lines = (points.reshape(-1, 3), eyes.reshape(-1, 3), asked.reshape(-1))
    if backend == "torch":
        return asked & _free_lines(grid, *lines).view_as(asked)
    from neus_ns.kernels import warp_sight

    cell = 2 / grid.resolution
    free = warp_sight.free_lines(grid.distance, *lines, _SETS_OUT * cell, _LEAST_STEP * cell, _STAGES * _STEPS)
    return free.view_as(asked)


def _free_lines(
    grid: OccupancyGrid, points: Float[Tensor, "pairs 3"], eyes: Float[Tensor, "pairs 3"], asked: Bool[Tensor, " pairs"]
) -> Bool[Tensor, " pairs"]:
    """Lines that meet nothing; anything where it is not asked. The law in plain torch."""
    towards = eyes - points
    directions = F.normalize(towards, dim=-1)
    cell = 2 / grid.resolution
    end = torch.minimum(towards.norm(dim=-1), clip_to_unit_ball(points, directions, 0.0).t_far)
    t = torch.full_like(end, _SETS_OUT * cell)
    free = torch.ones_like(end, dtype=torch.bool)
    for _ in range(_STAGES):
        which = picked(asked & free & (t < end))
        t[which], met_nothing = _steps(grid, *(of[which] for of in (points, directions, t, end)))
        free[which] &= met_nothing
    return free


def _steps(
    grid: OccupancyGrid,
    points: Float[Tensor, "pairs 3"],
    directions: Float[Tensor, "pairs 3"],
    t: Float[Tensor, " pairs"],
    end: Float[Tensor, " pairs"],
) -> tuple[Float[Tensor, " pairs"], Bool[Tensor, " pairs"]]:
    """How far lines of sight come in a few steps, and which have met nothing."""
    free = torch.ones_like(end, dtype=torch.bool)
    for _ in range(_STEPS):
        distance = grid.remembered_sdf(torch.addcmul(points, directions, t[:, None]))
        free &= (distance >= 0) | (t >= end)
        t = t + distance.clamp_min(_LEAST_STEP * 2 / grid.resolution)
    return t, free
