"""The hash grid's jet in plain torch: the reference that every fast backend is tested against, and the fallback.

A jet is the encoding and its derivatives at a point, read from the table by ONE gather:

    columns 1   value
    columns 4   value, d/dx, d/dy, d/dz
    columns 7   the same and d2/dxdy, d2/dxdz, d2/dydz   (the pure second derivatives of a trilinear cell are zero)

Derivatives are with respect to the position in [0, 1]^3. The jet is linear in the table, so its backward is one
scatter: no double backward is ever needed for normals, the eikonal loss or n^T H n. At a cell's face the derivative is
the one of the cell above (floor and floor + 1), where nerfstudio's ceil would give zero.
"""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.kernels.layout import PRIME_Y, PRIME_Z, GridLayout


@cache
def _of_levels(values: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number for each level, made once: the host would wait for a device to take it."""
    return torch.tensor(values, dtype=dtype, device=device)


@cache
def _corners(device: torch.device) -> Int[Tensor, "8 3"]:
    """Steps to a cell's corners; corner index = x + 2 y + 4 z."""
    return torch.tensor([[i & 1, (i >> 1) & 1, i >> 2] for i in range(8)], device=device)


def cell_and_fraction(
    positions: Float[Tensor, "points 3"], layout: GridLayout, levels: int
) -> tuple[Int[Tensor, "points levels 3"], Float[Tensor, "points levels 3"], Float[Tensor, " levels"]]:
    """The grid cell a point falls in on each of the first `levels` levels, where in it, and the levels' resolutions."""
    resolutions = _of_levels(layout.resolutions, positions.dtype, positions.device)[:levels]
    scaled = positions[:, None, :] * resolutions[None, :, None]
    cell = torch.minimum(scaled.detach().floor().clamp_min(0), (resolutions - 1)[None, :, None])
    return cell.long(), scaled - cell, resolutions


def corner_rows(cell: Int[Tensor, "points levels 3"], layout: GridLayout) -> Int[Tensor, "points levels 8"]:
    """Flat table rows of a cell's corners; corner index = x + 2 y + 4 z."""
    levels = cell.shape[1]
    device = cell.device
    corner = cell[:, :, None, :] + _corners(device)
    side = _of_levels(layout.resolutions, torch.int64, device)[:levels][None, :, None] + 1
    x, y, z = corner.unbind(-1)
    dense_row = x + side * (y + side * z)
    hashed_row = (x ^ (y * PRIME_Y) ^ (z * PRIME_Z)) & (layout.rows - 1)
    is_dense = _of_levels(layout.dense, torch.bool, device)[:levels][None, :, None]
    first_row = torch.arange(levels, device=device)[None, :, None] * layout.rows
    return torch.where(is_dense, dense_row, hashed_row) + first_row


def _lerp(pair: Tensor, fraction: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Interpolate along a corner axis of size two; returns the value and the difference (derivative per cell)."""
    low, high = pair.unbind(axis)
    slope = high - low
    return low + fraction * slope, slope


def jet(
    positions: Float[Tensor, "points 3"],
    table: Float[Tensor, "levels rows features"],
    layout: GridLayout,
    columns: int,
    active_levels: int,
) -> Float[Tensor, "points {columns} width"]:
    """Encode positions in [0, 1]^3; levels from `active_levels` on are zero and receive no gradient."""
    if columns not in (1, 4, 7):
        raise ValueError(f"a jet has 1, 4 or 7 columns, not {columns}")
    cell, fraction, resolutions = cell_and_fraction(positions, layout, active_levels)
    rows = corner_rows(cell, layout)
    corners = F.embedding(rows, table.reshape(-1, layout.features))  # points levels 8 features
    points, levels = rows.shape[:2]
    corners = corners.view(points, levels, 2, 2, 2, layout.features)  # ... z y x features
    fx, fy, fz = (fraction[:, :, axis, None, None, None] for axis in range(3))
    scale = resolutions[None, :, None]

    value_zy, x_zy = _lerp(corners, fx, 4)
    value_z, y_z = _lerp(value_zy, fy[..., 0], 3)
    value, dz = _lerp(value_z, fz[..., 0, 0], 2)
    parts = [value]
    if columns >= 4:
        x_z, xy_z = _lerp(x_zy, fy[..., 0], 3)
        dx, dxz = _lerp(x_z, fz[..., 0, 0], 2)
        dy, dyz = _lerp(y_z, fz[..., 0, 0], 2)
        parts += [dx * scale, dy * scale, dz * scale]
        if columns == 7:
            dxy, _ = _lerp(xy_z, fz[..., 0, 0], 2)
            parts += [part * scale**2 for part in (dxy, dxz, dyz)]
    stacked = torch.stack(parts, dim=1).reshape(points, columns, levels * layout.features)
    return F.pad(stacked, (0, layout.width - levels * layout.features))
