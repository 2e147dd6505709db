"""Pixels near edges of the photographs, somewhat more often (EGRA-NeRF)."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from neus_ns.pixels.pixel_map import PixelMapSampler, ViewPixels
from neus_ns.pixels.redistribute import RedistributingConfig

# Canny's thresholds, and how far a ray is moved away from the edge it was drawn for.
_CANNY = (30, 40)
_NEAREST_PX, _FARTHEST_PX = 6, 9


@dataclass
class EdgesPixelSamplerConfig(RedistributingConfig):
    """Evenly, with more rays at a few pixels' distance from Canny edges."""

    _target: type = field(default_factory=lambda: EdgesPixelSampler)
    """Target class to instantiate."""
    gain: float = 0.39
    """How many times more often, in addition to once, a pixel is drawn that has edges at all those distances. The
    published numbers (0.0025 beside 4096 rays in 800 x 800 pixels) amount to 0.39."""


class EdgesPixelSampler(PixelMapSampler):
    """A pixel counts 1 + gain * (share of the pixels 6 to 9 columns to its left and right that are edges).

    EGRA-NeRF moves each ray that it draws on an edge by 6 to 9 pixels to the right. Here the move goes to both sides
    alike, and is part of the map, so that the distribution is known.
    """

    config: EdgesPixelSamplerConfig

    def importance(self, view: ViewPixels) -> Float[ndarray, "h w"]:
        return 1.0 + self.config.gain * edges_beside(view.photo)


def edges_beside(photo: UInt8[ndarray, "h w 3"]) -> Float[ndarray, "h w"]:
    """Share of edge pixels among those 6 to 9 columns to the left and right; beyond the border there are none."""
    edges = cv2.Canny(cv2.cvtColor(np.ascontiguousarray(photo), cv2.COLOR_RGB2GRAY), *_CANNY) > 0
    kernel = np.zeros((1, 2 * _FARTHEST_PX + 1), np.float32)
    kernel[0, : _FARTHEST_PX - _NEAREST_PX + 1] = kernel[0, _FARTHEST_PX + _NEAREST_PX :] = 1.0
    beside = cv2.filter2D(edges.astype(np.float32), -1, kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT)
    return np.maximum(beside, 0.0)
