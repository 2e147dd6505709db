"""Warp source of the march: where a ray is in its lattice, which cube around it is empty, and the pass over one ray."""
# Warp compiles the kernels itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import no_type_check

import warp as wp


@functools.cache
@no_type_check
def block_kernel() -> wp.Kernel:
    """Whether the 16 words of a cube, four cells each, hold anything."""

    @wp.kernel(enable_backward=False, module="unique")
    def find_blocks(words: wp.array(dtype=wp.int32), blocks: wp.array3d(dtype=wp.bool)):
        x, y, z = wp.tid()
        side = blocks.shape[2]
        any_cell = wp.int32(0)
        for i in range(4):
            for j in range(4):
                any_cell = any_cell | words[((x * 4 + i) * side * 4 + y * 4 + j) * side + z]
        blocks[x, y, z] = any_cell != 0

    return find_blocks


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
def cells_to_exit(scaled: wp.vec3, cell: wp.vec3i, inverse: wp.vec3, side: int):
    """Ray time, in cells, until a point leaves the aligned cube of `side` (a power of two) cells around it."""
    soonest = wp.float32(1.0e20)
    for axis in range(3):
        bound = cell[axis] & -side
        if inverse[axis] > 0.0:
            bound += side
        soonest = wp.min(soonest, (float(bound) - scaled[axis]) * inverse[axis])
    return soonest


@wp.func
@no_type_check
def holds(cubes: wp.array(dtype=wp.bool), cell: wp.vec3i, shift: int, a_side: int):
    """Whether the cube of 2^shift cells a side that a cell belongs to holds anything."""
    return cubes[((cell[0] >> shift) * a_side + (cell[1] >> shift)) * a_side + (cell[2] >> shift)]


@wp.func
@no_type_check
def empty_side(blocks: wp.array(dtype=wp.bool), regions: wp.array(dtype=wp.bool), cell: wp.vec3i, regions_a_side: int):
    """Side, in cells, of the largest empty cube that an empty cell belongs to."""
    if holds(blocks, cell, 2, regions_a_side * 4):
        return 1
    if holds(regions, cell, 4, regions_a_side):
        return 4
    return 16


@wp.func
@no_type_check
def lattice_range(origin: wp.vec3, inverse: wp.vec3, near: float, far: float, shift: float, step: float, slack: float):
    """The first section that can lie in the box, and one beyond the last."""
    enter, leave = time_inside(origin, inverse, 1.0001)
    first = int(wp.floor((wp.max(enter, near) - near) / step + shift - 1.5 - slack))
    stop = int(wp.ceil((wp.min(leave, far) - near) / step + shift + 1.0 + slack))
    return wp.max(first, 0), stop


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
        blocks: wp.array(dtype=wp.bool),
        regions: wp.array(dtype=wp.bool),
        resolution: int,
        regions_a_side: int,
        step: float,
        per_ray: wp.array(dtype=wp.int64),
        ray_index: wp.array(dtype=wp.int64),
        t_start: wp.array(dtype=float),
        t_end: wp.array(dtype=float),
    ):
        ray = begin + wp.tid()
        near = t_near[ray]
        far = t_far[ray]
        shift = shifts[ray]
        inverse = inverses_of(directions[ray])
        half = 0.5 * float(resolution)
        slack = slack_of(far, step)
        k, stop = lattice_range(origins[ray], inverse, near, far, shift, step, slack)
        found = wp.int64(0)
        if wp.static(writing):
            found = per_ray[ray]
        while k < stop:
            start = wp.max(near + (float(k) - shift) * step, near)
            end = wp.min(near + (float(k) - shift + 1.0) * step, far)
            middle = (start + end) * 0.5
            scaled = (origins[ray] + middle * directions[ray] + wp.vec3(1.0, 1.0, 1.0)) * half
            # Truncation is the floor wherever the point is inside.
            cell = wp.vec3i(int(scaled[0]), int(scaled[1]), int(scaled[2]))
            k += 1
            if wp.min(scaled) >= 0.0 and wp.max(cell) < resolution:
                if holds(cells, cell, 0, regions_a_side * 16):
                    if end > start:
                        if wp.static(writing):
                            ray_index[found] = wp.int64(ray)
                            t_start[found] = start
                            t_end[found] = end
                        found += wp.int64(1)
                else:
                    side = empty_side(blocks, regions, cell, regions_a_side)
                    until = wp.min(middle + cells_to_exit(scaled, cell, inverse, side) / half, far)
                    k = wp.max(k, int(wp.floor((until - near) / step + shift - 0.5 - slack)) + 1)
        if wp.static(not writing):
            per_ray[ray] = found

    # Fused multiply-adds round once where the reference rounds twice, and would move midpoints across cell faces.
    march_rays.module.options["fuse_fp"] = False
    return march_rays
