"""Hash-grid jets by whichever backend was chosen; see `torch_jet` for what a jet is."""

from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels import torch_jet
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
