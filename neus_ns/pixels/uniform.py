"""Pixels drawn evenly from the region around the object: the base distribution of every run."""

from dataclasses import dataclass, field

import torch

from neus_ns.data.pixel_store import PixelStore
from neus_ns.pixels.base import PixelBatch, SurfacePixelSampler, SurfacePixelSamplerConfig


@dataclass
class UniformPixelSamplerConfig(SurfacePixelSamplerConfig):
    """Uniform over the pixels on and near the foreground masks, or over all pixels without masks."""

    _target: type = field(default_factory=lambda: UniformPixelSampler)
    """Target class to instantiate."""
    outside_share: float = 0.05
    """Share of rays drawn from whole photographs instead of from the masks' surroundings; unused without masks."""


class UniformPixelSampler(SurfacePixelSampler):
    """Draws a pixel x with probability (1 - s) [x near a mask] / #near + s / #all, independently, with replacement.

    This mixture is itself the base distribution, so every weight is 1: a loss averages over it, and the far background
    counts only by the share s.
    """

    config: UniformPixelSamplerConfig

    def propose(self, store: PixelStore, num_rays: int) -> PixelBatch:
        flat = store.draw_candidates(num_rays)
        if store.fg is not None and self.config.outside_share > 0.0:
            outside = torch.rand(num_rays, device=store.device) < self.config.outside_share
            flat = torch.where(outside, store.draw_anywhere(num_rays), flat)
        return PixelBatch(store.locate(flat), flat, torch.ones(num_rays, device=store.device))
