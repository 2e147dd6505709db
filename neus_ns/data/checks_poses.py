"""Checks of the camera poses of a capture: each must be a rigid, right-handed OpenGL pose in a common place."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from neus_ns.errors import InputError

# How far the axes' dot products may be from those of a rotation, after a common scale is taken out.
_RIGID_TOLERANCE = 1e-2
# nerfstudio keeps poses in float32, whose step at distance d from the origin is d * 6e-8. A spread of the cameras below
# this share of that distance would lose more than a thousandth of itself to rounding.
_LEAST_SPREAD_SHARE = 1e-4
# Beyond this, squares of lengths overflow single precision.
_FARTHEST = 1e15


def check_poses(frames: list[dict[str, Any]], json_path: Path) -> None:
    """Raise InputError for the first pose of a transforms.json, or for the set of poses, that cannot be right."""
    poses = np.stack([_matrix(frame, json_path) for frame in frames])
    check_pose_matrices(poses, [f"`transform_matrix` of frame {frame['file_path']}" for frame in frames], json_path)


def check_pose_matrices(poses: Float[ndarray, "frames 4 4"], names: list[str], path: Path) -> None:
    """Raise InputError unless these are OpenGL camera-to-world poses; `names` calls each in the words of its file."""
    _reject(~np.isfinite(poses).all((1, 2)), names, path, "holds NaN or infinite numbers", "correct or remove it")
    bottom_is_wrong = np.abs(poses[:, 3] - [0, 0, 0, 1]).max(-1) > 1e-6
    what = "does not end in the row 0 0 0 1"
    _reject(bottom_is_wrong, names, path, what, "write it row by row (it may be transposed)")

    axes = poses[:, :3, :3]
    determinant = np.linalg.det(axes)
    what = "mirrors the world (its determinant is negative or zero)"
    cure = "write a camera-to-world pose with OpenGL axes (x right, y up, z backward)"
    _reject(determinant <= 0, names, path, what, cure)
    scale = np.cbrt(determinant)[:, None, None]
    gram = (axes / scale).transpose(0, 2, 1) @ (axes / scale)
    what = "is not rigid (its three axes are not orthogonal and of equal length)"
    cure = "write a rotation there, camera to world"
    _reject(np.abs(gram - np.eye(3)).max((1, 2)) > _RIGID_TOLERANCE, names, path, what, cure)
    if len(poses) > 1:
        _check_spread(poses[:, :3, 3], names, path)


def _matrix(frame: dict[str, Any], json_path: Path) -> Float[ndarray, "4 4"]:
    name = frame["file_path"]
    try:
        matrix = np.array(frame["transform_matrix"], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape == (3, 4):
        # nerfstudio's parser multiplies by the poses as 4x4 and fails on a shape mismatch otherwise.
        raise InputError(
            f"{json_path}: `transform_matrix` of frame {name} is 3x4, but nerfstudio reads only 4x4; add the row "
            "[0, 0, 0, 1] to every frame's matrix."
        )
    if matrix.shape != (4, 4):
        raise InputError(
            f"{json_path}: `transform_matrix` of frame {name} is not a 4x4 matrix of numbers; correct it or remove "
            "that frame."
        )
    return matrix


def _reject(wrong: Bool[ndarray, " frames"], names: list[str], path: Path, what: str, cure: str) -> None:
    """Raise for the first wrong pose, saying how many others share the fault."""
    if not wrong.any():
        return
    others = int(wrong.sum()) - 1
    count = f" (and of {others} more)" if others else ""
    raise InputError(f"{path}: {names[int(wrong.argmax())]}{count} {what}; {cure}.")


def _check_spread(centres: Float[ndarray, "frames 3"], names: list[str], path: Path) -> None:
    spread = float(np.linalg.norm(centres - centres.mean(0), axis=-1).max())
    distance = float(np.linalg.norm(centres, axis=-1).max())
    if not distance < _FARTHEST:
        raise InputError(f"{path}: a camera lies {distance:.3g} units away from the origin; correct its pose.")
    if spread <= 1e-7 * distance:
        raise InputError(
            f"{path}: all cameras stand in one spot, so no depth can be seen; walk around the object between "
            "photographs, or check that the poses were solved."
        )
    if spread < _LEAST_SPREAD_SHARE * distance:
        raise InputError(
            f"{path}: the cameras lie {distance:.3g} units away from the origin but only {spread:.3g} apart, too "
            "far for single precision; subtract a common offset from all translations (geographic coordinates?)."
        )
    away = np.linalg.norm(centres - np.median(centres, axis=0), axis=-1)
    typical = float(np.median(away))
    if 0 < typical < _LEAST_SPREAD_SHARE * away.max():
        raise InputError(
            f"{path}: {names[int(away.argmax())]} puts its camera {away.max():.3g} units away from the others, most of "
            f"which lie within {typical:.3g} of their middle; correct or remove it."
        )
