"""Where the taps of a numerical gradient lie around a point, in one place for kernels, derivatives and losses.

    taps 4    the tetrahedron half_width / sqrt(3) * {(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)}
    taps 6    half_width * {+x, -x, +y, -y, +z, -z}

Every tap is `half_width` away from the point.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

Direction = tuple[int, int, int]

_DIRECTIONS: dict[int, tuple[Direction, ...]] = {
    4: ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)),
    6: ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)),
}


def directions(taps: int) -> tuple[Direction, ...]:
    """The taps' signs along x, y and z."""
    if taps not in _DIRECTIONS:
        raise ValueError(f"a stencil has 4 or 6 taps, not {taps}")
    return _DIRECTIONS[taps]


def reach(half_width: float, taps: int) -> float:
    """How far a tap goes along each axis it moves on; all of a stencil's taps move on equally many."""
    return half_width / math.sqrt(sum(map(abs, directions(taps)[0])))


def tap_offsets(half_width: float, taps: int, like: Tensor) -> Float[Tensor, "{taps} 3"]:
    """The taps relative to their point, on the device and in the precision of `like`."""
    return _directions(taps, like.dtype, like.device) * reach(half_width, taps)


@cache
def _directions(taps: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "{taps} 3"]:
    """`directions`, made once: the host would wait for a device to take them."""
    return torch.tensor(directions(taps), dtype=dtype, device=device)
