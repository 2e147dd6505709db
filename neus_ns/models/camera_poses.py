"""Corrections to the poses of the training photographs, learned with the surface.

A photograph's correction is a small rigid motion of the unit frame, so about the scene (see `neus_ns.data.se3`).
Moving all cameras alike, or away from their middle, shows the same pictures of a scene that moved or grew with them.
That common part of the corrections is taken out of them wherever they are used: the surface, the masks' hull, the
structure-from-motion points and the user's world stay where they are.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import Parameter

from neus_ns.data.se3 import moved_poses, rotation_matrix
from neus_ns.data.views import Views


@dataclass
class CameraPosesConfig:
    """Whether training corrects the poses, and what it may assume of them."""

    optimise: bool = False
    """Correct the pose of every training photograph while the surface is learned; its learning rate and schedule are
    those of --optimizers.cameras."""
    largest_error: float = 2.5
    """How far off, in degrees as seen from a camera, the poses may be before they are corrected: nothing nearer than
    this to a mask's outline is ruled out."""


class CameraPoses(nn.Module):
    """One correction for each training photograph: none at the start."""

    centres: Tensor

    def __init__(self, num_views: int) -> None:
        super().__init__()
        self.motion = Parameter(torch.zeros(num_views, 6))
        # Where the uncorrected cameras stand, in the unit frame; saved, since exporters do not find the frame anew.
        self.register_buffer("centres", torch.zeros(num_views, 3))

    def corrections(self) -> Float[Tensor, "views 6"]:
        """The motions without what is common to all: a rigid motion, and growth from the cameras' middle."""
        motion = self.motion - self.motion.mean(0)
        outwards = self.centres - self.centres.mean(0)
        growth = (motion[:, 3:] * outwards).sum() / outwards.square().sum().clamp_min(1e-12)
        return torch.cat([motion[:, :3], motion[:, 3:] - growth * outwards], 1)

    def forward(
        self, origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], view: Int[Tensor, " rays"]
    ) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 3"]]:
        """Rays of the unit frame where their photographs' corrections take them."""
        corrections = self.corrections()
        rotation = rotation_matrix(corrections[:, :3]).flatten(1).index_select(0, view).unflatten(1, (3, 3))
        moved = (rotation @ torch.stack([origins, directions], -1)).unbind(-1)
        return moved[0] + corrections[:, 3:].index_select(0, view), moved[1]

    @torch.no_grad()
    def refined(self, views_unit: Views) -> Views:
        """The training views, given in the unit frame, with their corrections."""
        poses = views_unit.world_from_camera
        return replace(views_unit, world_from_camera=moved_poses(poses, self.corrections().to(poses)))


def with_wider_masks(views: Views, degrees: float) -> Views:
    """The views with their masks grown by an angle, for whoever must not believe an outline to the pixel."""
    if views.masks is None:
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
