"""Where on the photographs rays have fallen lately: coarse counts, and a picture of them."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neus_ns.data.pixel_store import PixelStore

_CELLS = 32
# How often counts are halved, in batches: the picture follows what a strategy does now.
_HALF_LIFE = 500
# The most photographs in a picture, and the longer side of each in it.
_PHOTOS, _SIDE_PX = 24, 96
# From black to white the density of rays grows by so many octaves, the same number on either side of the mean.
_OCTAVES = 4.0


class DrawnPixels:
    """Each photograph in 32 by 32 cells, and how many rays went through each, older ones counting less."""

    def __init__(self, store: PixelStore) -> None:
        self.store = store
        self.counts = torch.zeros(len(store.width), _CELLS, _CELLS, device=store.device)
        self._batches = 0

    def note(self, indices: Int64[Tensor, "rays 3"]) -> None:
        """Count the pixels of a batch, given by view, row and column."""
        self._batches += 1
        if self._batches % _HALF_LIFE == 0:
            self.counts *= 0.5
        cell = self.store.areas(indices, _CELLS)
        # Not bincount, which waits for a CUDA device to look for the largest.
        self.counts.view(-1).index_add_(0, cell, torch.ones_like(cell, dtype=self.counts.dtype))

    def density(self) -> Float[Tensor, "views cells cells"]:
        """Rays per pixel, as a multiple of the mean over all photographs."""
        pixels = (self.store.height * self.store.width)[:, None, None] / _CELLS**2
        mean = self.counts.sum() / self.store.num_pixels
        return self.counts / pixels / mean.clamp_min(1e-12)

    def picture(self) -> Float[Tensor, "h w 3"]:
        """Up to 24 photographs, dimmed, in the colours of a glowing body where rays fell: the more, the brighter."""
        total = len(self.counts)
        shown = torch.linspace(0, total - 1, min(total, _PHOTOS)).round().long().unique().tolist()
        octave = torch.log2(self.density()[shown].clamp_min(1e-6))
        heat = (octave / (2 * _OCTAVES) + 0.5).clamp(0, 1).cpu()
        columns = math.ceil(math.sqrt(1.5 * len(shown)))
        rows = math.ceil(len(shown) / columns)
        canvas = torch.zeros(rows * _SIDE_PX, columns * _SIDE_PX, 3)
        for place, (view, of_view) in enumerate(zip(shown, heat, strict=True)):
            tile = self._tile(view, of_view)
            top, left = place // columns * _SIDE_PX, place % columns * _SIDE_PX
            canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        return canvas

    def _tile(self, view: int, heat: Float[Tensor, "cells cells"]) -> Float[Tensor, "h w 3"]:
        height, width = int(self.store.height[view]), int(self.store.width[view])
        scale = (_SIDE_PX - 2) / max(height, width)
        shape = max(round(height * scale), 1), max(round(width * scale), 1)
        share_down, share_right = ((torch.arange(side) + 0.5) / side for side in shape)
        row, col = torch.meshgrid((share_down * height).long(), (share_right * width).long(), indexing="ij")
        indices = torch.stack((torch.full_like(row, view), row, col), dim=-1).view(-1, 3).to(self.store.device)
        grey = self.store.gather(self.store.flatten(indices))[0].mean(-1).view(shape).cpu()
        glow = heat[(share_down * _CELLS).long()][:, (share_right * _CELLS).long()]
        glowing = (3 * glow[..., None] - torch.tensor([0.0, 1.0, 2.0])).clamp(0, 1)
        return 0.3 * grey[..., None] + 0.7 * glowing
