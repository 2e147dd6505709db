"""Packed compositing in Warp: one thread walks one ray's samples; on the CPU rays are split over threads.

The backward pass walks the ray from its end and divides by nothing, so it is exact where a sample is opaque:

    seen_{i-1} = alpha_i dL/dw_i + dL/dT_i + (1 - alpha_i) seen_i      what the light that passes i - 1 goes on to earn
    dL/dalpha_i = T_i (dL/dw_i - seen_i)
"""

from typing import Any

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from neus_ns.kernels.warp_launch import array
from neus_ns.kernels.warp_packed_kernels import (
    accumulate_kernel,
    row_type,
    spread_kernel,
    weights_backward_kernel,
    weights_kernel,
)
from neus_ns.kernels.warp_rays import over_rays

# Fewer rays than this are not worth waking a second thread for.
_SHORTEST_RUN = 512


def weights_from_alpha(
    alpha: Float[Tensor, " samples"], ray_index: Int[Tensor, " samples"], num_rays: int
) -> tuple[Float[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Compositing weights and the transmittance in front of every sample."""
    _check(alpha)
    return _Weights.apply(alpha.contiguous(), first_samples(ray_index, num_rays))  # type: ignore[return-value]


def accumulate(
    values: Float[Tensor, "samples channels"], ray_index: Int[Tensor, " samples"], num_rays: int
) -> Float[Tensor, "rays channels"]:
    """Sum of the samples' values over each ray."""
    _check(values)
    first = first_samples(ray_index, num_rays)
    return _Accumulated.apply(values.contiguous(), first)  # type: ignore[return-value]


def _check(values: Tensor) -> None:
    if values.dtype != torch.float32:
        raise ValueError(f"Warp's compositing is float32, not {values.dtype}")


def first_samples(ray_index: Tensor, num_rays: int) -> Tensor:
    """Where each ray's samples begin on the packed axis, and the end of the last; no read back from the device."""
    rays = torch.arange(num_rays + 1, dtype=ray_index.dtype, device=ray_index.device)
    return torch.searchsorted(ray_index.contiguous(), rays)


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        weights, transmittance = torch.empty_like(alpha), torch.empty_like(alpha)
        _over_rays(weights_kernel(), first, alpha, weights, transmittance)
        ctx.save_for_backward(alpha, first, transmittance)
        return weights, transmittance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_weights: Tensor, to_transmittance: Tensor) -> tuple[Tensor, None]:
        alpha, first, transmittance = ctx.saved_tensors
        to_alpha = torch.empty_like(alpha)
        given = (to_weights.contiguous(), to_transmittance.contiguous())
        _over_rays(weights_backward_kernel(), first, alpha, transmittance, *given, to_alpha)
        return to_alpha, None


class _Accumulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, first: Tensor) -> Tensor:
        ctx.save_for_backward(first)
        ctx.samples = len(values)
        total = values.new_empty(len(first) - 1, values.shape[1])
        _over_rays(accumulate_kernel(values.shape[1]), first, values, total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (first,) = ctx.saved_tensors
        to_values = gradient.new_empty(ctx.samples, gradient.shape[1])
        _over_rays(spread_kernel(gradient.shape[1]), first, gradient.contiguous(), to_values)
        return to_values, None


def _over_rays(kernel: wp.Kernel, first: Tensor, *tensors: Tensor) -> None:
    """Launch one thread a ray on flat float arrays (rows of channels where a tensor has two axes)."""
    inputs = (array(first, wp.int64), *(array(t, row_type(t.shape[1]) if t.ndim == 2 else wp.float32) for t in tensors))
    over_rays(kernel, inputs, len(first) - 1, first, _SHORTEST_RUN)
