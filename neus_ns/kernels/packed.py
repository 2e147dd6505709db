"""Packed compositing by whichever backend was chosen; see `torch_packed` for the formulas."""

from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.kernels import torch_packed
from neus_ns.kernels.backend import Backend


def weights_from_alpha(
    alpha: Float[Tensor, " samples"], ray_index: Int[Tensor, " samples"], num_rays: int, backend: Backend
) -> tuple[Float[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Compositing weights and the transmittance in front of every sample."""
    if backend == "warp":
        from neus_ns.kernels import warp_packed

        return warp_packed.weights_from_alpha(alpha, ray_index, num_rays)
    return torch_packed.weights_from_alpha(alpha, ray_index, num_rays)


def accumulate(
    values: Float[Tensor, "samples channels"], ray_index: Int[Tensor, " samples"], num_rays: int, backend: Backend
) -> Float[Tensor, "rays channels"]:
    """Sum of the samples' values over each ray."""
    if backend == "warp":
        from neus_ns.kernels import warp_packed

        return warp_packed.accumulate(values, ray_index, num_rays)
    return torch_packed.accumulate(values, ray_index, num_rays)
