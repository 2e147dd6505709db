"""Reads COLMAP's binary files.

Records have unequal lengths, so one pass finds where they start; numpy does the rest.
"""

import struct
from pathlib import Path

import numpy as np

from neus_ns.data.colmap.model import AGAIN, CAMERA_MODELS, ColmapCameras, ColmapImages, ColmapPoints
from neus_ns.errors import InputError

_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<IiQQ")
_IMAGE = struct.Struct("<I7dI")
_KEYPOINT = np.dtype([("xy", "<f8", 2), ("point", "<i8")])
_POINT = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("length", "<u8")])
_ELEMENT = np.dtype([("image", "<u4"), ("keypoint", "<u4")])
# Ids above this do not fit the signed numbers that everything else counts in; COLMAP hands out small ones.
_LARGEST_ID = 2**62


class _Bytes:
    """A file's bytes with a place in them that only moves forward, and never beyond the end."""

    def __init__(self, path: Path) -> None:
        self.path, self.content, self.at = path, path.read_bytes(), 0
        self.records = self._records()

    def _records(self) -> int:
        (count,) = self.take(_COUNT)
        if count > len(self.content):
            raise InputError(f"{self.path} promises {count} records in {len(self.content)} bytes; {AGAIN}.")
        return count

    def skip(self, size: int) -> int:
        """Where the next `size` bytes start; the place moves behind them."""
        start = self.at
        if start + size > len(self.content):
            raise InputError(
                f"{self.path} ends after {len(self.content)} bytes in the middle of a record, so the copy is "
                f"incomplete; {AGAIN}."
            )
        self.at += size
        return start

    def take(self, layout: struct.Struct) -> tuple:
        return layout.unpack_from(self.content, self.skip(layout.size))

    def array(self, layout: np.dtype, count: int) -> np.ndarray:
        return np.frombuffer(self.content, layout, count, self.skip(layout.itemsize * count))

    def name(self) -> str:
        end = self.content.find(b"\0", self.at)
        start = self.skip((len(self.content) if end < 0 else end) + 1 - self.at)
        try:
            return self.content[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path} has an image name that is not UTF-8; {AGAIN}.") from error

    def finish(self) -> None:
        if self.at != len(self.content):
            rest = len(self.content) - self.at
            raise InputError(f"{self.path} goes on for {rest} bytes after its {self.records} records; {AGAIN}.")


def read_cameras(path: Path) -> ColmapCameras:
    """cameras.bin."""
    file = _Bytes(path)
    ids, models, sizes, params = [], [], [], []
    for _ in range(file.records):
        number, model, width, height = file.take(_CAMERA)
        if not 0 <= model < len(CAMERA_MODELS):
            raise InputError(f"{path}: camera {number} is of the unknown model {model}; {AGAIN}.")
        name, length = CAMERA_MODELS[model]
        ids.append(number)
        models.append(name)
        sizes.append((min(width, _LARGEST_ID), min(height, _LARGEST_ID)))
        params.append(file.array(np.dtype("<f8"), length).astype(np.float64))
    file.finish()
    widths, heights = np.array(sizes, dtype=np.int64).reshape(-1, 2).T
    return ColmapCameras(path, np.array(ids, dtype=np.int64), models, widths, heights, params)


def read_images(path: Path) -> ColmapImages:
    """images.bin."""
    file = _Bytes(path)
    ids, names, camera_ids, poses, keypoints = [], [], [], [], []
    for _ in range(file.records):
        number, *pose, camera = file.take(_IMAGE)
        ids.append(number)
        poses.append(pose)
        camera_ids.append(camera)
        names.append(file.name())
        (count,) = file.take(_COUNT)
        keypoints.append(file.array(_KEYPOINT, count)["xy"])
    file.finish()
    pose_rows = np.array(poses, dtype=np.float64).reshape(-1, 7)
    return ColmapImages(
        path=path,
        ids=np.array(ids, dtype=np.int64),
        names=names,
        camera_ids=np.array(camera_ids, dtype=np.int64),
        quaternions=pose_rows[:, :4],
        translations=pose_rows[:, 4:],
        first_keypoint=np.cumsum([0, *map(len, keypoints)], dtype=np.int64),
        keypoints=np.concatenate([np.zeros((0, 2)), *keypoints]).astype(np.float64),
    )


def read_points(path: Path) -> ColmapPoints:
    """points3D.bin."""
    file = _Bytes(path)
    starts, at = [], file.at
    for _ in range(file.records):
        starts.append(at)
        at += _POINT.itemsize
        if at > len(file.content):
            break
        at += _ELEMENT.itemsize * _COUNT.unpack_from(file.content, at - _COUNT.size)[0]
    file.skip(at - file.at)
    file.finish()
    content, start = np.frombuffer(file.content, np.uint8), np.array(starts, dtype=np.int64)
    head_bytes = start[:, None] + np.arange(_POINT.itemsize)
    head = content[head_bytes].view(_POINT)[:, 0]
    # What is neither the count at the start nor some point's head is track elements, in order.
    in_tracks = np.ones(len(content), dtype=bool)
    in_tracks[: _COUNT.size] = False
    in_tracks[head_bytes] = False
    element = content[in_tracks].view(_ELEMENT)
    if (head["id"] > _LARGEST_ID).any():
        raise InputError(f"{path}: point {int(head['id'].max())} has an impossible number; {AGAIN}.")
    return ColmapPoints(
        path=path,
        ids=head["id"].astype(np.int64),
        xyz=head["xyz"].astype(np.float64),
        errors=head["error"].astype(np.float64),
        first_element=np.concatenate([[0], np.cumsum(head["length"].astype(np.int64))]),
        element_image_ids=element["image"].astype(np.int64),
        element_keypoint=element["keypoint"].astype(np.int64),
    )
