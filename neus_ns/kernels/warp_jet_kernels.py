"""Warp source of the hash grid's jet: the gather, its transpose (the scatter) and the gradient at the positions.

One thread of a launch walks one level over a run of points: a single point on CUDA, thousands on the CPU, where keeping
one level's slice of the table in cache while looping inside the kernel is what makes it fast.
"""

# Warp compiles these functions itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import Any, NamedTuple, no_type_check

import warp as wp

from neus_ns.kernels.layout import PRIME_Y, PRIME_Z

_PRIME_Y = wp.constant(wp.uint32(PRIME_Y))
_PRIME_Z = wp.constant(wp.uint32(PRIME_Z))


class JetKernels(NamedTuple):
    """The three kernels for one number of features and of columns, and the vector type of a table row."""

    row: Any
    gather: wp.Kernel
    scatter: wp.Kernel
    at_positions: wp.Kernel


@wp.func
@no_type_check
def cell_of(scaled: float, resolution: int):
    """The cell a scaled coordinate falls in; points outside the box belong to the outermost cell."""
    return wp.clamp(int(wp.floor(scaled)), 0, resolution - 1)


@wp.func
@no_type_check
def first_strides(resolution: int, dense: int):
    """What one step in y and in z adds to (dense level) or multiplies into (hashed level) a row number."""
    side = wp.uint32(resolution + 1)
    if dense == 1:
        return side, side * side
    return _PRIME_Y, _PRIME_Z


@wp.func
@no_type_check
def row_of(x: wp.uint32, y: wp.uint32, z: wp.uint32, mask: wp.uint32, dense: int):
    """The table row of a corner from its three terms."""
    if dense == 1:
        return int(x + y + z)
    return int((x ^ y ^ z) & mask)


