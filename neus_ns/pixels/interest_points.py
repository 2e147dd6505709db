"""Pixels at corners of the photographs (iNeRF's interest points)."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from neus_ns.pixels.interest import corners
from neus_ns.pixels.pixel_map import PixelMapSampler, ViewPixels
from neus_ns.pixels.redistribute import RedistributingConfig


@dataclass
class InterestPointsPixelSamplerConfig(RedistributingConfig):
    """Corners by Shi and Tomasi's measure, mixed with uniform."""

    _target: type = field(default_factory=lambda: InterestPointsPixelSampler)
    """Target class to instantiate."""
    uniform_share: float = 0.5
    """Share of rays drawn evenly; iNeRF's 0 never shows the rest of the photographs."""


class InterestPointsPixelSampler(PixelMapSampler):
    """A pixel counts if it is a corner; a photograph without any corner is drawn from evenly."""

    config: InterestPointsPixelSamplerConfig

    @property
    def even_share(self) -> float:
        return self.config.uniform_share

    def importance(self, view: ViewPixels) -> Float[ndarray, "h w"]:
        return corner_map(view)


def corner_map(view: ViewPixels) -> Float[ndarray, "h w"]:
    """1 at the corners, else 0."""
    found = corners(torch.from_numpy(view.photo), torch.from_numpy(view.allowed)).numpy()
    marked = np.zeros(view.allowed.shape, dtype=np.float32)
    marked[found[:, 0], found[:, 1]] = 1.0
    return marked
