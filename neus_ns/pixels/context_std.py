"""Pixels where the photograph changes: the context prior of "Shooting Much Fewer Rays"."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from neus_ns.pixels.pixel_map import PixelMapSampler, ViewPixels
from neus_ns.pixels.redistribute import RedistributingConfig

# Values below this share of the photograph's mean are raised to it, so that no pixel is left out.
_FLOOR = 0.01


@dataclass
class ContextStdPixelSamplerConfig(RedistributingConfig):
    """By the standard deviation of colour in each pixel's 3x3 neighbourhood, mixed with uniform."""

    _target: type = field(default_factory=lambda: ContextStdPixelSampler)
    """Target class to instantiate."""
    uniform_share: float = 0.5
    """Share of rays that ignore the prior."""


class ContextStdPixelSampler(PixelMapSampler):
    """The prior of a pixel is `context_std`."""

    config: ContextStdPixelSamplerConfig

    @property
    def even_share(self) -> float:
        return self.config.uniform_share

    def importance(self, view: ViewPixels) -> Float[ndarray, "h w"]:
        return context_std(view.photo)


def context_std(photo: UInt8[ndarray, "h w 3"]) -> Float[ndarray, "h w"]:
    """Standard deviation over 3x3 pixels, mean of the channels, at least 0.01 times its own mean.

    Beyond the border the outermost pixels are repeated. The sums are exact, so an even patch gives an exact zero.
    """
    # The outermost pixels are repeated by hand, because OpenCV gives up on pictures of a single row or column.
    values = np.pad(photo, ((1, 1), (1, 1), (0, 0)), mode="edge")
    # Nine squares of 255, nine times over, are a whole number that 32 bits of a float still hold.
    sums = cv2.boxFilter(values, cv2.CV_32F, (3, 3), normalize=False)[1:-1, 1:-1]
    spread = cv2.sqrBoxFilter(values, cv2.CV_32F, (3, 3), normalize=False)[1:-1, 1:-1]
    spread *= 9.0
    spread -= np.square(sums, out=sums)
    deviation = np.sqrt(np.maximum(spread, 0.0, out=spread), out=spread).mean(axis=-1) / np.float32(9.0)
    return np.maximum(deviation, np.float32(_FLOOR * deviation.mean(dtype=np.float64)))