@functools.cache
@no_type_check
def jet_kernels(features: int, columns: int) -> JetKernels:
    """Kernels specialised on the size of a row and the number of columns; each compiles when it is first launched."""
    vec = wp.types.vector(length=features, dtype=wp.float32)

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
        dense = dense_levels[level]
        scale = float(resolution)
        step_y, step_z = first_strides(resolution, dense)
        for i in range(begin + slot * run, wp.min(begin + (slot + 1) * run, end)):
            scaled = positions[i] * scale
            cx = cell_of(scaled[0], resolution)
            cy = cell_of(scaled[1], resolution)
            cz = cell_of(scaled[2], resolution)
            fx = scaled[0] - float(cx)
            fy = scaled[1] - float(cy)
            fz = scaled[2] - float(cz)
            x0 = wp.uint32(cx)
            x1 = wp.uint32(cx + 1)
            y0 = wp.uint32(cy) * step_y
            y1 = y0 + step_y
            z0 = wp.uint32(cz) * step_z
            z1 = z0 + step_z
            # The row of four edges along x: value at fx and difference.
            a00 = table[level, row_of(x0, y0, z0, mask, dense)]
            a10 = table[level, row_of(x0, y1, z0, mask, dense)]
            a01 = table[level, row_of(x0, y0, z1, mask, dense)]
            a11 = table[level, row_of(x0, y1, z1, mask, dense)]
            s00 = table[level, row_of(x1, y0, z0, mask, dense)] - a00
            s10 = table[level, row_of(x1, y1, z0, mask, dense)] - a10
            s01 = table[level, row_of(x1, y0, z1, mask, dense)] - a01
            s11 = table[level, row_of(x1, y1, z1, mask, dense)] - a11
            v00 = a00 + s00 * fx
            v10 = a10 + s10 * fx
            v01 = a01 + s01 * fx
            v11 = a11 + s11 * fx
            # Then along y: value and y-difference of each z.
            y_z0 = v10 - v00
            y_z1 = v11 - v01
            v_z0 = v00 + y_z0 * fy
            v_z1 = v01 + y_z1 * fy
            out[i, 0, level] = v_z0 + (v_z1 - v_z0) * fz
            if wp.static(columns >= 4):
                x_z0 = s00 + (s10 - s00) * fy
                x_z1 = s01 + (s11 - s01) * fy
                out[i, 1, level] = (x_z0 + (x_z1 - x_z0) * fz) * scale
                out[i, 2, level] = (y_z0 + (y_z1 - y_z0) * fz) * scale
                out[i, 3, level] = (v_z1 - v_z0) * scale
                if wp.static(columns == 7):
                    scale2 = scale * scale
                    xy_z0 = s10 - s00
                    xy_z1 = s11 - s01
                    out[i, 4, level] = (xy_z0 + (xy_z1 - xy_z0) * fz) * scale2
                    out[i, 5, level] = (x_z1 - x_z0) * scale2
                    out[i, 6, level] = (y_z1 - y_z0) * scale2

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
        dense = dense_levels[level]
        scale = float(resolution)
        step_y, step_z = first_strides(resolution, dense)
        for i in range(slot * run, wp.min((slot + 1) * run, count)):
            scaled = positions[i] * scale
            cx = cell_of(scaled[0], resolution)
            cy = cell_of(scaled[1], resolution)
            cz = cell_of(scaled[2], resolution)
            fx = scaled[0] - float(cx)
            fy = scaled[1] - float(cy)
            fz = scaled[2] - float(cz)
            x0 = wp.uint32(cx)
            x1 = wp.uint32(cx + 1)
            y0 = wp.uint32(cy) * step_y
            y1 = y0 + step_y
            z0 = wp.uint32(cz) * step_z
            z1 = z0 + step_z
            # The gather's tree read backwards: split the columns over z, then y, then x.
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
                    xy_z1 = gxy * fz
                    x10 = x10 + (gxy - xy_z1)
                    x11 = x11 + xy_z1
                s00 = s00 + (x_z0 - x10)
                s10 = s10 + x10
                s01 = s01 + (x_z1 - x11)
                s11 = s11 + x11
            # On the CPU an atomic add is a plain one; no two CPU threads are ever given the same level.
            wp.atomic_add(table, level, row_of(x0, y0, z0, mask, dense), v00 - s00)
            wp.atomic_add(table, level, row_of(x1, y0, z0, mask, dense), s00)
            wp.atomic_add(table, level, row_of(x0, y1, z0, mask, dense), v10 - s10)
            wp.atomic_add(table, level, row_of(x1, y1, z0, mask, dense), s10)
            wp.atomic_add(table, level, row_of(x0, y0, z1, mask, dense), v01 - s01)
            wp.atomic_add(table, level, row_of(x1, y0, z1, mask, dense), s01)
            wp.atomic_add(table, level, row_of(x0, y1, z1, mask, dense), v11 - s11)
            wp.atomic_add(table, level, row_of(x1, y1, z1, mask, dense), s11)

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
        dense = dense_levels[level]
        scale = float(resolution)
        step_y, step_z = first_strides(resolution, dense)
        for i in range(begin + slot * run, wp.min(begin + (slot + 1) * run, end)):
            scaled = positions[i] * scale
            cx = cell_of(scaled[0], resolution)
            cy = cell_of(scaled[1], resolution)
            cz = cell_of(scaled[2], resolution)
            fx = scaled[0] - float(cx)
            fy = scaled[1] - float(cy)
            fz = scaled[2] - float(cz)
            x0 = wp.uint32(cx)
            x1 = wp.uint32(cx + 1)
            y0 = wp.uint32(cy) * step_y
            y1 = y0 + step_y
            z0 = wp.uint32(cz) * step_z
            z1 = z0 + step_z
            a00 = table[level, row_of(x0, y0, z0, mask, dense)]
            a10 = table[level, row_of(x0, y1, z0, mask, dense)]
            a01 = table[level, row_of(x0, y0, z1, mask, dense)]
            a11 = table[level, row_of(x0, y1, z1, mask, dense)]
            s00 = table[level, row_of(x1, y0, z0, mask, dense)] - a00
            s10 = table[level, row_of(x1, y1, z0, mask, dense)] - a10
            s01 = table[level, row_of(x1, y0, z1, mask, dense)] - a01
            s11 = table[level, row_of(x1, y1, z1, mask, dense)] - a11
            y_z0 = a10 - a00 + (s10 - s00) * fx
            y_z1 = a11 - a01 + (s11 - s01) * fx
            x_z0 = s00 + (s10 - s00) * fy
            x_z1 = s01 + (s11 - s01) * fy
            dx = x_z0 + (x_z1 - x_z0) * fz
            dy = y_z0 + (y_z1 - y_z0) * fz
            dz = (a01 + s01 * fx + y_z1 * fy) - (a00 + s00 * fx + y_z0 * fy)
            # dx, dy and dz are per cell: one more factor of `scale` follows at the end.
            g = gradient[i, 0, level]
            along_x = wp.dot(g, dx)
            along_y = wp.dot(g, dy)
            along_z = wp.dot(g, dz)
            if wp.static(columns >= 4):
                xy = (s10 - s00) * (1.0 - fz) + (s11 - s01) * fz
                xz = x_z1 - x_z0
                yz = y_z1 - y_z0
                gx = gradient[i, 1, level] * scale
                gy = gradient[i, 2, level] * scale
                gz = gradient[i, 3, level] * scale
                along_x += wp.dot(gy, xy) + wp.dot(gz, xz)
                along_y += wp.dot(gx, xy) + wp.dot(gz, yz)
                along_z += wp.dot(gx, xz) + wp.dot(gy, yz)
                if wp.static(columns == 7):
                    xyz = (s11 - s01) - (s10 - s00)
                    scale2 = scale * scale
                    along_x += wp.dot(gradient[i, 6, level], xyz) * scale2
                    along_y += wp.dot(gradient[i, 5, level], xyz) * scale2
                    along_z += wp.dot(gradient[i, 4, level], xyz) * scale2
            wp.atomic_add(out, i, wp.vec3(along_x, along_y, along_z) * scale)

    return JetKernels(vec, gather, scatter, at_positions)
