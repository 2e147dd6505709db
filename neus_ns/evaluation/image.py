"""How close a rendered picture is to the photograph: PSNR, SSIM, LPIPS.

Pictures are [h, w, 3] in [0, 1].
"""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.errors import InputError

Picture = Float[Tensor, "h w 3"]
LpipsFn = Callable[[Picture, Picture], float]

# Wang et al. 2004, section III.C: an 11 x 11 Gaussian of 1.5 pixels; constants for pictures in [0, 1].
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2


def psnr(rendered: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]) -> float:
    """Peak signal-to-noise ratio in decibels over the whole picture; inf for equal pictures."""
    return _decibels((rendered - photo).square().mean())


def psnr_in_mask(rendered: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"], mask: Bool[Tensor, "h w"]) -> float:
    """Peak signal-to-noise ratio in decibels over the pixels of a mask."""
    if not mask.any():
        raise InputError("The mask is empty, so the picture has no PSNR inside it; check the mask of this photograph.")
    return _decibels((rendered - photo)[mask].square().mean())


def ssim(rendered: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]) -> float:
    """Structural similarity, the mean over channels and over all windows that lie fully inside the picture."""
    height, width, _ = photo.shape
    if min(height, width) < SSIM_WINDOW:
        raise InputError(f"SSIM needs pictures of at least {SSIM_WINDOW} pixels a side; this one is {width}x{height}.")
    # Variances are differences of nearly equal numbers, hence float64.
    x, y = (picture.double().permute(2, 0, 1)[:, None] for picture in (rendered, photo))
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_x + var_y + SSIM_C2)
    return float((luminance * structure).mean())


def load_lpips(device: str = "cpu") -> LpipsFn | None:
    """LPIPS with AlexNet, or None where its weights are not on this machine. Nothing is ever downloaded.

    Building the metric would fetch AlexNet from the net by itself, so the file is looked for first.
    """
    from torchvision.models import AlexNet_Weights

    weights = Path(torch.hub.get_dir()) / "checkpoints" / Path(AlexNet_Weights.DEFAULT.url).name
    if not weights.is_file():
        return None

    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).to(device)

    @torch.no_grad()
    def lpips(rendered: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]) -> float:
        metric.reset()
        pair = (picture.float().to(device).clamp(0, 1).permute(2, 0, 1)[None] for picture in (rendered, photo))
        return float(metric(*pair))

    return lpips


def _decibels(mean_squared_error: Float[Tensor, ""]) -> float:
    return float(-10 * torch.log10(mean_squared_error.double()))


def _blur(channels: Float[Tensor, "channels 1 h w"]) -> Float[Tensor, "channels 1 h_inside w_inside"]:
    """Gaussian windows, one axis after the other."""
    offset = torch.arange(SSIM_WINDOW, dtype=channels.dtype, device=channels.device) - SSIM_WINDOW // 2
    weights = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    weights = weights / weights.sum()
    rows = torch.nn.functional.conv2d(channels, weights.view(1, 1, -1, 1))
    return torch.nn.functional.conv2d(rows, weights.view(1, 1, 1, -1))
