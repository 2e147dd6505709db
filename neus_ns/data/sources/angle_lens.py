"""Lenses that a json gives as angles, as Blender scripts do, in pixels; what such a reader cannot honour is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neus_ns.data.checks_files import Size
from neus_ns.data.checks_lens import COEFFICIENTS, number
from neus_ns.data.checks_splits import SPLIT_LISTS
from neus_ns.errors import InputError

_STRAIGHT = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")

Holder = dict[str, Any]


def camera_angle(meta: Holder, path: Path, key: str = "camera_angle_x") -> float:
    """A field of view in radians."""
    angle = meta.get(key)
    if isinstance(angle, bool) or not isinstance(angle, int | float) or not 0 < angle < math.pi:
        across = "horizontal" if key == "camera_angle_x" else "vertical"
        raise InputError(
            f"{path}: `{key}` is {angle!r}, but the {across} field of view in radians is needed there; correct it."
        )
    return float(angle)


def angle_lenses(meta: Holder, frames: list[Holder], path: Path, sizes: list[Size]) -> Float[ndarray, "4 views"]:
    """fx, fy, cx and cy of the photographs of these sizes; a frame's own numbers go before those for all."""
    return np.array(
        [_lens({**meta, **frame}, path, size) for frame, size in zip(frames, sizes, strict=True)], dtype=np.float64
    ).T


def _lens(holder: Holder, path: Path, size: Size) -> list[float]:
    promised = [number(holder.get(key, side)) for key, side in zip("wh", size, strict=True)]
    if promised != list(size):
        raise InputError(
            f"{path} promises {promised[0]:g}x{promised[1]:g} pixels (w x h) for {holder['file_path']}, which has "
            f"{size[0]}x{size[1]}; correct `w` and `h`, or replace the file."
        )
    across = size[0] / (2 * math.tan(camera_angle(holder, path) / 2))
    down = across
    if "camera_angle_y" in holder:
        down = size[1] / (2 * math.tan(camera_angle(holder, path, "camera_angle_y") / 2))
    expected = {"fl_x": across, "fl_y": down, "cx": size[0] / 2, "cy": size[1] / 2}
    for key, value in expected.items():
        given = number(holder.get(key, value))
        # Neither a focal length nor a centre is within a pixel of the photograph's border; shares of it are.
        if not math.isfinite(given) or (0 <= given <= 1 < value / 2):
            raise InputError(
                f"{path}: `{key}` of {holder['file_path']} is {holder[key]!r}, but a number of pixels is needed; "
                "correct or remove it."
            )
        expected[key] = given
    return list(expected.values())


def refuse_more_than_angles(meta: Holder, frames: list[Holder], path: Path, cure: str) -> None:
    """Raise InputError for distortion and splits, which no reader of angles takes up."""
    for index, holder in enumerate((meta, *frames)):
        where = "" if index == 0 else f" of frame {holder['file_path']}"
        unread = _bent(holder) + [key for key in SPLIT_LISTS if key in holder]
        if unread:
            raise InputError(f"{path}: `{unread[0]}`{where} is not read beside `camera_angle_x`; {cure}.")


def refuse_other_lenses(meta: Holder, frames: list[Holder], path: Path, sizes: list[Size], cure: str) -> None:
    """Raise InputError unless all lenses are the centred one that the json's own `camera_angle_x` gives."""
    lenses = angle_lenses(meta, frames, path, sizes)
    for frame, size, lens in zip(frames, sizes, lenses.T, strict=True):
        focal = size[0] / (2 * math.tan(camera_angle(meta, path) / 2))
        # A tenth of a pixel is what rounding in the json may come to, and as little of the focal length.
        if np.abs(lens - [focal, focal, size[0] / 2, size[1] / 2]).max() > max(0.1, 1e-4 * focal):
            raise InputError(
                f"{path}: the lens of {frame['file_path']} is not the centred one of `camera_angle_x`, and no other is "
                f"read there; {cure}."
            )


def _bent(holder: Holder) -> list[str]:
    """What says that the lens is not straight; what is no number is not zero either."""
    bent = [key for key in COEFFICIENTS if number(holder.get(key, 0)) != 0]
    params = holder.get("distortion_params", [])
    if not isinstance(params, list) or any(number(value) != 0 for value in params):
        bent.append("distortion_params")
    if holder.get("camera_model", "PINHOLE") not in _STRAIGHT:
        bent.append("camera_model")
    return bent + ["is_fisheye"] * bool(holder.get("is_fisheye"))
