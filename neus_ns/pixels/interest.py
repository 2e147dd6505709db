"""Pixels that tell most about where a photograph was taken from: corners, and what surrounds them (iNeRF).

A pixel of an even patch looks the same after a small move of the camera. A corner does not, in any direction.
"""

from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

PixelChoice = Literal["random", "points", "regions"]

_MOST_CORNERS = 4000
# Share of the strongest corner's response below which there is none, and how near corners may be to one another.
_LEAST_RESPONSE, _LEAST_APART_PX = 0.01, 3
# A region is a square of this side around each corner.
_REGION_SIDE = 5


def interesting_pixels(
    photo: UInt8[Tensor, "h w 3"], allowed: Bool[Tensor, "h w"] | None, choice: PixelChoice
) -> Int64[Tensor, "pixels 2"]:
    """(row, col) of every pixel worth comparing; all of the allowed ones for `random`."""
    where = torch.ones(photo.shape[:2], dtype=torch.bool) if allowed is None else allowed.cpu()
    if choice == "random":
        return torch.nonzero(where)
    marked = torch.zeros_like(where)
    rows_cols = corners(photo, where)
    marked[rows_cols[:, 0], rows_cols[:, 1]] = True
    if choice == "regions":
        square = np.ones((_REGION_SIDE, _REGION_SIDE), np.uint8)
        marked = torch.from_numpy(cv2.dilate(marked.numpy().astype(np.uint8), square) > 0) & where
    return torch.nonzero(marked)


def corners(photo: UInt8[Tensor, "h w 3"], allowed: Bool[Tensor, "h w"]) -> Int64[Tensor, "corners 2"]:
    """(row, col) of the corners by Shi and Tomasi's measure, the strongest first."""
    grey = cv2.cvtColor(np.ascontiguousarray(photo.cpu().numpy()), cv2.COLOR_RGB2GRAY)
    found = cv2.goodFeaturesToTrack(
        grey, _MOST_CORNERS, _LEAST_RESPONSE, _LEAST_APART_PX, mask=allowed.cpu().numpy().astype(np.uint8)
    )
    if found is None:
        return torch.zeros(0, 2, dtype=torch.int64)
    # OpenCV counts (column, row).
    return torch.from_numpy(found[:, 0, ::-1].copy()).round().long()


def drawn_points(pool: Int64[Tensor, "pixels 2"], count: int, generator: torch.Generator) -> Float[Tensor, "n 2"]:
    """Image points (column, row) at the centres of pixels drawn from the pool, with replacement."""
    pick = torch.randint(len(pool), (count,), generator=generator)
    return pool[pick].flip(-1).float() + 0.5
