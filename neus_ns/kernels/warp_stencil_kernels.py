"""Warp source of the stencil: gather, scatter and gradient at the positions of a point and the taps around it.

On coarse levels most taps lie in the cell of their point. They are read off the rows that the point has read, and their
gradients are summed, as derivatives of the cell's polynomial, before the cell's rows are added to once. Launched as the
jet's kernels are.
"""
# Warp compiles these functions itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import Any, no_type_check

import warp as wp

from neus_ns.kernels.taps import directions
from neus_ns.kernels.warp_cell import (
    Place,
    add_function,
    expand_function,
    expansion_type,
    place,
    read_function,
    row_type,
    slope_function,
    value_function,
)


def _vectors(taps: int) -> tuple[Any, ...]:
    return tuple(wp.vec3(*map(float, direction)) for direction in directions(taps))


def _order(taps: int) -> int:
    """How many parts of the cell's polynomial a stencil needs: taps along the axes never move on two at once."""
    return 4 if taps == 6 else 8


@wp.func
@no_type_check
def same_cell(one: Place, other: Place):
    """Whether two points of one level share a cell: a cell's numbers along an axis are different multiples."""
    return one.x0 == other.x0 and one.y0 == other.y0 and one.z0 == other.z0


@functools.cache
@no_type_check
def stencil_gather_kernel(features: int, taps: int) -> wp.Kernel:
    """Writes the point's and the taps' values on one level for a run of points."""
    vec, offsets = row_type(features), _vectors(taps)
    read, value = read_function(features), value_function(features)

    @wp.kernel(enable_backward=False, module="unique")
    def gather(
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=vec),
        resolutions: wp.array(dtype=int),
        dense_levels: wp.array(dtype=int),
        mask: wp.uint32,
        reach: float,
        begin: int,
        end: int,
        run: int,
        out: wp.array3d(dtype=vec),
    ):
        level, slot = wp.tid()
        resolution = resolutions[level]
        dense = dense_levels[level]
        for i in range(begin + slot * run, wp.min(begin + (slot + 1) * run, end)):
            position = positions[i]
            at = place(position, resolution, dense)
            edges = read(table, level, at, mask, dense)
            out[i, 0, level] = value(edges, at.fx, at.fy, at.fz)
            for tap in range(wp.static(taps)):
                near = place(position + wp.static(offsets[tap]) * reach, resolution, dense)
                if same_cell(at, near):
                    out[i, tap + 1, level] = value(edges, near.fx, near.fy, near.fz)
                else:
                    apart = read(table, level, near, mask, dense)
                    out[i, tap + 1, level] = value(apart, near.fx, near.fy, near.fz)

    return gather


@functools.cache
@no_type_check
def collect_function(features: int, taps: int) -> wp.Function:
    """Adds a tap's gradient to that of the polynomial of the point's cell, seen from the point."""
    vec, Expansion = row_type(features), expansion_type(features)
    order = _order(taps)

    @wp.func
    def collect(total: Expansion, g: vec, at: Place, near: Place):
        dx = near.fx - at.fx
        dy = near.fy - at.fy
        dz = near.fz - at.fz
        total.v += g
        total.x += g * dx
        total.y += g * dy
        total.z += g * dz
        if wp.static(order == 8):
            total.xy += g * (dx * dy)
            total.xz += g * (dx * dz)
            total.yz += g * (dy * dz)
            total.xyz += g * (dx * dy * dz)
        return total

    return collect


@functools.cache
@no_type_check
def stencil_scatter_kernel(features: int, taps: int) -> wp.Kernel:
    """Adds the transpose of the gather to the table's gradient."""
    vec, offsets, Expansion = row_type(features), _vectors(taps), expansion_type(features)
    collect, add_all, add_one = (
        collect_function(features, taps),
        add_function(features, _order(taps)),
        add_function(features, 1),
    )

    @wp.kernel(enable_backward=False, module="unique")
    def scatter(
        positions: wp.array(dtype=wp.vec3),
        gradient: wp.array3d(dtype=vec),
        resolutions: wp.array(dtype=int),
        dense_levels: wp.array(dtype=int),
        mask: wp.uint32,
        reach: float,
        first_level: int,
        count: int,
        run: int,
        table: wp.array2d(dtype=vec),
    ):
        level_slot, slot = wp.tid()
        level = first_level + level_slot
        resolution = resolutions[level]
        dense = dense_levels[level]
        for i in range(slot * run, wp.min((slot + 1) * run, count)):
            position = positions[i]
            at = place(position, resolution, dense)
            total = Expansion()
            total.v = gradient[i, 0, level]
            for tap in range(wp.static(taps)):
                near = place(position + wp.static(offsets[tap]) * reach, resolution, dense)
                g = gradient[i, tap + 1, level]
                if same_cell(at, near):
                    total = collect(total, g, at, near)
                else:
                    alone = Expansion()
                    alone.v = g
                    add_one(table, level, near, mask, dense, alone)
            add_all(table, level, at, mask, dense, total)

    return scatter


@functools.cache
@no_type_check
def stencil_at_positions_kernel(features: int, taps: int) -> wp.Kernel:
    """The gradient at the positions, with which the taps move."""
    vec, offsets, Expansion = row_type(features), _vectors(taps), expansion_type(features)
    read, expand, collect = read_function(features), expand_function(features), collect_function(features, taps)
    slope_all, slope_one = slope_function(features, _order(taps)), slope_function(features, 1)

    @wp.kernel(enable_backward=False, module="unique")
    def at_positions(
        positions: wp.array(dtype=wp.vec3),
        table: wp.array2d(dtype=vec),
        gradient: wp.array3d(dtype=vec),
        resolutions: wp.array(dtype=int),
        dense_levels: wp.array(dtype=int),
        mask: wp.uint32,
        reach: float,
        begin: int,
        end: int,
        run: int,
        out: wp.array(dtype=wp.vec3),
    ):
        level, slot = wp.tid()
        resolution = resolutions[level]
        dense = dense_levels[level]
        for i in range(begin + slot * run, wp.min(begin + (slot + 1) * run, end)):
            position = positions[i]
            at = place(position, resolution, dense)
            total = Expansion()
            total.v = gradient[i, 0, level]
            pull = wp.vec3()
            for tap in range(wp.static(taps)):
                near = place(position + wp.static(offsets[tap]) * reach, resolution, dense)
                g = gradient[i, tap + 1, level]
                if same_cell(at, near):
                    total = collect(total, g, at, near)
                else:
                    alone = Expansion()
                    alone.v = g
                    apart = expand(read(table, level, near, mask, dense), near.fx, near.fy, near.fz)
                    pull += slope_one(apart, alone)
            pull += slope_all(expand(read(table, level, at, mask, dense), at.fx, at.fy, at.fz), total)
            # The slopes are per cell: a factor of the resolution makes them per unit.
            wp.atomic_add(out, i, pull * float(resolution))

    return at_positions
