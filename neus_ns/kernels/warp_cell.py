"""Warp functions of one cell of the hash grid, which the jet's and the stencil's kernels are made of.

Inside a cell the encoding is one polynomial: `expand` turns the cell's eight rows into its value, slopes and mixed
derivatives at a point, all per cell; `add` is the transpose, `slope` the gradient at the point.
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
# C++, since Warp has no word for it; the tables are contiguous.
_FETCH_ROW = """
#if !defined(__CUDA_ARCH__)
    __builtin_prefetch(table.data + (size_t)level * table.shape[1] + row);
#endif
"""
# How many points before its turn a cell's rows are asked for; 8 to 32 measured alike.
AHEAD = wp.constant(16)


@functools.cache
def row_type(features: int) -> Any:
    """Warp's type of one table row."""
    return wp.types.vector(length=features, dtype=wp.float32)


def _struct(name: str, **fields: Any) -> Any:
    """A Warp struct; made from its fields' names, since a type checker at import cannot take a class of Warp's."""
    return wp.struct(type(name, (), {"__annotations__": fields}))


# Where in its cell a point lies, and what the cell's two corners along each axis contribute to a row number.
Place = _struct(
    "Place",
    **dict.fromkeys(("fx", "fy", "fz"), wp.float32),
    **dict.fromkeys(("x0", "x1", "y0", "y1", "z0", "z1"), wp.uint32),
)


@wp.func
@no_type_check
def place(position: wp.vec3, resolution: int, dense: int):
    """The place of a point; its parts are plain numbers, since a vector of eight rows went through memory."""
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
    at = Place()
    at.fx = scaled[0] - float(cx)
    at.fy = scaled[1] - float(cy)
    at.fz = scaled[2] - float(cz)
    at.x0 = wp.uint32(cx)
    at.x1 = wp.uint32(cx + 1)
    at.y0 = wp.uint32(cy) * step_y
    at.y1 = at.y0 + step_y
    at.z0 = wp.uint32(cz) * step_z
    at.z1 = at.z0 + step_z
    return at


@wp.func
@no_type_check
def row_of(x: wp.uint32, y: wp.uint32, z: wp.uint32, mask: wp.uint32, dense: int):
    """The table row of a corner: a sum where the level has a row for each corner, else a hash."""
    if dense == 1:
        return int(x + y + z)
    return int((x ^ y ^ z) & mask)


@functools.cache
@no_type_check
def fetch_function(features: int) -> wp.Function:
    """Asks for a cell's rows ahead of their use; rows of x and x + 1 nearly always share a cache line.

    Rows are scattered over megabytes, so that on the CPU reading them is waiting for memory; asked for AHEAD points
    early they measured two to three times faster. A GPU waits by running other threads, and there this is nothing.
    """
    vec = row_type(features)

    @wp.func_native(_FETCH_ROW)
    def fetch_row(table: wp.array2d(dtype=vec), level: int, row: int): ...

    @wp.func
    def fetch(table: wp.array2d(dtype=vec), level: int, at: Place, mask: wp.uint32, dense: int):
        fetch_row(table, level, row_of(at.x0, at.y0, at.z0, mask, dense))
        fetch_row(table, level, row_of(at.x0, at.y1, at.z0, mask, dense))
        fetch_row(table, level, row_of(at.x0, at.y0, at.z1, mask, dense))
        fetch_row(table, level, row_of(at.x0, at.y1, at.z1, mask, dense))

    return fetch


@functools.cache
@no_type_check
def edges_type(features: int) -> Any:
    """Value at the lower end and slope of a cell's four edges along x, named by their y and z."""
    names = [kind + yz for kind in "as" for yz in ("00", "10", "01", "11")]
    return _struct(f"Edges{features}", **dict.fromkeys(names, row_type(features)))


@functools.cache
@no_type_check
def read_function(features: int) -> wp.Function:
    """Reads a cell's eight rows."""
    vec, Edges = row_type(features), edges_type(features)

    @wp.func
    def read(table: wp.array2d(dtype=vec), level: int, at: Place, mask: wp.uint32, dense: int):
        edges = Edges()
        edges.a00 = table[level, row_of(at.x0, at.y0, at.z0, mask, dense)]
        edges.a10 = table[level, row_of(at.x0, at.y1, at.z0, mask, dense)]
        edges.a01 = table[level, row_of(at.x0, at.y0, at.z1, mask, dense)]
        edges.a11 = table[level, row_of(at.x0, at.y1, at.z1, mask, dense)]
        edges.s00 = table[level, row_of(at.x1, at.y0, at.z0, mask, dense)] - edges.a00
        edges.s10 = table[level, row_of(at.x1, at.y1, at.z0, mask, dense)] - edges.a10
        edges.s01 = table[level, row_of(at.x1, at.y0, at.z1, mask, dense)] - edges.a01
        edges.s11 = table[level, row_of(at.x1, at.y1, at.z1, mask, dense)] - edges.a11
        return edges

    return read


@functools.cache
@no_type_check
def value_function(features: int) -> wp.Function:
    """Interpolates along x, then y, then z."""
    Edges = edges_type(features)

    @wp.func
    def value(edges: Edges, fx: float, fy: float, fz: float):
        v_z0 = edges.a00 + edges.s00 * fx
        v_z1 = edges.a01 + edges.s01 * fx
        v_z0 = v_z0 + (edges.a10 + edges.s10 * fx - v_z0) * fy
        v_z1 = v_z1 + (edges.a11 + edges.s11 * fx - v_z1) * fy
        return v_z0 + (v_z1 - v_z0) * fz

    return value


