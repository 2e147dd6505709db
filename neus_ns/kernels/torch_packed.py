"""Packed compositing in plain torch: one flat axis of samples, sorted by ray, with the ray's number beside each.

    weight_i = T_i alpha_i,   T_i = prod_{j < i on the same ray} (1 - alpha_j)

The product is a difference of running sums of logarithms, in float64, so that a long batch loses no digits. A sample
whose alpha is exactly one is not told what lies behind it: there its gradient is that of its own weight alone.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Below this a sample counts as opaque; it keeps the logarithm finite where alpha is exactly one.
_OPAQUE = 1e-12


def weights_from_alpha(
    alpha: Float[Tensor, " samples"], ray_index: Int[Tensor, " samples"], num_rays: int
) -> tuple[Float[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Compositing weights and the transmittance in front of every sample."""
    if alpha.numel() == 0:
        return alpha, torch.ones_like(alpha)
    log_clear = torch.log((1 - alpha.double()).clamp_min(_OPAQUE))
    before = torch.cumsum(log_clear, 0) - log_clear
    count = torch.bincount(ray_index, minlength=num_rays)
    first = (torch.cumsum(count, 0) - count).clamp_max(alpha.numel() - 1)
    transmittance = torch.exp(before - before[first][ray_index]).to(alpha.dtype)
    return transmittance * alpha, transmittance


def accumulate(
    values: Float[Tensor, "samples channels"], ray_index: Int[Tensor, " samples"], num_rays: int
) -> Float[Tensor, "rays channels"]:
    """Sum of the samples' values over each ray."""
    return values.new_zeros(num_rays, values.shape[1]).index_add(0, ray_index, values)
