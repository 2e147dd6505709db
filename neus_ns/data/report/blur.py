"""Photographs that are clearly blurrier than the others of their capture.

Blur takes away the finest differences first. The measure is how much neighbouring pixels differ, relative to pixels
four apart: that cancels contrast, and for pictures of one subject it varies little. So only the comparison within a
capture is used, never an absolute level, which smooth subjects would fail.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from neus_ns.data.pixel_store import PixelStore
from neus_ns.data.views import Views

# Side of the piece that is looked at, around where the middle of the scene is seen; below the least it says nothing.
_SIDE_PX, _LEAST_PX = 320, 48
_FAR_PX = 4
# A photograph this much below the median is blurred; a shift by four sigma of blur takes far more away.
_SHARE_OF_MEDIAN = 0.4
_LEAST_VIEWS = 5


def blurred_views(store: PixelStore, views: Views, middle: Float[Tensor, "3"], looked_at: range) -> list[int]:
    """The numbers of the blurred views among those that are looked at."""
    sharpness = {}
    for view in looked_at:
        value = _sharpness(_piece(store, views, view, middle))
        if value is not None:
            sharpness[view] = value
    if len(sharpness) < _LEAST_VIEWS:
        return []
    limit = _SHARE_OF_MEDIAN * float(np.median(list(sharpness.values())))
    return [view for view, value in sharpness.items() if value < limit]


def _piece(store: PixelStore, views: Views, view: int, middle: Float[Tensor, "3"]) -> Float[ndarray, "rows columns"]:
    """The green channel around the place where a view sees the middle of the scene, or around its own middle."""
    width, height, begin = (int(values[view]) for values in (store.width, store.height, store.offset))
    pose = views.world_from_camera[view].double()
    x, y, z = ((middle - pose[:, 3]) @ pose[:, :3]).tolist()
    column, row = width / 2, height / 2
    if z < 0:
        seen = (
            float(views.fx[view]) * x / -z + float(views.cx[view]),
            float(views.cy[view]) + float(views.fy[view]) * y / z,
        )
        column, row = (min(max(place, 0.0), float(side)) for place, side in zip(seen, (width, height), strict=True))
    left, top = (max(0, min(int(p) - _SIDE_PX // 2, s - _SIDE_PX)) for p, s in ((column, width), (row, height)))
    picture = store.rgb[begin : begin + width * height].view(height, width, 3)
    return picture[top : top + _SIDE_PX, left : left + _SIDE_PX, 1].to(torch.float32).cpu().numpy()


def _sharpness(piece: Float[ndarray, "rows columns"]) -> float | None:
    """The lesser of the two directions, since a moving camera blurs along one; None for what has no detail at all."""
    if min(piece.shape) < _LEAST_PX:
        return None
    ratios = []
    for image in (piece, piece.T):
        far = float(np.square(image[_FAR_PX:] - image[:-_FAR_PX]).mean())
        if far < 1.0:
            return None
        ratios.append(float(np.square(image[1:] - image[:-1]).mean()) / far)
    return min(ratios)
