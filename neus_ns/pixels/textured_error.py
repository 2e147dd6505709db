"""The error map, of errors that the surface can answer for: those where the photograph shows texture or an edge.

Where a photograph changes, moving the surface changes what is seen, and an error there says that it is misplaced.
Where it is plain, an error is light that the colours do not explain, such as the sheen of a dark plate; more rays would
bend the surface until they do.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from neus_ns.errors import InputError
from neus_ns.pixels.context_std import context_std
from neus_ns.pixels.error_map import ErrorMapPixelSampler, ErrorMapPixelSamplerConfig
from neus_ns.pixels.pixel_map import ViewPixels, mean_values
from neus_ns.pixels.pool import Pool

# Contrast this many pixels away still counts: a misplaced edge is wrong beside itself.
_REACH_PX = 2


@dataclass
class TexturedErrorPixelSamplerConfig(ErrorMapPixelSamplerConfig):
    """By the running error of every pixel times how textured its surroundings are, mixed with uniform."""

    _target: type = field(default_factory=lambda: TexturedErrorPixelSampler)
    """Target class to instantiate."""
    uniform_share: float = 0.5
    """Share of rays drawn evenly, so that an error that has grown is noticed."""
    closing_if_glossy: float = 0.7
    """Last share of training, in which all pixels of what shines are drawn evenly: errors that are left there are
    reflections. That something shines is known at 30 % of training, so this is from then on."""
    plain: float = 4.0
    """Contrast, as a standard deviation in grey levels of 255, at which an error counts half."""


class TexturedErrorPixelSampler(ErrorMapPixelSampler):
    """Errors count by c^2 / (c^2 + plain^2), c the largest contrast within two pixels."""

    config: TexturedErrorPixelSamplerConfig

    def __init__(self, config: TexturedErrorPixelSamplerConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        if not config.plain > 0:
            raise InputError(f"The pixel sampler's plain is {config.plain}: give a contrast above 0.")

    def prepare(self, pool: Pool) -> None:
        super().prepare(pool)
        self.telling = mean_values(pool, self._telling, self.shared_by)

    def _telling(self, view: ViewPixels) -> Float[ndarray, "h w"]:
        side = 2 * _REACH_PX + 1
        square = cv2.dilate(context_std(view.photo), np.ones((side, side), np.uint8))
        square *= square
        return square / (square + np.float32(self.config.plain**2))

    def counted(self, error: Float[Tensor, " entries"]) -> Float[Tensor, " entries"]:
        return error * self.telling
