"""Warp source of the stencil: gather, scatter and gradient at the positions of a point and the taps around it.

On coarse levels most taps lie in the cell of their point. They are read off the rows that the point has read, and their
gradients are summed, as derivatives of the cell's polynomial, before the cell's rows are added to once. Launched as the
jet's kernels are.
"""
# Warp compiles these functions itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import no_type_check

import warp as wp

from neus_ns.kernels.taps import Direction, directions
from neus_ns.kernels.warp_cell import (
    AHEAD,
    Place,
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


@no_type_check
def _move_function(direction: Direction) -> wp.Function:
    """From a point to one of its taps; axes it does not move on are left alone, so that nothing of them is redone."""
    sign_x, sign_y, sign_z = map(float, direction)

    @wp.func
    def move(position: wp.vec3, reach: float):
        x = position[0]
        y = position[1]
        z = position[2]
        if wp.static(sign_x != 0.0):
            x = x + wp.static(sign_x) * reach
        if wp.static(sign_y != 0.0):
            y = y + wp.static(sign_y) * reach
        if wp.static(sign_z != 0.0):
            z = z + wp.static(sign_z) * reach
        return wp.vec3(x, y, z)

    return move


@functools.cache
def _moves(taps: int) -> tuple[wp.Function, ...]:
    return tuple(_move_function(direction) for direction in directions(taps))


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
def fetch_all_function(features: int, taps: int) -> wp.Function:
    """Asks for the rows of a point and of its taps."""
    vec, moves = row_type(features), _moves(taps)
    fetch = fetch_function(features)

    @wp.func
    def fetch_all(
        table: wp.array2d(dtype=vec),
        level: int,
        position: wp.vec3,
        reach: float,
        resolution: int,
        dense: int,
        mask: wp.uint32,
    ):
        at = place(position, resolution, dense)
        fetch(table, level, at, mask, dense)
        for tap in range(wp.static(taps)):
            near = place(wp.static(moves[tap])(position, reach), resolution, dense)
            fetch(table, level, near, mask, dense)

    return fetch_all


@functools.cache
@no_type_check
def stencil_gather_kernel(features: int, taps: int) -> wp.Kernel:
    """Writes the point's and the taps' values on one level for a run of points."""
    vec, moves = row_type(features), _moves(taps)
    fetch_all, read, value = fetch_all_function(features, taps), read_function(features), value_function(features)

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
        stop = wp.min(begin + (slot + 1) * run, end)
        for i in range(begin + slot * run, stop):
            fetch_all(table, level, positions[wp.min(i + AHEAD, stop - 1)], reach, resolution, dense, mask)
            position = positions[i]
            at = place(position, resolution, dense)
            edges = read(table, level, at, mask, dense)
            out[i, 0, level] = value(edges, at.fx, at.fy, at.fz)
            for tap in range(wp.static(taps)):
                near = place(wp.static(moves[tap])(position, reach), resolution, dense)
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
    vec, moves, Expansion = row_type(features), _moves(taps), expansion_type(features)
    fetch_all = fetch_all_function(features, taps)
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
        stop = wp.min((slot + 1) * run, count)
        for i in range(slot * run, stop):
            fetch_all(table, level, positions[wp.min(i + AHEAD, stop - 1)], reach, resolution, dense, mask)
            position = positions[i]
            at = place(position, resolution, dense)
            total = Expansion()
            total.v = gradient[i, 0, level]
            for tap in range(wp.static(taps)):
                near = place(wp.static(moves[tap])(position, reach), resolution, dense)
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
    vec, moves, Expansion = row_type(features), _moves(taps), expansion_type(features)
    fetch_all = fetch_all_function(features, taps)
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
        stop = wp.min(begin + (slot + 1) * run, end)
        for i in range(begin + slot * run, stop):
            fetch_all(table, level, positions[wp.min(i + AHEAD, stop - 1)], reach, resolution, dense, mask)
            position = positions[i]
            at = place(position, resolution, dense)
            total = Expansion()
            total.v = gradient[i, 0, level]
            pull = wp.vec3()
            for tap in range(wp.static(taps)):
                near = place(wp.static(moves[tap])(position, reach), resolution, dense)
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
