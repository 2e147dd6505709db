"""Checks of what a transforms.json says of lens distortion, which nerfstudio's parser takes as it comes."""

import math
from pathlib import Path
from typing import Any

from neus_ns.errors import InputError

# A coefficient of these names among the capture's own numbers makes the parser look at no frame's.
_GLOBAL = ("k1", "k2", "k3", "p1", "p2", "distortion_params")
COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")


def number(value: Any) -> float:
    """The value as nerfstudio's float() would take it, NaN where it would fail."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def check_distortion(meta: dict[str, Any], frames: list[dict[str, Any]], json_path: Path) -> None:
    """Raise InputError unless every coefficient of lens distortion that the parser reads is a finite number."""
    if any(key in meta for key in _GLOBAL):
        _check(meta, "", meta, json_path)
    else:
        for frame in frames:
            _check(frame, f" of frame {frame['file_path']}", meta, json_path)
    radius = meta.get("fisheye_crop_radius")
    if radius is not None and (isinstance(radius, bool | str) or not number(radius) > 0):
        raise InputError(
            f"{json_path}: `fisheye_crop_radius` is not a positive number of pixels; correct or remove it."
        )


def _check(holder: dict[str, Any], where: str, meta: dict[str, Any], json_path: Path) -> None:
    if "distortion_params" in holder:
        # k1 k2 k3 k4 p1 p2; the one model that has more is told apart by its name.
        wanted = 12 if meta.get("camera_model") == "FISHEYE624" else 6
        params = holder["distortion_params"]
        numbers = params if isinstance(params, list) else []
        if len(numbers) != wanted or not all(_is_finite(value) for value in numbers):
            raise InputError(
                f"{json_path}: `distortion_params`{where} is not a list of {wanted} finite numbers (k1 k2 k3 k4 p1 p2 "
                "and so on); correct or remove it."
            )
        return
    for key in COEFFICIENTS:
        if key in holder and not math.isfinite(number(holder[key])):
            raise InputError(
                f"{json_path}: `{key}`{where} is not a finite number; correct it, or remove it if the lens has no "
                "distortion."
            )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(number(value))
