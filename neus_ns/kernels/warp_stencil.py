"""The hash grid at a point and its taps in Warp, CPU and CUDA from one source; same values as `torch_stencil`."""

from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.taps import reach
from neus_ns.kernels.warp_encode import Encoding, encode
from neus_ns.kernels.warp_stencil_kernels import (
    stencil_at_positions_kernel,
    stencil_gather_kernel,
    stencil_scatter_kernel,
)


def stencil(
    positions: Float[Tensor, "points 3"],
    half_width: float,
    taps: int,
    table: Float[Tensor, "levels rows features"],
    layout: GridLayout,
    active_levels: int,
) -> Float[Tensor, "points {taps}+1 width"]:
    """The encoding at positions in [0, 1]^3 and at their 4 or 6 taps; see `warp_encode.encode` for the table."""
    along_axis = reach(half_width, taps)
    encoding = Encoding(
        layout,
        active_levels,
        taps + 1,
        gather=stencil_gather_kernel(layout.features, taps),
        scatter=stencil_scatter_kernel(layout.features, taps),
        at_positions=stencil_at_positions_kernel(layout.features, taps),
        parameters=(along_axis,),
    )
    return encode(positions, table, encoding)
