"""Writes a sparse model as COLMAP's binary files, which other tools for photographs read as well."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from neus_ns.data.colmap.model import CAMERA_MODELS
from neus_ns.data.sources.photos import OPENGL_FROM_OPENCV

_NUMBER_OF = {name: number for number, (name, _) in enumerate(CAMERA_MODELS)}


@dataclass(frozen=True)
class SparseLens:
    """A camera of COLMAP: the name of its model, its size in pixels, its parameters in COLMAP's order."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True)
class SparseModel:
    """Photographs, each with a lens of its own, and points; sighting k says that a photograph shows a point at `xy`.

    Poses are camera to world with OpenGL axes; errors are in pixels.
    """

    names: list[str]
    lenses: list[SparseLens]
    poses: Float[np.ndarray, "views 3 4"]
    points: Float[np.ndarray, "points 3"]
    colours: UInt8[np.ndarray, "points 3"]
    errors: Float[np.ndarray, " points"]
    view: Int[np.ndarray, " n"]
    point: Int[np.ndarray, " n"]
    xy: Float[np.ndarray, "n 2"]


def write_model(model: SparseModel, folder: Path) -> None:
    """cameras.bin, images.bin and points3D.bin; ids count from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    cameras = struct.pack("<Q", len(model.lenses))
    for number, lens in enumerate(model.lenses, 1):
        cameras += struct.pack("<IiQQ", number, _NUMBER_OF[lens.model], lens.width, lens.height)
        cameras += struct.pack(f"<{len(lens.params)}d", *lens.params)
    (folder / "cameras.bin").write_bytes(cameras)
    keypoint = np.zeros(len(model.view), dtype=np.int64)
    images = [struct.pack("<Q", len(model.names))]
    for view, (name, pose) in enumerate(zip(model.names, model.poses, strict=True)):
        own = np.flatnonzero(model.view == view)
        keypoint[own] = np.arange(len(own))
        images.append(_image(view + 1, name, pose, model.xy[own], model.point[own] + 1))
    (folder / "images.bin").write_bytes(b"".join(images))
    (folder / "points3D.bin").write_bytes(_points(model, keypoint))


def _image(
    number: int, name: str, pose: Float[np.ndarray, "3 4"], xy: Float[np.ndarray, "n 2"], points: Int[np.ndarray, " n"]
) -> bytes:
    cv_from_world = (pose[:, :3] @ OPENGL_FROM_OPENCV).T
    x, y, z, w = Rotation.from_matrix(cv_from_world).as_quat()
    head = struct.pack("<I7dI", number, w, x, y, z, *(-cv_from_world @ pose[:, 3]), number)
    keypoints = np.zeros(len(xy), dtype=[("xy", "<f8", 2), ("point", "<i8")])
    keypoints["xy"], keypoints["point"] = xy, points
    return head + name.encode() + b"\0" + struct.pack("<Q", len(xy)) + keypoints.tobytes()


def _points(model: SparseModel, keypoint: Int[np.ndarray, " n"]) -> bytes:
    order = np.argsort(model.point, kind="stable")
    elements = np.stack([model.view[order] + 1, keypoint[order]], 1).astype("<u4")
    length = np.bincount(model.point, minlength=len(model.points))
    parts, at = [struct.pack("<Q", len(model.points))], 0
    for number, (xyz, colour, error, count) in enumerate(
        zip(model.points, model.colours, model.errors, length, strict=True), 1
    ):
        parts.append(struct.pack("<Q3d3BdQ", number, *xyz, *colour, error, count))
        parts.append(elements[at : at + count].tobytes())
        at += count
    return b"".join(parts)
