"""Pixels with what their photographs and masks say about how far to trust them.

On the outline of a mask half a pixel of blur or of calibration error turns object into background, so what a doubtful
mask says there is not to be taken at its word. Where a photograph is plain, it does not tell where the surface is.
"""

from dataclasses import dataclass, field

from jaxtyping import Bool
from torch import Tensor

from neus_ns.data.contrast import contrast_around
from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.pixel_store import FOREGROUND_LEVEL, PixelStore
from neus_ns.pixels.base import PixelBatch

_OPAQUE = 255


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
