"""Pixels with what their photographs and masks say about how far to trust them.

On the outline of a mask half a pixel of blur or of calibration error turns object into background, so what a doubtful
mask says there is not to be taken at its word. Where a photograph is plain, it does not tell where the surface is.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.pixel_store import FOREGROUND_LEVEL, PixelStore
from neus_ns.pixels.base import PixelBatch

_OPAQUE = 255
# Pixels between those by which the contrast around one is judged: three by three of them cover five by five.
_APART = 2


def on_mask_edge(store: PixelStore, pixels: PixelBatch) -> Bool[Tensor, " rays"]:
    """Whether a pixel's coverage is partial, or one of its four neighbours is on the other side of the outline."""
    assert store.fg is not None
    own = store.fg.index_select(0, pixels.flat)
    edge = (own > 0) & (own < _OPAQUE)
    indices = pixels.indices.to(store.device)
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        other = store.fg.index_select(0, store.beside(indices, down, right))
        edge |= (other >= FOREGROUND_LEVEL) != (own >= FOREGROUND_LEVEL)
    return edge


def contrast_around(store: PixelStore, pixels: PixelBatch) -> Float[Tensor, " rays"]:
    """Standard deviation of grey around each pixel, in levels of 255."""
    indices, reach = pixels.indices.to(store.device), (-_APART, 0, _APART)
    around = [store.rgb.index_select(0, store.beside(indices, down, right)) for down in reach for right in reach]
    return torch.stack(around).float().mean(-1).std(0, correction=0)


@dataclass
class WitnessDataManagerConfig(SurfaceDataManagerConfig):
    """Photographs as a pixel store; batches say how far to trust each pixel."""

    _target: type = field(default_factory=lambda: WitnessDataManager)
    """Target class to instantiate."""


class WitnessDataManager(SurfaceDataManager):
    """Adds `contrast` to every batch of pixels, and `mask_edge` where there are masks."""

    def _batch(self, store: PixelStore, pixels: PixelBatch) -> dict[str, Tensor]:
        batch = super()._batch(store, pixels)
        batch["contrast"] = contrast_around(store, pixels).to(self.device)
        if store.fg is not None:
            batch["mask_edge"] = on_mask_edge(store, pixels).to(self.device)
        return batch
