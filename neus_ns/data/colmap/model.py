"""A sparse COLMAP model as arrays: cameras, photographs with their keypoints, points with their tracks.

Lists of unequal lengths lie end to end: the keypoints of image i are the rows of `keypoints` from `first_keypoint[i]`
to `first_keypoint[i + 1]`, and likewise for the tracks of points.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from neus_ns.errors import InputError

# COLMAP's camera models by their number in binary files, with how many parameters each has.
CAMERA_MODELS = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
    ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    ("SIMPLE_DIVISION", 4),
    ("DIVISION", 5),
    ("SIMPLE_FISHEYE", 3),
    ("FISHEYE", 4),
    ("EUCM", 6),
    ("EQUIRECTANGULAR", 2),
)
_MOST_PIXELS = 1_000_000
AGAIN = "export the model again (`colmap model_converter`) or remove it from the capture"


@dataclass(frozen=True)
class ColmapCameras:
    """Lenses. `params` are COLMAP's, in its order for the model of that name."""

    path: Path
    ids: Int[ndarray, " cameras"]
    models: list[str]
    widths: Int[ndarray, " cameras"]
    heights: Int[ndarray, " cameras"]
    params: list[Float[ndarray, " _params"]]


@dataclass(frozen=True)
class ColmapImages:
    """Photographs: x_camera = R(quaternion) x_world + translation, with OpenCV axes (y down, z forward)."""

    path: Path
    ids: Int[ndarray, " images"]
    names: list[str]
    camera_ids: Int[ndarray, " images"]
    quaternions: Float[ndarray, "images 4"]
    translations: Float[ndarray, "images 3"]
    first_keypoint: Int[ndarray, " images_and_one"]
    keypoints: Float[ndarray, "keypoints 2"]


@dataclass(frozen=True)
class ColmapPoints:
    """Points and their tracks; a track element names an image and one of its keypoints. `errors` are in pixels."""

    path: Path
    ids: Int[ndarray, " points"]
    xyz: Float[ndarray, "points 3"]
    errors: Float[ndarray, " points"]
    first_element: Int[ndarray, " points_and_one"]
    element_image_ids: Int[ndarray, " elements"]
    element_keypoint: Int[ndarray, " elements"]


@dataclass(frozen=True)
class ColmapModel:
    """A model whose parts fit together; `image_camera` and `element_image` count cameras and images from zero."""

    folder: Path
    cameras: ColmapCameras
    images: ColmapImages
    points: ColmapPoints
    image_camera: Int[ndarray, " images"]
    element_image: Int[ndarray, " elements"]

    @property
    def element_point(self) -> Int[ndarray, " elements"]:
        """The point that each track element belongs to."""
        return np.repeat(np.arange(len(self.points.ids)), np.diff(self.points.first_element))

    @property
    def element_xy(self) -> Float[ndarray, "elements 2"]:
        """Where each track element was seen, column and row in pixels; NaN in images stripped of their keypoints."""
        first = self.images.first_keypoint
        where = first[self.element_image] + self.points.element_keypoint
        stripped = np.diff(first)[self.element_image] == 0
        xy = np.full((len(where), 2), np.nan)
        xy[~stripped] = self.images.keypoints[where[~stripped]]
        return xy

    @property
    def cv_from_world(self) -> Float[ndarray, "images 3 4"]:
        """Poses, world to camera."""
        w, x, y, z = (self.images.quaternions / np.linalg.norm(self.images.quaternions, axis=1, keepdims=True)).T
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        rotation = np.moveaxis(np.array(rows), -1, 0)
        return np.concatenate([rotation, self.images.translations[:, :, None]], axis=2)


