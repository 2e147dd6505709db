"""Posed photographs in one convention, whatever file they came from, and the frame nerfstudio wants them in."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# From axes in OpenCV's manner (x right, y down, z forward) to OpenGL's (x right, y up, z backward), and back.
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0])
# Where the cameras agree less than this on what is up, as on a turntable filmed from all sides, nothing is turned.
_LEAST_AGREEMENT = 0.3


@dataclass(frozen=True)
class PosedPhotos:
    """Pinhole photographs in the world of their capture: OpenGL cameras, pixel i covers [i, i + 1), all in float64.

    `masks` has one file a photograph. `region` is the centre and radius of the ball that holds the object, where the
    capture says so, and `region_source` what says so.
    """

    images: list[Path]
    world_from_camera: Float[ndarray, "views 4 4"]
    fx: Float[ndarray, " views"]
    fy: Float[ndarray, " views"]
    cx: Float[ndarray, " views"]
    cy: Float[ndarray, " views"]
    masks: list[Path] | None = None
    region: tuple[Float[ndarray, "3"], float] | None = None
    region_source: str = ""


def opengl_pose(camera_from_world: Float[ndarray, "3 3"], centre_world: Float[ndarray, "3"]) -> Float[ndarray, "4 4"]:
    """The OpenGL camera-to-world pose of an OpenCV camera, from its world-to-camera rotation and its position."""
    pose = np.eye(4)
    pose[:3, :3] = camera_from_world.T @ OPENGL_FROM_OPENCV
    pose[:3, 3] = centre_world
    return pose


def parser_from_world(photos: PosedPhotos) -> tuple[Float[ndarray, "3 4"], float]:
    """A rigid motion and the scale applied after it: z up, the object or else the cameras' middle at the origin.

    nerfstudio's viewer wants all cameras within 1 of the origin. The motion is rounded to the single precision in
    which nerfstudio keeps it, so that undoing what it reports undoes exactly what was applied.
    """
    centres = photos.world_from_camera[:, :3, 3]
    middle = photos.region[0] if photos.region is not None else centres.mean(0)
    rotation = _upright(photos.world_from_camera[:, :3, 1].mean(0))
    motion = np.concatenate([rotation, -(rotation @ middle)[:, None]], axis=1).astype(np.float32).astype(np.float64)
    moved = centres @ motion[:, :3].T + motion[:, 3]
    return motion, 1.0 / float(np.abs(moved).max())


def _upright(up: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """The shortest rotation that takes `up`, the mean of unit vectors, to z."""
    agreement = float(np.linalg.norm(up))
    if agreement < _LEAST_AGREEMENT:
        return np.eye(3)
    x, y, z = up / agreement
    if z < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    # Rodrigues' formula with the axis up x z; its sine and cosine need no trigonometry.
    skew = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])
    return np.eye(3) + skew + skew @ skew / (1 + z)
