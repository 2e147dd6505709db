"""Pixels at the outline of the masks (Liu et al., "Learning to Infer Implicit Surfaces without 3D Supervision")."""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from neus_ns.errors import InputError
from neus_ns.pixels.pixel_map import PixelMapSampler, ViewPixels
from neus_ns.pixels.pool import Pool
from neus_ns.pixels.redistribute import RedistributingConfig


@dataclass
class SilhouettePixelSamplerConfig(RedistributingConfig):
    """Near the outline of the masks, mixed with uniform; for captures with masks only."""

    _target: type = field(default_factory=lambda: SilhouettePixelSampler)
    """Target class to instantiate."""
    uniform_share: float = 0.5
    """Share of rays drawn evenly."""
    sigma: float = 4.0
    """Standard deviation, in pixels, of the distance to the outline."""


class SilhouettePixelSampler(PixelMapSampler):
    """A pixel counts by `outline_map`; a photograph whose mask has no outline is drawn from evenly."""

    config: SilhouettePixelSamplerConfig

    def __init__(self, config: SilhouettePixelSamplerConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        if config.sigma <= 0.0:
            raise InputError(f"The silhouette sampler's sigma is {config.sigma}: give a number of pixels above 0.")

    @property
    def even_share(self) -> float:
        return self.config.uniform_share

    def prepare(self, pool: Pool) -> None:
        if pool.store.fg is None:
            raise InputError(
                "The silhouette sampler draws pixels at the outline of masks, but this capture has none; "
                "add masks, or choose another --pipeline.datamanager.pixel-sampler."
            )
        super().prepare(pool)

    def importance(self, view: ViewPixels) -> Float[ndarray, "h w"]:
        assert view.is_object is not None
        return outline_map(view.is_object, self.config.sigma)


def outline_map(is_object: Bool[ndarray, "h w"], sigma: float) -> Float[ndarray, "h w"]:
    """The absolute Laplacian of the mask, blurred by a Gaussian; the photograph's border is no outline."""
    mask = np.pad(is_object.astype(np.float32), 1, mode="edge")
    around = mask[:-2, 1:-1] + mask[2:, 1:-1] + mask[1:-1, :-2] + mask[1:-1, 2:]
    side = 2 * math.ceil(3 * sigma) + 1
    laplacian = np.abs(around - 4 * mask[1:-1, 1:-1])
    return cv2.GaussianBlur(laplacian, (side, side), sigma, borderType=cv2.BORDER_CONSTANT)
