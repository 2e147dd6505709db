"""Pixels at and around corners of the photographs (iNeRF's interest regions)."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neus_ns.pixels.interest_points import corner_map
from neus_ns.pixels.pixel_map import PixelMapSampler, ViewPixels
from neus_ns.pixels.redistribute import RedistributingConfig


@dataclass
class InterestRegionsPixelSamplerConfig(RedistributingConfig):
    """Corners dilated by 5x5 pixels several times, mixed with uniform."""

    _target: type = field(default_factory=lambda: InterestRegionsPixelSampler)
    """Target class to instantiate."""
    uniform_share: float = 0.5
    """Share of rays drawn evenly; iNeRF's 0 never shows the rest of the photographs."""
    iterations: int = 3
    """How often the corners are dilated: each adds two pixels all around."""


class InterestRegionsPixelSampler(PixelMapSampler):
    """A pixel counts if a corner is near; a photograph without any corner is drawn from evenly."""

    config: InterestRegionsPixelSamplerConfig

    @property
    def even_share(self) -> float:
        return self.config.uniform_share

    def importance(self, view: ViewPixels) -> Float[ndarray, "h w"]:
        # OpenCV dilates once where it is asked for nothing.
        square = np.ones((5, 5), np.uint8)
        marked = corner_map(view)
        return cv2.dilate(marked, square, iterations=self.config.iterations) if self.config.iterations > 0 else marked