@functools.cache
@no_type_check
def expansion_type(features: int) -> Any:
    """Value, slopes, and mixed second and third derivatives of a cell's polynomial, per cell."""
    names = ("v", "x", "y", "z", "xy", "xz", "yz", "xyz")
    return _struct(f"Expansion{features}", **dict.fromkeys(names, row_type(features)))


@functools.cache
@no_type_check
def expand_function(features: int) -> wp.Function:
    """As the value, but keeps the differences, which are the derivatives."""
    Edges, Expansion = edges_type(features), expansion_type(features)

    @wp.func
    def expand(edges: Edges, fx: float, fy: float, fz: float):
        v_z0 = edges.a00 + edges.s00 * fx
        v_z1 = edges.a01 + edges.s01 * fx
        y_z0 = edges.a10 + edges.s10 * fx - v_z0
        y_z1 = edges.a11 + edges.s11 * fx - v_z1
        v_z0 = v_z0 + y_z0 * fy
        v_z1 = v_z1 + y_z1 * fy
        xy_z0 = edges.s10 - edges.s00
        xy_z1 = edges.s11 - edges.s01
        x_z0 = edges.s00 + xy_z0 * fy
        x_z1 = edges.s01 + xy_z1 * fy
        e = Expansion()
        e.z = v_z1 - v_z0
        e.v = v_z0 + e.z * fz
        e.xz = x_z1 - x_z0
        e.x = x_z0 + e.xz * fz
        e.yz = y_z1 - y_z0
        e.y = y_z0 + e.yz * fz
        e.xyz = xy_z1 - xy_z0
        e.xy = xy_z0 + e.xyz * fz
        return e

    return expand


@functools.cache
@no_type_check
def add_function(features: int, order: int) -> wp.Function:
    """The transpose of `read` and `expand`: adds what the eight rows receive from a gradient at the expansion.

    Of the expansion's parts the first `order` count: 1, 4, 7 or 8.
    """
    vec, Expansion = row_type(features), expansion_type(features)

    @wp.func
    def add(table: wp.array2d(dtype=vec), level: int, at: Place, mask: wp.uint32, dense: int, g: Expansion):
        v_z1 = g.v * at.fz
        if wp.static(order >= 4):
            v_z1 = v_z1 + g.z
        v_z0 = g.v - v_z1
        v10 = v_z0 * at.fy
        v11 = v_z1 * at.fy
        if wp.static(order >= 4):
            y_z1 = g.y * at.fz
            if wp.static(order >= 7):
                y_z1 = y_z1 + g.yz
            v10 = v10 + (g.y - y_z1)
            v11 = v11 + y_z1
        v00 = v_z0 - v10
        v01 = v_z1 - v11
        s00 = v00 * at.fx
        s10 = v10 * at.fx
        s01 = v01 * at.fx
        s11 = v11 * at.fx
        if wp.static(order >= 4):
            x_z1 = g.x * at.fz
            if wp.static(order >= 7):
                x_z1 = x_z1 + g.xz
            x_z0 = g.x - x_z1
            xy_z0 = x_z0 * at.fy
            xy_z1 = x_z1 * at.fy
            if wp.static(order >= 7):
                xy = g.xy * at.fz
                if wp.static(order == 8):
                    xy = xy + g.xyz
                xy_z0 = xy_z0 + (g.xy - xy)
                xy_z1 = xy_z1 + xy
            s00 = s00 + (x_z0 - xy_z0)
            s10 = s10 + xy_z0
            s01 = s01 + (x_z1 - xy_z1)
            s11 = s11 + xy_z1
        # On the CPU an atomic add is a plain one; no two CPU threads are ever given the same level.
        wp.atomic_add(table, level, row_of(at.x0, at.y0, at.z0, mask, dense), v00 - s00)
        wp.atomic_add(table, level, row_of(at.x1, at.y0, at.z0, mask, dense), s00)
        wp.atomic_add(table, level, row_of(at.x0, at.y1, at.z0, mask, dense), v10 - s10)
        wp.atomic_add(table, level, row_of(at.x1, at.y1, at.z0, mask, dense), s10)
        wp.atomic_add(table, level, row_of(at.x0, at.y0, at.z1, mask, dense), v01 - s01)
        wp.atomic_add(table, level, row_of(at.x1, at.y0, at.z1, mask, dense), s01)
        wp.atomic_add(table, level, row_of(at.x0, at.y1, at.z1, mask, dense), v11 - s11)
        wp.atomic_add(table, level, row_of(at.x1, at.y1, at.z1, mask, dense), s11)

    return add


@functools.cache
@no_type_check
def slope_function(features: int, order: int) -> wp.Function:
    """Gradient at the point, per cell, of the expansion `e` weighted by `g`: every part's derivative is another part.

    Of the weights the first `order` count: 1, 4, 7 or 8.
    """
    Expansion = expansion_type(features)

    @wp.func
    def slope(e: Expansion, g: Expansion):
        total = wp.vec3(wp.dot(g.v, e.x), wp.dot(g.v, e.y), wp.dot(g.v, e.z))
        if wp.static(order >= 4):
            total += wp.vec3(
                wp.dot(g.y, e.xy) + wp.dot(g.z, e.xz),
                wp.dot(g.x, e.xy) + wp.dot(g.z, e.yz),
                wp.dot(g.x, e.xz) + wp.dot(g.y, e.yz),
            )
        if wp.static(order >= 7):
            total += wp.vec3(wp.dot(g.yz, e.xyz), wp.dot(g.xz, e.xyz), wp.dot(g.xy, e.xyz))
        return total

    return slope
