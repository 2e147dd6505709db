"""Figures and pictures of one evaluated photograph: what TensorBoard and ns-eval show."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.evaluation.image import load_lpips, psnr, ssim
from neus_ns.kernels.chunks import chunked

# The network is loaded once per device, and only where its weights are already on disk.
_lpips = functools.cache(load_lpips)

_SLICE_SIDE = 256
_CHUNK = 2**16


def sdf_slice(
    sdf_fn: Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]], device: torch.device
) -> Float[Tensor, "256 256 3"]:
    """The signed distance on the plane y = 0 of the unit box: inside blue, outside red, the surface a white line."""
    axis = torch.linspace(-1, 1, _SLICE_SIDE, device=device)
    x, z = torch.meshgrid(axis, -axis, indexing="xy")
    points = torch.stack([x, torch.zeros_like(x), z], -1).reshape(-1, 3)
    sdf = chunked(sdf_fn, points, _CHUNK).view(_SLICE_SIDE, _SLICE_SIDE)
    fade = torch.exp(-3 * sdf.abs())
    picture = torch.stack([torch.where(sdf > 0, 1.0, fade), fade, torch.where(sdf > 0, fade, 1.0)], -1)
    contours = (sdf * 10).frac().abs() < 0.08
    picture = torch.where(contours[..., None], picture * 0.85, picture)
    picture[sdf.abs() < 1.5 / _SLICE_SIDE] = 1.0
    return picture


def depth_picture(depth: Float[Tensor, "h w 1"], opacity: Float[Tensor, "h w 1"]) -> Float[Tensor, "h w 3"]:
    """Depth as grey, near bright, over the range that the opaque pixels span; the rest is black."""
    solid = opacity > 0.5
    if not solid.any():
        return torch.zeros_like(depth).expand(-1, -1, 3)
    near, far = depth[solid].min(), depth[solid].max()
    shade = 1 - 0.8 * (depth - near) / (far - near).clamp_min(1e-6)
    return (torch.where(solid, shade, torch.zeros_like(shade))).expand(-1, -1, 3)


@torch.no_grad()
def image_metrics_and_pictures(
    outputs: dict[str, Tensor],
    batch: dict[str, Any],
    sdf_fn: Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]],
    device: torch.device,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """PSNR, SSIM and, where its weights are at hand, LPIPS; with masks both images show the object on white."""
    photo = batch["image"].to(outputs["rgb"])[..., :3]
    rendered = outputs["rgb"]
    if "fg_mask" in batch:
        mask = batch["fg_mask"].to(photo)
        photo = photo * mask + (1 - mask)
        rendered = rendered + (1 - outputs["accumulation"]) * (1 - outputs["behind"])
    rendered = rendered.clamp(0, 1)
    figures = {"psnr": psnr(rendered, photo), "ssim": ssim(rendered, photo)}
    lpips = _lpips(str(photo.device))
    if lpips is not None:
        figures["lpips"] = float(lpips(rendered, photo))
    pictures = {
        "img": torch.cat([photo, rendered], dim=1),
        "normals": outputs["normals"],
        "accumulation": outputs["accumulation"].expand(-1, -1, 3),
        "depth": depth_picture(outputs["depth"], outputs["accumulation"]),
        "sdf_slice": sdf_slice(sdf_fn, device),
    }
    return figures, pictures
