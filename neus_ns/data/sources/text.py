"""Numbers out of camera text files, with one sentence for every way in which they can be wrong."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neus_ns.errors import InputError

# How far the rows' dot products may be from those of a rotation: files often keep only a few digits.
_RIGID_TOLERANCE = 1e-2
# A skewed lens, which nerfstudio's cameras cannot have, may move no pixel by more than this.
_MOST_SKEW_PX = 0.5


def read_text(path: Path) -> str:
    """The content of a text file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text; copy or export the file again.") from error


def numbers(words: list[str], count: int, what: str, path: Path) -> Float[ndarray, " count"]:
    """Exactly `count` finite numbers; `what` says in the message what they are to be."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise InputError(f"{path} does not give {what}; correct it or export the cameras again.")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {what} holds NaN or infinite numbers; correct it or export the cameras again.")
    return values


def require_rotation(matrix: Float[ndarray, "3 3"], what: str, path: Path) -> Float[ndarray, "3 3"]:
    """The rotation closest to a matrix that must be one up to rounding."""
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > _RIGID_TOLERANCE:
        raise InputError(
            f"{path}: {what} is not rigid (its three axes are not orthogonal and of length one); write a rotation "
            "there."
        )
    if np.linalg.det(matrix) < 0:
        raise InputError(
            f"{path}: {what} mirrors the world (its determinant is negative); write a world-to-camera rotation with "
            "OpenCV axes (x right, y down, z forward)."
        )
    left, _, right = np.linalg.svd(matrix)
    return left @ right


def require_no_skew(lens: Float[ndarray, "3 3"], what: str, path: Path) -> Float[ndarray, "3 3"]:
    """Intrinsics with 1 in their corner, whose pixels are upright as far as can be seen."""
    if abs(np.linalg.det(lens)) < 1e-12 or np.abs(lens[[1, 2, 2], [0, 0, 1]]).max() > 1e-6 * abs(lens[2, 2]):
        raise InputError(
            f"{path}: {what} is no matrix of intrinsics (focal lengths and a centre in pixels above a row 0 0 1); "
            "correct it."
        )
    lens = lens / lens[2, 2]
    # The skew moves a pixel in proportion to its height above the centre, which is about half the photograph's.
    if abs(lens[0, 1] * lens[1, 2] / lens[1, 1]) > _MOST_SKEW_PX:
        raise InputError(
            f"{path}: {what} skews the pixels by {lens[0, 1]:g}, which nerfstudio's cameras cannot express; undistort "
            "the photographs or correct it."
        )
    return lens
