"""How much smaller than their files photographs are read.

A phone takes many times the pixels that a surface is found by. Two hundred such photographs would be minutes of reading
and more memory than a laptop has, before the first step; and texture finer than the hash grid's cells is only noise to
it, while the mean over a cell's area is not.
"""

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

# Of the larger side in pixels: what the usual benchmarks have, and from where on nerfstudio takes smaller copies of
# photographs, if a capture brings any. So many are for 1024 cells across the region of interest, which takes about two
# thirds of a photograph: a pixel is about a cell.
LONGEST_SIDE = 1600
_PIXELS_PER_CELL = LONGEST_SIDE / 1024
# However coarse the grid is.
_LEAST = 400
# A hair more, since sizes are rounded down.
_HAIR = 0.01


def longest_side(finest_cells: int | None) -> int:
    """How large photographs are read at most, for so many cells across the region of interest; None: not known yet."""
    if finest_cells is None:
        return LONGEST_SIDE
    return max(_LEAST, min(LONGEST_SIDE, round(_PIXELS_PER_CELL * finest_cells)))


def suited_scales(cameras: Cameras, longest: int) -> Float[Tensor, "views 1"]:
    """By how much the photograph of each camera is to be made smaller, so that no side is longer than this."""
    larger = torch.maximum(cameras.width, cameras.height).double()
    return ((longest + _HAIR) / larger).clamp_max(1.0)
