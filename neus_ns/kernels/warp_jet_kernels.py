"""Warp source of the hash grid's jet: the gather, its transpose (the scatter) and the gradient at the positions.

One thread of a launch walks one level over a run of points: a single point on CUDA, thousands on the CPU, where keeping
one level's slice of the table in cache while looping inside the kernel is what makes it fast.
"""
# Warp compiles these functions itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import no_type_check

import warp as wp

from neus_ns.kernels.warp_cell import (
    AHEAD,
    add_function,
    expand_function,
    expansion_type,
    fetch_function,
    place,
    read_function,
    row_type,
    slope_function,
    value_function,
)


@functools.cache
@no_type_check
def gather_kernel(features: int, columns: int) -> wp.Kernel:
    """Writes the columns of a run of points on one level."""
    vec = row_type(features)
    read, value, expand = read_function(features), value_function(features), expand_function(features)
    fetch = fetch_function(features)

    @wp.kernel(enable_backward=False, module="unique")
    def gather(
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=vec),
        resolutions: wp.array(dtype=int),
        dense_levels: wp.array(dtype=int),
        mask: wp.uint32,
        begin: int,
        end: int,
        run: int,
        out: wp.array3d(dtype=vec),
    ):
        level, slot = wp.tid()
        resolution = resolutions[level]
        scale = float(resolution)
        dense = dense_levels[level]
        stop = wp.min(begin + (slot + 1) * run, end)
        for i in range(begin + slot * run, stop):
            fetch(table, level, place(positions[wp.min(i + AHEAD, stop - 1)], resolution, dense), mask, dense)
            at = place(positions[i], resolution, dense)
            edges = read(table, level, at, mask, dense)
            if wp.static(columns == 1):
                out[i, 0, level] = value(edges, at.fx, at.fy, at.fz)
            else:
                e = expand(edges, at.fx, at.fy, at.fz)
                out[i, 0, level] = e.v
                out[i, 1, level] = e.x * scale
                out[i, 2, level] = e.y * scale
                out[i, 3, level] = e.z * scale
                if wp.static(columns == 7):
                    out[i, 4, level] = e.xy * (scale * scale)
                    out[i, 5, level] = e.xz * (scale * scale)
                    out[i, 6, level] = e.yz * (scale * scale)

    return gather


@functools.cache
@no_type_check
def columns_function(features: int, columns: int) -> wp.Function:
    """The gradient of a point's columns, per cell."""
    vec, Expansion = row_type(features), expansion_type(features)

    @wp.func
    def gradient_of_columns(gradient: wp.array3d(dtype=vec), i: int, level: int, scale: float):
        g = Expansion()
        g.v = gradient[i, 0, level]
        if wp.static(columns >= 4):
            g.x = gradient[i, 1, level] * scale
            g.y = gradient[i, 2, level] * scale
            g.z = gradient[i, 3, level] * scale
        if wp.static(columns == 7):
            g.xy = gradient[i, 4, level] * (scale * scale)
            g.xz = gradient[i, 5, level] * (scale * scale)
            g.yz = gradient[i, 6, level] * (scale * scale)
        return g

    return gradient_of_columns


@functools.cache
@no_type_check
def scatter_kernel(features: int, columns: int) -> wp.Kernel:
    """Adds the transpose of the gather to the table's gradient."""
    vec = row_type(features)
    gradient_of_columns, add = columns_function(features, columns), add_function(features, columns)
    fetch = fetch_function(features)

    @wp.kernel(enable_backward=False, module="unique")
    def scatter(
        positions: wp.array(dtype=wp.vec3),
        gradient: wp.array3d(dtype=vec),
        resolutions: wp.array(dtype=int),
        dense_levels: wp.array(dtype=int),
        mask: wp.uint32,
        first_level: int,
        count: int,
        run: int,
        table: wp.array2d(dtype=vec),
    ):
        level_slot, slot = wp.tid()
        level = first_level + level_slot
        resolution = resolutions[level]
        scale = float(resolution)
        dense = dense_levels[level]
        stop = wp.min((slot + 1) * run, count)
        for i in range(slot * run, stop):
            fetch(table, level, place(positions[wp.min(i + AHEAD, stop - 1)], resolution, dense), mask, dense)
            at = place(positions[i], resolution, dense)
            add(table, level, at, mask, dense, gradient_of_columns(gradient, i, level, scale))

    return scatter


@functools.cache
@no_type_check
def at_positions_kernel(features: int, columns: int) -> wp.Kernel:
    """The gradient at the positions: every column's own derivative, which is the next order of the same cell."""
    vec = row_type(features)
    fetch, read, expand = fetch_function(features), read_function(features), expand_function(features)
    gradient_of_columns, slope = columns_function(features, columns), slope_function(features, columns)

    @wp.kernel(enable_backward=False, module="unique")
    def at_positions(
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=vec),
        gradient: wp.array3d(dtype=vec),
        resolutions: wp.array(dtype=int),
        dense_levels: wp.array(dtype=int),
        mask: wp.uint32,
        begin: int,
        end: int,
        run: int,
        out: wp.array(dtype=wp.vec3),
    ):
        level, slot = wp.tid()
        resolution = resolutions[level]
        scale = float(resolution)
        dense = dense_levels[level]
        stop = wp.min(begin + (slot + 1) * run, end)
        for i in range(begin + slot * run, stop):
            fetch(table, level, place(positions[wp.min(i + AHEAD, stop - 1)], resolution, dense), mask, dense)
            at = place(positions[i], resolution, dense)
            e = expand(read(table, level, at, mask, dense), at.fx, at.fy, at.fz)
            g = gradient_of_columns(gradient, i, level, scale)
            # The slopes are per cell: one more factor of the resolution makes them per unit.
            wp.atomic_add(out, i, slope(e, g) * scale)

    return at_positions
