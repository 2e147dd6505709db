"""The photographs in grey, one byte a pixel, for comparing patches between them.

The grey copy is made once from the pixel store and kept beside it. Lens distortion is undone in it, so whoever compares
patches deals with pinholes alone. Zero marks what says nothing of the object: pixels off its mask, and pixels that the
lens did not see. Everything else is 1 at least.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from neus_ns.data.pinhole_views import is_bent, lens_positions
from neus_ns.data.pixel_store import FOREGROUND_LEVEL, PixelStore

# Shares of red, green and blue in grey (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class GreySamples:
    """Grey levels (0 to 255) between pixels, how they change per pixel to the right and down, and whether they are
    known."""

    value: Float[Tensor, "patches pixels"]
    right: Float[Tensor, "patches pixels"]
    down: Float[Tensor, "patches pixels"]
    seen: Bool[Tensor, "patches pixels"]


@dataclass(frozen=True)
class GreyPhotos:
    """Every photograph as a pinhole would have taken it; laid out as in the pixel store."""

    grey: UInt8[Tensor, " pixels"]
    offset: Int64[Tensor, " views"]
    width: Int64[Tensor, " views"]
    height: Int64[Tensor, " views"]

    def sample(
        self, view: Int64[Tensor, " patches"], x: Float[Tensor, "patches pixels"], y: Float[Tensor, "patches pixels"]
    ) -> GreySamples:
        """Bilinear samples of one photograph a patch at columns x and rows y, where pixel centres lie at halves.

        A sample is known if all four pixels around it are; slopes are those of the interpolation itself.
        """
        device, home = x.device, self.grey.device
        view, x, y = view.to(home), x.to(home) - 0.5, y.to(home) - 0.5
        width = self.width.index_select(0, view)[:, None]
        height = self.height.index_select(0, view)[:, None]
        column, row = x.floor(), y.floor()
        inside = (column >= 0) & (column < width - 1) & (row >= 0) & (row < height - 1)
        across, below = x - column, y - row
        # Beyond the border the first pixel stands in, and is not believed.
        flat = torch.where(inside, row.long() * width + column.long(), 0) + self.offset.index_select(0, view)[:, None]
        flat, step = flat.view(-1), torch.where(inside, width, 0).view(-1)
        last = len(self.grey) - 1
        corners = [flat, (flat + 1).clamp_max(last), flat + step, (flat + step + 1).clamp_max(last)]
        found = [self.grey.index_select(0, corner).view_as(x) for corner in corners]
        known = torch.minimum(torch.minimum(found[0], found[1]), torch.minimum(found[2], found[3])) > 0
        a, b, c, d = (corner.float() for corner in found)
        top, bottom = b - a, d - c
        above = torch.addcmul(a, across, top)
        down = torch.addcmul(c, across, bottom) - above
        value, right = torch.addcmul(above, below, down), torch.addcmul(top, below, bottom - top)
        return GreySamples(*(part.to(device) for part in (value, right, down, inside & known)))


def grey_photos(store: PixelStore, cameras: Cameras) -> GreyPhotos:
    """The photographs of a store in grey, straightened if these, their cameras, have lenses that bend."""
    luma = torch.tensor(_LUMA)
    cameras = cameras.to("cpu")
    bent = is_bent(cameras)
    grey = torch.empty(store.num_pixels, dtype=torch.uint8)
    for view, (start, width, height) in enumerate(
        zip(store.offset.tolist(), store.width.tolist(), store.height.tolist(), strict=True)
    ):
        rows = slice(start, start + width * height)
        # Not by the whole store at once: this must not need a float copy of the photographs.
        levels = (store.rgb[rows].cpu().float() @ luma).round().clamp(1, 255).to(torch.uint8)
        if store.fg is not None:
            levels[store.fg[rows].cpu() < FOREGROUND_LEVEL] = 0
        grey[rows] = _straightened(levels.view(height, width), cameras, view).view(-1) if bent else levels
    return GreyPhotos(grey.to(store.device), store.offset, store.width, store.height)


def _straightened(levels: UInt8[Tensor, "h w"], cameras: Cameras, view: int) -> UInt8[Tensor, "h w"]:
    """As a pinhole with the same intrinsics would have seen it; zero where the lens did not look, or next to zero."""
    height, width = levels.shape
    at = np.asarray(lens_positions(cameras, view, height, width).float().numpy()) - 0.5
    photo = levels.numpy()
    bent = cv2.remap(photo, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    known = cv2.remap(
        np.asarray(255 * (photo > 0), dtype=np.uint8), at[..., 0], at[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )  # fmt: skip
    return torch.from_numpy(np.where(known == 255, np.maximum(bent, 1), 0).astype(np.uint8))
