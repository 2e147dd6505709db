"""How much grey changes around pixels: where photographs are plain, they do not tell where a surface is."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from neus_ns.data.pixel_store import PixelStore
from neus_ns.pixels.base import PixelBatch

# Pixels between those by which the contrast around one is judged: three by three of them cover five by five.
_APART = 2
# How far plainness is looked for, in shares of the photograph's longer side to either side of a pixel: so near a
# boundary, what lies beyond still tells where the surface is.
_WIDELY = 0.015


def contrast_around(store: PixelStore, pixels: PixelBatch) -> Float[Tensor, " rays"]:
    """Standard deviation of grey around each pixel, in levels of 255."""
    indices = pixels.indices.to(store.device)
    grey = _grey_around(store, indices, 1, indices.new_full((len(indices),), _APART))
    return grey.flatten(1).std(1, correction=0)


def plain_all_around(store: PixelStore, pixels: PixelBatch, limit: float) -> Float[Tensor, " rays"]:
    """Near one where the photograph shows nothing far and wide, near zero wherever some texture or an edge is near.

    1 / (1 + (c / k)^4),   c the largest contrast of 3x3 pixels out of a grid of 5x5, k the limit, in levels of 255
    """
    indices = pixels.indices.to(store.device)
    view = indices[:, 0]
    longer = torch.maximum(store.width.index_select(0, view), store.height.index_select(0, view))
    apart = (longer * (_WIDELY / 2)).round().long().clamp_min(1)
    grey = _grey_around(store, indices, 2, apart)
    mean, square = F.avg_pool2d(torch.stack([grey, grey.square()], 1), 3, stride=1).unbind(1)
    # Rounding may leave less than nothing where all is even.
    variance = (square - mean.square()).flatten(1).amax(1).clamp_min(0)
    return 1 / (1 + (variance / limit**2).square())


def _grey_around(
    store: PixelStore, indices: Int64[Tensor, "rays 3"], reach: int, apart: Int64[Tensor, " rays"]
) -> Float[Tensor, "rays side side"]:
    """Grey of a grid of pixels around each; beyond a photograph's border its last pixel stands for them."""
    steps = torch.arange(-reach, reach + 1, device=indices.device) * apart[:, None]
    width, height = (size.index_select(0, indices[:, 0])[:, None] for size in (store.width, store.height))
    row = torch.minimum((indices[:, 1:2] + steps).clamp_min(0), height - 1)
    column = torch.minimum((indices[:, 2:] + steps).clamp_min(0), width - 1)
    first = store.offset.index_select(0, indices[:, 0])
    flat = first[:, None, None] + (row * width)[:, :, None] + column[:, None, :]
    return store.rgb.index_select(0, flat.flatten()).float().mean(-1).view(flat.shape)
