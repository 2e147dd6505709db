"""Masks made wider, for whoever must not believe an outline to the pixel."""

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from neus_ns.data.views import Views


def with_wider_masks(views: Views, degrees: float) -> Views:
    """The views with their masks grown by an angle, as seen from the camera."""
    if views.masks is None or degrees == 0:
        return views
    focal = torch.maximum(views.fx, views.fy).tolist()
    reach_px = [length * math.tan(math.radians(degrees)) for length in focal]
    return replace(views, masks=[grown_mask(mask, px) for mask, px in zip(views.masks, reach_px, strict=True)])


def grown_mask(mask: Bool[Tensor, "h w"], pixels: float) -> Bool[Tensor, "h w"]:
    """A mask with everything that lies within so many pixels of it; one that shows nothing stays empty."""
    if not mask.any():
        return mask
    outside = (~mask.cpu().numpy()).astype(np.uint8)
    distance_px = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return torch.from_numpy(distance_px <= pixels).to(mask.device)
