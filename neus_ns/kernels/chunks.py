"""Point functions in chunks, so that memory stays level however many points there are."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def chunked(
    fn: Callable[[Float[Tensor, "chunk 3"]], Float[Tensor, " chunk"]], points: Float[Tensor, "points 3"], size: int
) -> Float[Tensor, " points"]:
    """`fn(points)`, evaluated `size` points at a time."""
    if len(points) <= size:
        return fn(points)
    return torch.cat([fn(part) for part in points.split(size)])
