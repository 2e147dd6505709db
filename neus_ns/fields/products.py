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
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@contextmanager
def short_products(device: torch.device) -> Iterator[None]:
    """Within it float32 products on a CUDA device may use tensor cores; elsewhere nothing changes."""
    if device.type != "cuda":
        yield
        return
    products = torch.backends.cuda.matmul
    # From 2.9 on torch knows precisions by name, and whoever sets these may not be asked by the switch any more.
    option, short = ("fp32_precision", "tf32") if hasattr(products, "fp32_precision") else ("allow_tf32", True)
    before = getattr(products, option)
    setattr(products, option, short)
    try:
        yield
    finally:
        setattr(products, option, before)


class Dense(nn.Linear):
    """A linear layer whose products may be short; its gradient cannot be differentiated again on CUDA."""

    def forward(self, input: Float[Tensor, "points inputs"]) -> Float[Tensor, "points outputs"]:
        if not input.is_cuda:
            return super().forward(input)
        return short_linear(input, self.weight, self.bias)


def short_linear(
    inputs: Float[Tensor, "points inputs"], weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, " outputs"]
) -> Float[Tensor, "points outputs"]:
    """W x + b, both ways by short products."""
    return _ShortLinear.apply(inputs, weight, bias)  # type: ignore[return-value]


class _ShortLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        with short_products(inputs.device):
            return F.linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_output: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        with short_products(inputs.device):
            to_inputs = to_output @ weight if ctx.needs_input_grad[0] else None
            return to_inputs, to_output.t() @ inputs, to_output.sum(0)
