"""Warp source of the march: where a ray is in its lattice, which cube around it is empty, and the pass over one ray."""
# Warp compiles the kernels itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import no_type_check

import warp as wp


@wp.func
@no_type_check
def time_inside(origin: wp.vec3, inverse: wp.vec3, side: float):
    """When a ray enters and leaves the box [-side, side]^3."""
    low = wp.cw_mul(wp.vec3(-side, -side, -side) - origin, inverse)
    high = wp.cw_mul(wp.vec3(side, side, side) - origin, inverse)
    return wp.max(wp.min(low, high)), wp.min(wp.max(low, high))


@wp.func
@no_type_check
def inverse_of(direction: float):
    """One over a component, large but finite where the ray runs along the axis."""
    if wp.abs(direction) < 1.0e-20:
        return 1.0e20
    return 1.0 / direction


@wp.func
@no_type_check
def inverses_of(direction: wp.vec3):
    """One over each component."""
    return wp.vec3(inverse_of(direction[0]), inverse_of(direction[1]), inverse_of(direction[2]))


@wp.func
@no_type_check
def slack_of(far: float, step: float):
    """By how much of a step less is skipped than could be: a ray's times are rounded, coarsely far from its origin."""
    return 0.01 + 2.0e-6 * (1.0 + wp.abs(far)) / step


@wp.func
@no_type_check
def to_exit(scaled: float, cell: int, time_a_cell: float, away: int):
    """Ray time until a point leaves, along one axis, the blocks around it that are less than `away` blocks away."""
    ahead = wp.where(time_a_cell > 0.0, (cell >> 2) + away, (cell >> 2) - away + 1)
    return (float(ahead * 4) - scaled) * time_a_cell


@wp.func
@no_type_check
def time_to_exit(scaled: wp.vec3, cell: wp.vec3i, time_a_cell: wp.vec3, away: int):
    """Ray time until a point leaves the cube of blocks around it that are less than `away` blocks away."""
    x = to_exit(scaled[0], cell[0], time_a_cell[0], away)
    y = to_exit(scaled[1], cell[1], time_a_cell[1], away)
    z = to_exit(scaled[2], cell[2], time_a_cell[2], away)
    return wp.min(x, wp.min(y, z))


class LatticeFields:
    """One ray with its lattice of sections, as far as they can lie in the box, and the measures of the cells."""

    origin: wp.vec3
    direction: wp.vec3
    time_a_cell: wp.vec3
    near: float
    far: float
    shift: float
    step: float
    first: int
    stop: int
    # Section k has its midpoint no later than t where k <= per_step t + behind.
    per_step: float
    behind: float
    half: float
    resolution: int
    blocks_a_side: int


# Not a decorator: run-time type checkers take a decorated class for one of Python's own.
Lattice = wp.struct(LatticeFields)


@wp.func
@no_type_check
def lattice_of(
    origin: wp.vec3,
    direction: wp.vec3,
    near: float,
    far: float,
    shift: float,
    step: float,
    resolution: int,
    blocks_a_side: int,
):
    """The lattice, from the first section that can lie in the box, up to and without `stop`."""
    inverse = inverses_of(direction)
    enter, leave = time_inside(origin, inverse, 1.0001)
    slack = slack_of(far, step)
    ray = Lattice()
    ray.origin = origin
    ray.direction = direction
    ray.near = near
    ray.far = far
    ray.shift = shift
    ray.step = step
    ray.first = wp.max(int(wp.floor((wp.max(enter, near) - near) / step + shift - 1.5 - slack)), 0)
    ray.stop = int(wp.ceil((wp.min(leave, far) - near) / step + shift + 1.0 + slack))
    ray.per_step = 1.0 / step
    ray.behind = shift - 0.5 - slack - near * ray.per_step
    ray.half = 0.5 * float(resolution)
    ray.time_a_cell = inverse / ray.half
    ray.resolution = resolution
    ray.blocks_a_side = blocks_a_side
    return ray


@wp.func
@no_type_check
def visit(k: int, ray: Lattice, cells: wp.array(dtype=wp.bool), blocks_away: wp.array(dtype=wp.uint8)):
    """The section to look at after k; whether k is occupied, its start and end, and its midpoint counted in cells."""
    start = wp.max(ray.near + (float(k) - ray.shift) * ray.step, ray.near)
    end = wp.min(ray.near + (float(k) - ray.shift + 1.0) * ray.step, ray.far)
    middle = (start + end) * 0.5
    scaled = (ray.origin + middle * ray.direction + wp.vec3(1.0, 1.0, 1.0)) * ray.half
    # Truncation is the floor wherever the point is inside.
    cell = wp.vec3i(int(scaled[0]), int(scaled[1]), int(scaled[2]))
    if wp.min(scaled) < 0.0 or wp.max(cell) >= ray.resolution:
        return k + 1, False, start, end, scaled
    away = int(blocks_away[((cell[0] >> 2) * ray.blocks_a_side + (cell[1] >> 2)) * ray.blocks_a_side + (cell[2] >> 2)])
    if away > 0:
        until = wp.min(middle + time_to_exit(scaled, cell, ray.time_a_cell, away), ray.far)
        # Truncation is the floor wherever it says more than k does.
        return wp.max(k, int(until * ray.per_step + ray.behind)) + 1, False, start, end, scaled
    occupied = cells[(cell[0] * ray.resolution + cell[1]) * ray.resolution + cell[2]]
    return k + 1, occupied and end > start, start, end, scaled


@functools.cache
@no_type_check
def march_kernel(writing: bool) -> wp.Kernel:
    """The counting or the writing pass over one ray; `per_ray` holds counts, or where the ray's sections begin."""

    @wp.kernel(enable_backward=False, module="unique")
    def march_rays(
        begin: int,
        origins: wp.array(dtype=wp.vec3),
        directions: wp.array(dtype=wp.vec3),
        t_near: wp.array(dtype=float),
        t_far: wp.array(dtype=float),
        shifts: wp.array(dtype=float),
        cells: wp.array(dtype=wp.bool),
        blocks_away: wp.array(dtype=wp.uint8),
        resolution: int,
        blocks_a_side: int,
        step: float,
        per_ray: wp.array(dtype=wp.int64),
        ray_index: wp.array(dtype=wp.int64),
        t_start: wp.array(dtype=float),
        t_end: wp.array(dtype=float),
    ):
        ray = begin + wp.tid()
        lattice = lattice_of(
            origins[ray],
            directions[ray],
            t_near[ray],
            t_far[ray],
            shifts[ray],
            step,
            resolution,
            blocks_a_side,
        )
        found = wp.int64(0)
        if wp.static(writing):
            found = per_ray[ray]
        k = lattice.first
        while k < lattice.stop:
            k, occupied, start, end, _ = visit(k, lattice, cells, blocks_away)
            if occupied:
                if wp.static(writing):
                    ray_index[found] = wp.int64(ray)
                    t_start[found] = start
                    t_end[found] = end
                found += wp.int64(1)
        if wp.static(not writing):
            per_ray[ray] = found

    # Fused multiply-adds round once where the reference rounds twice, and would move midpoints across cell faces.
    march_rays.module.options["fuse_fp"] = False
    return march_rays
