"""Places in a photograph that can be found again in others: SIFT keypoints (Lowe 2004) with RootSIFT descriptors."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from neus_ns.data.camera_rays import CameraRays

_MOST_KEYPOINTS = 4000
# Half of OpenCV's: textures that people photograph are weak more often than they are too many.
_CONTRAST = 0.02
# The cosine of 84 degrees: beyond, a pixel's error is no longer told in pixels of a pinhole.
_LEAST_AHEAD = 0.1


@dataclass(frozen=True)
class Features:
    """Keypoints of one photograph: column and row where pixel centres lie at halves, and what they look like.

    `uv` is where a pinhole of focal length 1 with OpenCV's axes (y down) would see them, lens distortion undone.
    """

    xy: Float[np.ndarray, "n 2"]
    uv: Float[np.ndarray, "n 2"]
    descriptors: Float[np.ndarray, "n 128"]

    def __len__(self) -> int:
        return len(self.xy)


def find_features(photo: UInt8[Tensor, "h w 3"], cameras: Cameras, view: int) -> Features:
    """The keypoints of a photograph that is this view of the cameras."""
    grey = cv2.cvtColor(np.ascontiguousarray(photo.cpu().numpy()), cv2.COLOR_RGB2GRAY)
    found, looks = cv2.SIFT_create(nfeatures=_MOST_KEYPOINTS, contrastThreshold=_CONTRAST).detectAndCompute(grey, None)  # type: ignore[attr-defined]
    if looks is None:
        none = np.zeros((0, 2))
        return Features(none, none, np.zeros((0, 128), np.float32))
    # OpenCV counts from the first pixel's centre. A keypoint with two orientations is there twice, and stays so.
    xy = np.array([point.pt for point in found]) + 0.5
    # RootSIFT (Arandjelovic and Zisserman 2012): Hellinger's distance tells histograms apart better than Euclid's.
    roots = np.sqrt(looks / np.maximum(looks.sum(1, keepdims=True), 1e-9)).astype(np.float32)
    uv = undistorted(cameras, view, xy)
    ahead = np.isfinite(uv).all(1)
    return Features(xy[ahead], uv[ahead], roots[ahead])


def undistorted(cameras: Cameras, view: int, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Where a pinhole of focal length 1 sees image points, NaN for what it cannot see, as fisheye lenses can.

    By nerfstudio's own rays, so that lenses mean the same to training and to this.
    """
    camera = cameras[view : view + 1].to("cpu")
    camera.camera_to_worlds = torch.eye(4)[None, :3].contiguous()
    at = torch.from_numpy(xy).to(camera.fx.dtype)
    rays = CameraRays(camera).rays_at(torch.zeros(len(at), dtype=torch.int64), at)
    x, y, z = rays.directions.double().numpy().T
    # OpenGL looks along -z with y up.
    depth = np.where(z < -_LEAST_AHEAD, z, np.nan)
    return np.stack([x / -depth, y / depth], 1)
