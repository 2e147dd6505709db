"""Reads COLMAP's text files: one line a camera, two an image (its keypoints on the second), one a point."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from neus_ns.data.colmap.model import AGAIN, CAMERA_MODELS, ColmapCameras, ColmapImages, ColmapPoints
from neus_ns.errors import InputError

# Whole numbers beyond this are not exact in the floating point that whole files are parsed into.
_LARGEST_WHOLE = 2.0**53


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read as UTF-8 text; {AGAIN}.") from error


def _is_record(line: str) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith("#")


def _numbers(words: Sequence[str], path: Path, where: str) -> Float[ndarray, " words"]:
    try:
        return np.array(words, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {where} has something else where numbers should be; {AGAIN}.") from error


def _whole(values: Float[ndarray, " values"], path: Path, where: str) -> Int[ndarray, " values"]:
    if not ((values == np.floor(values)) & (np.abs(values) < _LARGEST_WHOLE)).all():
        raise InputError(f"{path}: {where} has other than whole numbers where it names or counts things; {AGAIN}.")
    return values.astype(np.int64)


def _too_short(path: Path, where: str, needed: str) -> InputError:
    return InputError(f"{path}: {where} has too few columns ({needed} are needed); {AGAIN}.")


def read_cameras(path: Path) -> ColmapCameras:
    """cameras.txt: id, model, width, height, parameters."""
    heads, models, params = [], [], []
    for number, line in enumerate(_lines(path), 1):
        if not _is_record(line):
            continue
        words, where = line.split(), f"line {number}"
        if len(words) < 5:
            raise _too_short(path, where, "id, model, width, height, parameters")
        length = dict(CAMERA_MODELS).get(words[1])
        if length is None:
            raise InputError(f"{path}: {where} names the unknown camera model {words[1][:40]}; {AGAIN}.")
        if len(words) != 4 + length:
            raise InputError(
                f"{path}: {where} has {len(words) - 4} parameters, but {words[1]} has {length}; correct the line or "
                "export the model again."
            )
        heads.append(_whole(_numbers([words[0], *words[2:4]], path, where), path, where))
        models.append(words[1])
        params.append(_numbers(words[4:], path, where))
    ids, widths, heights = np.array(heads, dtype=np.int64).reshape(-1, 3).T
    return ColmapCameras(path, ids, models, widths, heights, params)


def read_images(path: Path) -> ColmapImages:
    """images.txt: id, quaternion, translation, camera, name; on the next line x, y, point of every keypoint."""
    ids, poses, names, keypoints = [], [], [], []
    lines = enumerate(_lines(path), 1)
    for number, line in lines:
        if not _is_record(line):
            continue
        # Only the name, which comes last, may contain spaces.
        words, where = line.strip().split(maxsplit=9), f"line {number}"
        if len(words) < 10:
            raise _too_short(path, where, "id, four of the quaternion, three of the translation, camera, name")
        values = _numbers(words[:9], path, where)
        ids.append(_whole(values[[0, 8]], path, where))
        poses.append(values[1:8])
        names.append(words[9])
        number, line = next(lines, (number, ""))
        seen, where = _numbers(line.split(), path, f"line {number}"), f"line {number}"
        if len(seen) % 3:
            raise InputError(f"{path}: {where} has {len(seen)} numbers, but keypoints come in threes; {AGAIN}.")
        keypoints.append(seen.reshape(-1, 3)[:, :2])
    pose_rows, numbers = np.array(poses).reshape(-1, 7), np.array(ids, dtype=np.int64).reshape(-1, 2)
    return ColmapImages(
        path=path,
        ids=numbers[:, 0],
        names=names,
        camera_ids=numbers[:, 1],
        quaternions=pose_rows[:, :4],
        translations=pose_rows[:, 4:],
        first_keypoint=np.cumsum([0, *map(len, keypoints)], dtype=np.int64),
        keypoints=np.concatenate([np.zeros((0, 2)), *keypoints]),
    )


def read_points(path: Path) -> ColmapPoints:
    """points3D.txt: id, position, colour, error, then image and keypoint of every track element.

    A file without points is in order: COLMAP wants one there where it triangulates with known poses.
    """
    lines = _lines(path)
    numbers = [number for number, line in enumerate(lines, 1) if _is_record(line)]
    rows = [lines[number - 1].split() for number in numbers]
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    odd = np.flatnonzero((counts < 8) | (counts % 2 == 1))
    if len(odd):
        columns = "id, position, colour, error, pairs of image and keypoint"
        raise _too_short(path, f"line {numbers[odd[0]]}", columns)
    values = _numbers(list(chain.from_iterable(rows)), path, "a line")
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    head = values[start[:-1, None] + np.arange(8)]
    in_head = np.arange(len(values)) - np.repeat(start[:-1], counts) < 8
    elements = _whole(values[~in_head], path, "a track").reshape(-1, 2)
    return ColmapPoints(
        path=path,
        ids=_whole(head[:, 0], path, "the first column"),
        xyz=head[:, 1:4],
        errors=head[:, 7],
        first_element=np.concatenate([[0], np.cumsum((counts - 8) // 2)]).astype(np.int64),
        element_image_ids=elements[:, 0],
        element_keypoint=elements[:, 1],
    )
