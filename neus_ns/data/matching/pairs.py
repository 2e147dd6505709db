"""Which keypoints of two photographs show the same place: by their looks, then by whether one motion explains them."""

import cv2
import numpy as np
from jaxtyping import Float, Int

from neus_ns.data.matching.features import Features

# A match must be this much better than the second best (Lowe's ratio), and best in both directions.
_RATIO = 0.85
# Fewer that agree on a motion than this may agree by chance.
_LEAST_AGREEING = 15


def match_pair(
    first: Features,
    second: Features,
    second_from_first: Float[np.ndarray, "3 4"],
    focal_px: float,
    pose_error_degrees: float,
    error_px: float = 1.5,
) -> Int[np.ndarray, "n 2"]:
    """Pairs of keypoint numbers that agree on an epipolar geometry, not too far from the one that the poses tell.

    `second_from_first` takes points from one camera to the other, OpenCV's axes, poses as they are; they may be off by
    the given angle. Without enough pairs that agree the answer is empty.
    """
    none = np.zeros((0, 2), dtype=np.int64)
    pairs = _alike(first, second)
    tolerance = np.tan(np.radians(2 * pose_error_degrees)) + error_px / focal_px
    pairs = pairs[epipolar_distance(first.uv[pairs[:, 0]], second.uv[pairs[:, 1]], second_from_first) < tolerance]
    if len(pairs) < _LEAST_AGREEING:
        return none
    a, b = first.uv[pairs[:, 0]], second.uv[pairs[:, 1]]
    # RANSAC draws at random: the same capture shall give the same answer.
    cv2.setRNGSeed(0)
    essential, agreeing = cv2.findEssentialMat(
        a, b, focal=1.0, pp=(0.0, 0.0), method=cv2.RANSAC, prob=0.999, threshold=error_px / focal_px
    )
    if essential is None:
        return none
    pairs = pairs[agreeing.ravel() > 0]
    return pairs if len(pairs) >= _LEAST_AGREEING else none


def _alike(first: Features, second: Features) -> Int[np.ndarray, "n 2"]:
    """Keypoints that are one another's best match, and clearly so among all of the photograph.

    Looking along epipolar lines only would leave so few rivals that chance passes for likeness.
    """
    if len(first) < 2 or len(second) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    likeness = first.descriptors @ second.descriptors.T
    best, back = likeness.argmax(1), likeness.argmax(0)
    rows = np.arange(len(first))
    two = np.partition(likeness, -2, axis=1)[:, -2:]
    # Descriptors have length 1, so their squared distance is 2 - 2 cos.
    distance = np.sqrt(np.maximum(2 - 2 * two, 0))
    good = (back[best] == rows) & (distance[:, 1] < _RATIO * distance[:, 0])
    return np.stack([rows[good], best[good]], 1)


def epipolar_distance(
    first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"], second_from_first: Float[np.ndarray, "3 4"]
) -> Float[np.ndarray, " n"]:
    """How far, at focal length 1, each second point is from the line on which the place of its first one lies."""
    x, y, z = second_from_first[:, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    ones = np.ones((len(first), 1))
    lines = np.hstack([first, ones]) @ (cross @ second_from_first[:, :3]).T
    along = np.linalg.norm(lines[:, :2], axis=1)
    return np.abs((lines * np.hstack([second, ones])).sum(1)) / np.maximum(along, 1e-12)
