"""Real spherical harmonics of a direction, up to degree 3 (16 values): the colour networks' view encoding.

Written as polynomials and differentiated by hand: recorded operation by operation, on columns of single numbers, they
took as long as a layer of the network that reads them.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from neus_ns.kernels.threads import on_threads, runs

SH_WIDTH = 16

_C0 = 0.28209479177387814
_C1 = 0.4886025119029199
_C2, _C2_ZZ, _C2_XX = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
_C3_Y, _C3_XYZ, _C3_ZZ = 0.5900435899266435, 2.890611442640554, 0.4570457994644658
_C3_Z, _C3_XX = 0.3731763325901154, 1.445305721320277


def spherical_harmonics(directions: Float[Tensor, "points 3"]) -> Float[Tensor, "points 16"]:
    """Values of the 16 real spherical harmonics of bands 0 to 3 at unit directions (Condon-Shortley phase left out)."""
    return _Harmonics.apply(directions)  # type: ignore[return-value]


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, directions: Tensor) -> Tensor:
        ctx.save_for_backward(directions)
        out = directions.new_empty(len(directions), SH_WIDTH)
        _by_runs(lambda part: _values(directions[part], out[part]), directions)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_values: Tensor) -> Tensor:
        (directions,) = ctx.saved_tensors
        out = torch.empty_like(directions)
        _by_runs(lambda part: _transposed_slopes(directions[part], to_values[part], out[part]), directions)
        return out


def _by_runs(fill: Callable[[slice], None], directions: Tensor) -> None:
    on_threads([functools.partial(fill, part) for part in runs(len(directions), directions.device)])


def _values(directions: Tensor, out: Tensor) -> None:
    x, y, z = directions.t().contiguous()
    xx, yy, zz, xy = x * x, y * y, z * z, x * y
    columns = [
        torch.full_like(x, _C0),
        _C1 * y,
        _C1 * z,
        _C1 * x,
        _C2 * xy,
        _C2 * y * z,
        _C2_ZZ * (3 * zz - 1),
        _C2 * x * z,
        _C2_XX * (xx - yy),
        _C3_Y * y * (3 * xx - yy),
        _C3_XYZ * xy * z,
        _C3_ZZ * y * (5 * zz - 1),
        _C3_Z * z * (5 * zz - 3),
        _C3_ZZ * x * (5 * zz - 1),
        _C3_XX * z * (xx - yy),
        _C3_Y * x * (xx - 3 * yy),
    ]
    torch.stack(columns, 1, out=out)


def _transposed_slopes(directions: Tensor, to_values: Tensor, out: Tensor) -> None:
    """The values' derivatives by x, y and z, transposed, times what reaches the values."""
    x, y, z = directions.t().contiguous()
    _, u1, u2, u3, u4, u5, u6, u7, u8, u9, u10, u11, u12, u13, u14, u15 = to_values.t().contiguous()
    xx, yy, zz = x * x, y * y, z * z
    ring, saddle, u10 = 5 * zz - 1, 3 * _C3_Y * (xx - yy), _C3_XYZ * u10
    by_x = _C1 * u3 + _C2 * (y * u4 + z * u7) + x * (2 * _C2_XX * u8 + 2 * _C3_XX * z * u14)
    by_x += y * (6 * _C3_Y * x * u9 + z * u10) + _C3_ZZ * ring * u13 + saddle * u15
    by_y = _C1 * u1 + _C2 * (x * u4 + z * u5) - y * (2 * _C2_XX * u8 + 2 * _C3_XX * z * u14)
    by_y += x * (z * u10 - 6 * _C3_Y * y * u15) + _C3_ZZ * ring * u11 + saddle * u9
    by_z = _C1 * u2 + _C2 * (y * u5 + x * u7) + z * (6 * _C2_ZZ * u6 + 10 * _C3_ZZ * (y * u11 + x * u13))
    by_z += x * y * u10 + 3 * _C3_Z * ring * u12 + _C3_XX * (xx - yy) * u14
    torch.stack([by_x, by_y, by_z], 1, out=out)
