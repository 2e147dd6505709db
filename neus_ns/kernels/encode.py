"""The hash grid by whichever backend was chosen; see `torch_jet` and `torch_stencil` for what is encoded."""

from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels import torch_jet, torch_stencil
from neus_ns.kernels.backend import Backend
from neus_ns.kernels.layout import GridLayout


def jet(
    positions: Float[Tensor, "points 3"],
    table: Float[Tensor, "levels rows features"],
    layout: GridLayout,
    columns: int,
    active_levels: int,
    backend: Backend,
) -> Float[Tensor, "points {columns} width"]:
    """Value (1), first derivatives (4) and mixed second derivatives (7) of the encoding at positions in [0, 1]^3."""
    if backend == "warp":
        from neus_ns.kernels import warp_jet

        return warp_jet.jet(positions, table, layout, columns, active_levels)
    return torch_jet.jet(positions, table, layout, columns, active_levels)


def stencil(
    positions: Float[Tensor, "points 3"],
    half_width: float,
    taps: int,
    table: Float[Tensor, "levels rows features"],
    layout: GridLayout,
    active_levels: int,
    backend: Backend,
) -> Float[Tensor, "points {taps}+1 width"]:
    """The encoding at positions in [0, 1]^3 and at the 4 or 6 taps around each, `half_width` away (see `taps`)."""
    if backend == "warp":
        from neus_ns.kernels import warp_stencil

        return warp_stencil.stencil(positions, half_width, taps, table, layout, active_levels)
    return torch_stencil.stencil(positions, half_width, taps, table, layout, active_levels)
