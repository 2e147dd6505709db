"""From weights to pixels: colour, opacity, depth and normal of every ray, in one pass over the samples."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.kernels.backend import Backend
from neus_ns.kernels.packed import accumulate


@dataclass(frozen=True)
class RenderedRays:
    """What rays see of the surface. `colour` is premultiplied by opacity; `normal` is a unit vector, or zero."""

    colour: Float[Tensor, "rays 3"]
    opacity: Float[Tensor, " rays"]
    depth: Float[Tensor, " rays"]
    normal: Float[Tensor, "rays 3"]


def composite(
    weights: Float[Tensor, " samples"],
    colour: Float[Tensor, "samples 3"],
    t_middle: Float[Tensor, " samples"],
    gradient: Float[Tensor, "samples 3"],
    ray_index: Int[Tensor, " samples"],
    num_rays: int,
    backend: Backend,
) -> RenderedRays:
    """Weighted sums along rays; depth is the mean over what the ray meets (zero where it meets nothing)."""
    ones = torch.ones_like(t_middle)[:, None]
    channels = torch.cat([colour, ones, t_middle[:, None], gradient], 1)
    total = accumulate(weights[:, None] * channels, ray_index, num_rays, backend)
    opacity = total[:, 3]
    return RenderedRays(
        colour=total[:, :3],
        opacity=opacity,
        depth=total[:, 4] / opacity.clamp_min(1e-6),
        normal=F.normalize(total[:, 5:], dim=-1),
    )
