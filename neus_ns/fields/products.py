"""Matrix products of a network's layers, on tensor cores where there are any.

TF32 keeps ten bits of what is multiplied and sums in float32: of a trained surface that moves the distance by a
hundredth of a cell of the finest level, the normal by 0.03 degrees and colours by 0.02 of 255 (`python -m
tests.benchmarks.rounded_products`). bfloat16 moves normals by 0.3 degrees, too much for a surface, and differences of
taps a cell apart bear neither, so numerical gradients keep all digits.

torch's switch is one for the whole process, where products that move points between frames need all their digits. So it
is on for these layers alone, forward and backward, and put back each time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# What the switch is to be put back to, while it is on. The viewer breaks off a rendering anywhere, even between the
# switch and what puts it back: then whoever comes next finds here what the rule was.
_to_put_back: list[Any] = []
# Matrix products are up to twice as fast if the result is a multiple of this many numbers wide.
_FAST_WIDTH = 16


def padding(width: int) -> int:
    """How many columns of zeros make a matrix of so many columns fast to multiply with."""
    return -width % _FAST_WIDTH


def _precisions_have_names() -> bool:
    try:
        return torch.backends.cuda.matmul.fp32_precision is not None
    except (AttributeError, AssertionError):
        # Before 2.2 torch asserts that it knows every name it is asked for.
        return False


@contextmanager
def short_products(device: torch.device) -> Iterator[None]:
    """Within it float32 products on a CUDA device may use tensor cores; elsewhere nothing changes."""
    if device.type != "cuda":
        yield
        return
    products = torch.backends.cuda.matmul
    # From 2.9 on torch knows precisions by name, and whoever sets these may not be asked by the switch any more.
    option, short = ("fp32_precision", "tf32") if _precisions_have_names() else ("allow_tf32", True)
    if not _to_put_back:
        _to_put_back.append(getattr(products, option))
    setattr(products, option, short)
    try:
        yield
    finally:
        # A generator that is broken off ends when it is collected, perhaps after another one has put it back.
        if _to_put_back:
            setattr(products, option, _to_put_back.pop())
