"""Warp source of the hash grid's jet: the gather, its transpose (the scatter) and the gradient at the positions.

One thread of a launch walks one level over a run of points: a single point on CUDA, thousands on the CPU, where keeping
one level's slice of the table in cache while looping inside the kernel is what makes it fast. Corner k of a cell is
x + 2 y + 4 z, as in `torch_jet`.
"""
# Warp compiles these functions itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import Any, no_type_check

import warp as wp

from neus_ns.kernels.layout import PRIME_Y, PRIME_Z

_PRIME_Y = wp.constant(wp.uint32(PRIME_Y))
_PRIME_Z = wp.constant(wp.uint32(PRIME_Z))


@functools.cache
def row_type(features: int) -> Any:
    """Warp's type of one table row."""
    return wp.types.vector(length=features, dtype=wp.float32)


@wp.func
@no_type_check
def place(position: wp.vec3, resolution: int, dense: int):
    """Where in its cell a point lies, and what the cell's two corners along each axis contribute to a row number.

    Plain numbers all of them: a vector of eight rows measured a quarter slower, since it went through memory.
    """
    scaled = position * float(resolution)
    # Points outside the box belong to the outermost cell, whose values they extrapolate; inside, int() is the floor.
    cx = wp.clamp(int(scaled[0]), 0, resolution - 1)
    cy = wp.clamp(int(scaled[1]), 0, resolution - 1)
    cz = wp.clamp(int(scaled[2]), 0, resolution - 1)
    step_y = _PRIME_Y
    step_z = _PRIME_Z
    if dense == 1:
        step_y = wp.uint32(resolution + 1)
        step_z = step_y * step_y
    y = wp.uint32(cy) * step_y
    z = wp.uint32(cz) * step_z
    fx = scaled[0] - float(cx)
    fy = scaled[1] - float(cy)
    fz = scaled[2] - float(cz)
    return fx, fy, fz, wp.uint32(cx), wp.uint32(cx + 1), y, y + step_y, z, z + step_z


@wp.func
@no_type_check
def row_of(x: wp.uint32, y: wp.uint32, z: wp.uint32, mask: wp.uint32, dense: int):
    """The table row of a corner: a sum where the level has a row for each corner, else a hash."""
    if dense == 1:
        return int(x + y + z)
    return int((x ^ y ^ z) & mask)


@functools.cache
@no_type_check
def gather_kernel(features: int, columns: int) -> wp.Kernel:
    """Reads the cell's eight rows and interpolates along x, then y, then z, keeping the differences as derivatives."""
    vec = row_type(features)

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
        for i in range(begin + slot * run, wp.min(begin + (slot + 1) * run, end)):
            fx, fy, fz, x0, x1, y0, y1, z0, z1 = place(positions[i], resolution, dense)
            # Named by y and z: value and slope along the four edges in x.
            a00 = table[level, row_of(x0, y0, z0, mask, dense)]
            a10 = table[level, row_of(x0, y1, z0, mask, dense)]
            a01 = table[level, row_of(x0, y0, z1, mask, dense)]
            a11 = table[level, row_of(x0, y1, z1, mask, dense)]
            s00 = table[level, row_of(x1, y0, z0, mask, dense)] - a00
            s10 = table[level, row_of(x1, y1, z0, mask, dense)] - a10
            s01 = table[level, row_of(x1, y0, z1, mask, dense)] - a01
            s11 = table[level, row_of(x1, y1, z1, mask, dense)] - a11
            v_z0 = a00 + s00 * fx
            v_z1 = a01 + s01 * fx
            y_z0 = a10 + s10 * fx - v_z0
            y_z1 = a11 + s11 * fx - v_z1
            v_z0 = v_z0 + y_z0 * fy
            v_z1 = v_z1 + y_z1 * fy
            out[i, 0, level] = v_z0 + (v_z1 - v_z0) * fz
            if wp.static(columns >= 4):
                x_z0 = s00 + (s10 - s00) * fy
                x_z1 = s01 + (s11 - s01) * fy
                out[i, 1, level] = (x_z0 + (x_z1 - x_z0) * fz) * scale
                out[i, 2, level] = (y_z0 + (y_z1 - y_z0) * fz) * scale
                out[i, 3, level] = (v_z1 - v_z0) * scale
                if wp.static(columns == 7):
                    xy_z0 = s10 - s00
                    xy_z1 = s11 - s01
                    out[i, 4, level] = (xy_z0 + (xy_z1 - xy_z0) * fz) * (scale * scale)
                    out[i, 5, level] = (x_z1 - x_z0) * (scale * scale)
                    out[i, 6, level] = (y_z1 - y_z0) * (scale * scale)

    return gather


