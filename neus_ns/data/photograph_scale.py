"""How much smaller than their files photographs are read.

A phone takes four times the pixels that a surface is found by. Two hundred such photographs would be minutes of reading
and more memory than a laptop has, before the first step.
"""

import torch
from nerfstudio.cameras.cameras import Cameras

# Of the larger side in pixels: what the usual benchmarks have, and from where on nerfstudio takes smaller copies of
# photographs, if a capture brings any.
LONGEST_SIDE = 1600
# A hair more, since sizes are rounded down.
_HAIR = 0.01


def suited_scale(cameras: Cameras) -> float:
    """By how much the photographs of these cameras are to be made smaller: all alike, and none larger than it is."""
    longest = max([LONGEST_SIDE, *torch.maximum(cameras.width, cameras.height).flatten().tolist()])
    return min(1.0, (LONGEST_SIDE + _HAIR) / longest)
