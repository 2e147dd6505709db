"""Photographs whose batches say which pixels lie on the outline of their mask.

Half a pixel of blur or of calibration error turns such a pixel from object into background, so what a doubtful mask
says there is not to be taken at its word.
"""

from dataclasses import dataclass, field

from jaxtyping import Bool
from torch import Tensor

from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.pixel_store import FOREGROUND_LEVEL, PixelStore
from neus_ns.pixels.base import PixelBatch

_OPAQUE = 255


def on_mask_edge(store: PixelStore, pixels: PixelBatch) -> Bool[Tensor, " rays"]:
    """Whether a pixel's coverage is partial, or one of its four neighbours is on the other side of the outline."""
    assert store.fg is not None
    view, row, col = pixels.indices.to(store.device).unbind(-1)
    width, height = store.width.index_select(0, view), store.height.index_select(0, view)
    own = store.fg.index_select(0, pixels.flat)
    edge = (own > 0) & (own < _OPAQUE)
    # Beyond the photograph's border its last pixel stands for its neighbour.
    left, right = (col > 0).long(), (col < width - 1).long()
    above, below = (row > 0) * width, (row < height - 1) * width
    for neighbour in (pixels.flat - left, pixels.flat + right, pixels.flat - above, pixels.flat + below):
        other = store.fg.index_select(0, neighbour)
        edge |= (other >= FOREGROUND_LEVEL) != (own >= FOREGROUND_LEVEL)
    return edge


@dataclass
class MaskEdgeDataManagerConfig(SurfaceDataManagerConfig):
    """Photographs as a pixel store; batches mark the pixels on the masks' outlines."""

    _target: type = field(default_factory=lambda: MaskEdgeDataManager)
    """Target class to instantiate."""


class MaskEdgeDataManager(SurfaceDataManager):
    """Adds `mask_edge` to every batch of pixels that has masks."""

    def _batch(self, store: PixelStore, pixels: PixelBatch) -> dict[str, Tensor]:
        batch = super()._batch(store, pixels)
        if store.fg is not None:
            batch["mask_edge"] = on_mask_edge(store, pixels).to(self.device)
        return batch
