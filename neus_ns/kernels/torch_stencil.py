"""The hash grid at a point and at the taps around it, in plain torch: the reference, and the fallback.

Column 0 is the encoding at the point itself, the others are its taps in the order of `taps.directions`. All are values
of the same trilinear cells as the jet's, so taps outside the box extrapolate exactly as the jet does.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.kernels import torch_jet
from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.taps import tap_offsets


def stencil(
    positions: Float[Tensor, "points 3"],
    half_width: float,
    taps: int,
    table: Float[Tensor, "levels rows features"],
    layout: GridLayout,
    active_levels: int,
) -> Float[Tensor, "points {taps}+1 width"]:
    """Encode positions in [0, 1]^3 and their 4 or 6 taps; levels from `active_levels` on are zero and learn nothing."""
    tapped = positions[:, None, :] + tap_offsets(half_width, taps, positions)
    every = torch.cat([positions[:, None, :], tapped], dim=1)
    encoded = torch_jet.jet(every.reshape(-1, 3), table, layout, 1, active_levels)
    return encoded.view(len(positions), taps + 1, layout.width)
