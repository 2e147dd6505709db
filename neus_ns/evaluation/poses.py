"""How far poses are from the true ones, apart from what no photograph can tell.

The same photographs show a scene and its cameras moved, turned and scaled together. So the poses are first brought
onto the true ones by the similarity that fits their centres best (Umeyama 1991); what is left is error.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PoseError:
    """What is left after alignment, one number a camera: degrees of rotation, and length in the truth's units."""

    rotation_degrees: Float[np.ndarray, " views"]
    position: Float[np.ndarray, " views"]

    @property
    def mean_rotation_degrees(self) -> float:
        return float(self.rotation_degrees.mean())

    @property
    def mean_position(self) -> float:
        return float(self.position.mean())


def similarity_between(points: Float[np.ndarray, "n 3"], goals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "4 4"]:
    """The similarity that brings the points closest to their goals, by the sum of squared distances."""
    middle, goal_middle = points.mean(0), goals.mean(0)
    left, stretch, right = np.linalg.svd((goals - goal_middle).T @ (points - middle))
    # A reflection may fit better, but no camera is a mirror.
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = (stretch * sign).sum() / np.square(points - middle).sum()
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = goal_middle - scale * rotation @ middle
    return matrix


def pose_error(poses: Float[np.ndarray, "views 3 4"], truth: Float[np.ndarray, "views 3 4"]) -> PoseError:
    """Errors of camera-to-world poses after the similarity that fits their centres to the true ones."""
    matrix = similarity_between(poses[:, :, 3], truth[:, :, 3])
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    centres = poses[:, :, 3] @ matrix[:3, :3].T + matrix[:3, 3]
    axes = matrix[:3, :3] / scale @ poses[:, :, :3]
    return PoseError(
        rotation_degrees=angles_degrees(axes, truth[:, :, :3]),
        position=np.linalg.norm(centres - truth[:, :, 3], axis=-1),
    )


def angles_degrees(
    rotations: Float[np.ndarray, "*batch 3 3"], others: Float[np.ndarray, "*batch 3 3"]
) -> Float[np.ndarray, "*batch"]:
    """The angle of the turn between rotations. By the chord, which keeps its digits at small angles unlike arccos."""
    chord = np.linalg.norm(rotations - others, axis=(-2, -1)) / np.sqrt(8.0)
    return np.degrees(2 * np.arcsin(np.clip(chord, 0.0, 1.0)))