@functools.cache
@no_type_check
def spread_function(features: int, columns: int) -> wp.Function:
    """The gather's tree read backwards: what each corner's row receives from the gradient of a point's columns."""
    vec = row_type(features)

    @wp.func
    def spread(gradient: wp.array3d(dtype=vec), i: int, level: int, fx: float, fy: float, fz: float, scale: float):
        g = gradient[i, 0, level]
        v_z1 = g * fz
        if wp.static(columns >= 4):
            v_z1 = v_z1 + gradient[i, 3, level] * scale
        v_z0 = g - v_z1
        v10 = v_z0 * fy
        v11 = v_z1 * fy
        if wp.static(columns >= 4):
            gy = gradient[i, 2, level] * scale
            y_z1 = gy * fz
            if wp.static(columns == 7):
                y_z1 = y_z1 + gradient[i, 6, level] * (scale * scale)
            v10 = v10 + (gy - y_z1)
            v11 = v11 + y_z1
        v00 = v_z0 - v10
        v01 = v_z1 - v11
        s00 = v00 * fx
        s10 = v10 * fx
        s01 = v01 * fx
        s11 = v11 * fx
        if wp.static(columns >= 4):
            gx = gradient[i, 1, level] * scale
            x_z1 = gx * fz
            if wp.static(columns == 7):
                x_z1 = x_z1 + gradient[i, 5, level] * (scale * scale)
            x_z0 = gx - x_z1
            x10 = x_z0 * fy
            x11 = x_z1 * fy
            if wp.static(columns == 7):
                gxy = gradient[i, 4, level] * (scale * scale)
                x10 = x10 + gxy * (1.0 - fz)
                x11 = x11 + gxy * fz
            s00 = s00 + (x_z0 - x10)
            s10 = s10 + x10
            s01 = s01 + (x_z1 - x11)
            s11 = s11 + x11
        return v00 - s00, s00, v10 - s10, s10, v01 - s01, s01, v11 - s11, s11

    return spread


@functools.cache
@no_type_check
def scatter_kernel(features: int, columns: int) -> wp.Kernel:
    """Adds the transpose of the gather to the table's gradient."""
    vec = row_type(features)
    spread = spread_function(features, columns)

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
        for i in range(slot * run, wp.min((slot + 1) * run, count)):
            fx, fy, fz, x0, x1, y0, y1, z0, z1 = place(positions[i], resolution, dense)
            c0, c1, c2, c3, c4, c5, c6, c7 = spread(gradient, i, level, fx, fy, fz, scale)
            # On the CPU an atomic add is a plain one; no two CPU threads are ever given the same level.
            wp.atomic_add(table, level, row_of(x0, y0, z0, mask, dense), c0)
            wp.atomic_add(table, level, row_of(x1, y0, z0, mask, dense), c1)
            wp.atomic_add(table, level, row_of(x0, y1, z0, mask, dense), c2)
            wp.atomic_add(table, level, row_of(x1, y1, z0, mask, dense), c3)
            wp.atomic_add(table, level, row_of(x0, y0, z1, mask, dense), c4)
            wp.atomic_add(table, level, row_of(x1, y0, z1, mask, dense), c5)
            wp.atomic_add(table, level, row_of(x0, y1, z1, mask, dense), c6)
            wp.atomic_add(table, level, row_of(x1, y1, z1, mask, dense), c7)

    return scatter


@functools.cache
@no_type_check
def slopes_function(features: int) -> wp.Function:
    """First, mixed second and third derivatives of a cell's interpolation, per cell."""
    vec = row_type(features)

    @wp.func
    def slopes(
        table: wp.array2d(dtype=vec), position: wp.vec3, level: int, resolution: int, dense: int, mask: wp.uint32
    ):
        fx, fy, fz, x0, x1, y0, y1, z0, z1 = place(position, resolution, dense)
        a00 = table[level, row_of(x0, y0, z0, mask, dense)]
        a10 = table[level, row_of(x0, y1, z0, mask, dense)]
        a01 = table[level, row_of(x0, y0, z1, mask, dense)]
        a11 = table[level, row_of(x0, y1, z1, mask, dense)]
        s00 = table[level, row_of(x1, y0, z0, mask, dense)] - a00
        s10 = table[level, row_of(x1, y1, z0, mask, dense)] - a10
        s01 = table[level, row_of(x1, y0, z1, mask, dense)] - a01
        s11 = table[level, row_of(x1, y1, z1, mask, dense)] - a11
        x_z0 = s00 + (s10 - s00) * fy
        x_z1 = s01 + (s11 - s01) * fy
        y_z0 = a10 - a00 + (s10 - s00) * fx
        y_z1 = a11 - a01 + (s11 - s01) * fx
        dz = (a01 + s01 * fx + y_z1 * fy) - (a00 + s00 * fx + y_z0 * fy)
        xyz = (s11 - s01) - (s10 - s00)
        dx = x_z0 + (x_z1 - x_z0) * fz
        dy = y_z0 + (y_z1 - y_z0) * fz
        return dx, dy, dz, s10 - s00 + xyz * fz, x_z1 - x_z0, y_z1 - y_z0, xyz

    return slopes


@functools.cache
@no_type_check
def at_positions_kernel(features: int, columns: int) -> wp.Kernel:
    """The gradient at the positions: every column's own derivative, which is the next order of the same cell."""
    vec = row_type(features)
    slopes = slopes_function(features)

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
        for i in range(begin + slot * run, wp.min(begin + (slot + 1) * run, end)):
            dx, dy, dz, xy, xz, yz, xyz = slopes(table, positions[i], level, resolution, dense, mask)
            g = gradient[i, 0, level]
            total = wp.vec3(wp.dot(g, dx), wp.dot(g, dy), wp.dot(g, dz))
            if wp.static(columns >= 4):
                gx = gradient[i, 1, level]
                gy = gradient[i, 2, level]
                gz = gradient[i, 3, level]
                total += scale * wp.vec3(
                    wp.dot(gy, xy) + wp.dot(gz, xz), wp.dot(gx, xy) + wp.dot(gz, yz), wp.dot(gx, xz) + wp.dot(gy, yz)
                )
                if wp.static(columns == 7):
                    gxy = gradient[i, 4, level]
                    gxz = gradient[i, 5, level]
                    gyz = gradient[i, 6, level]
                    total += (scale * scale) * wp.vec3(wp.dot(gyz, xyz), wp.dot(gxz, xyz), wp.dot(gxy, xyz))
            # The slopes are per cell: one more factor of the resolution makes them per unit.
            wp.atomic_add(out, i, total * scale)

    return at_positions