def fit_together(folder: Path, cameras: ColmapCameras, images: ColmapImages, points: ColmapPoints) -> ColmapModel:
    """The model of three files, after checks of every number and of every reference from one file to another."""
    _check_cameras(cameras)
    _check_images(images)
    _check_points(points)
    image_camera = _index_of(images.camera_ids, cameras.ids)
    lost = np.flatnonzero(image_camera < 0)
    if len(lost):
        raise InputError(
            f"{images.path}: image {images.names[lost[0]]} was taken by camera {images.camera_ids[lost[0]]}, which "
            f"{cameras.path.name} does not have; {AGAIN}."
        )
    element_image = _index_of(points.element_image_ids, images.ids)
    lost = np.flatnonzero(element_image < 0)
    if len(lost):
        raise InputError(
            f"{points.path}: the track of point {_owner(points, int(lost[0]))} names image "
            f"{points.element_image_ids[lost[0]]}, which {images.path.name} does not have; {AGAIN}."
        )
    counts = np.diff(images.first_keypoint)[element_image]
    wrong = np.flatnonzero((points.element_keypoint >= counts) & (counts > 0) | (points.element_keypoint < 0))
    if len(wrong):
        name, keypoint = images.names[element_image[wrong[0]]], points.element_keypoint[wrong[0]]
        raise InputError(
            f"{points.path}: the track of point {_owner(points, int(wrong[0]))} names keypoint {keypoint} of image "
            f"{name}, which has {counts[wrong[0]]} of them; {AGAIN}."
        )
    return ColmapModel(folder, cameras, images, points, image_camera, element_image)


def _owner(points: ColmapPoints, element: int) -> int:
    return int(points.ids[np.searchsorted(points.first_element, element, side="right") - 1])


def _index_of(wanted: Int[ndarray, " wanted"], ids: Int[ndarray, " ids"]) -> Int[ndarray, " wanted"]:
    """Where each wanted id stands among the ids, -1 for those that are not there."""
    if len(ids) == 0:
        return np.full(len(wanted), -1)
    order = np.argsort(ids)
    place = np.searchsorted(ids[order], wanted).clip(max=len(ids) - 1)
    found = order[place]
    return np.where(ids[found] == wanted, found, -1)


def _check_unique(ids: Int[ndarray, " ids"], what: str, path: Path) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{path}: {what} {values[counts > 1][0]} is there twice; {AGAIN}.")


def _check_cameras(cameras: ColmapCameras) -> None:
    _check_unique(cameras.ids, "camera", cameras.path)
    for number, width, height, params in zip(cameras.ids, cameras.widths, cameras.heights, cameras.params, strict=True):
        if not (0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS):
            raise InputError(f"{cameras.path}: camera {number} has {width}x{height} pixels; {AGAIN}.")
        if not np.isfinite(params).all() or params[0] <= 0:
            raise InputError(
                f"{cameras.path}: camera {number} has parameters that are not finite, or a focal length that is not "
                f"positive; {AGAIN}."
            )


def _check_images(images: ColmapImages) -> None:
    if len(images.ids) == 0:
        raise InputError(f"{images.path} holds no images; {AGAIN}.")
    _check_unique(images.ids, "image", images.path)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(images.quaternions, axis=1)
    sound = np.isfinite(images.translations).all(axis=1) & np.isfinite(length) & (length > 1e-6)
    if not sound.all():
        name = images.names[np.flatnonzero(~sound)[0]]
        raise InputError(f"{images.path}: the pose of image {name} is not a finite rotation and position; {AGAIN}.")
    unsound = np.flatnonzero(~np.isfinite(images.keypoints).all(axis=1))
    if len(unsound):
        name = images.names[np.searchsorted(images.first_keypoint, unsound[0], side="right") - 1]
        raise InputError(f"{images.path}: image {name} has keypoints that are not finite; {AGAIN}.")


def _check_points(points: ColmapPoints) -> None:
    _check_unique(points.ids, "point", points.path)
    sound = np.isfinite(points.xyz).all(axis=1)
    if not sound.all():
        first = points.ids[np.flatnonzero(~sound)[0]]
        raise InputError(
            f"{points.path}: {int((~sound).sum())} of {len(sound)} points have coordinates that are not finite, point "
            f"{first} for one; {AGAIN}."
        )
