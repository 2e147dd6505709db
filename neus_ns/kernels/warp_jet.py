"""The hash grid's jet in Warp, CPU and CUDA from one source; same values and index rule as `torch_jet`."""

from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.warp_encode import Encoding, encode
from neus_ns.kernels.warp_jet_kernels import at_positions_kernel, gather_kernel, scatter_kernel


def jet(
    positions: Float[Tensor, "points 3"],
    table: Float[Tensor, "levels rows features"],
    layout: GridLayout,
    columns: int,
    active_levels: int,
) -> Float[Tensor, "points {columns} width"]:
    """Value (1), first derivatives (4) and mixed second derivatives (7); see `warp_encode.encode` for the table."""
    if columns not in (1, 4, 7):
        raise ValueError(f"a jet has 1, 4 or 7 columns, not {columns}")
    encoding = Encoding(
        layout,
        active_levels,
        columns,
        gather=gather_kernel(layout.features, columns),
        scatter=scatter_kernel(layout.features, columns),
        at_positions=at_positions_kernel(layout.features, columns),
    )
    return encode(positions, table, encoding)
