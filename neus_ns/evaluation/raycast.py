"""Exact rays and distances against triangles: a thin typed wrapper of open3d's RaycastingScene.

open3d takes seconds to import, so it is imported when the first mesh arrives. It computes in float32: callers bring the
mesh near the origin and to about unit size first, where the rounding is far below anything measured here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Hits:
    """Where rays meet a mesh first. `length` is in multiples of the ray's direction and inf for a miss."""

    length: Float[np.ndarray, " rays"]
    face: Int[np.ndarray, " rays"]
    barycentric: Float[np.ndarray, "rays 3"]


class RayCaster:
    """A mesh in a bounding volume hierarchy."""

    def __init__(self, vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]) -> None:
        import open3d

        self._tensor: Any = open3d.core.Tensor
        self._scene: Any = open3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            self._tensor(np.ascontiguousarray(vertices, dtype=np.float32)),
            self._tensor(np.ascontiguousarray(faces, dtype=np.uint32)),
        )

    def first_hits(self, origins: Float[np.ndarray, "#rays 3"], directions: Float[np.ndarray, "rays 3"]) -> Hits:
        """The first face along each ray. Faces are met from both sides."""
        answer = self._scene.cast_rays(self._tensor(_rays(origins, directions)))
        # For the corners (0, 1, 2) of a face, open3d gives the weights of corners 1 and 2.
        uv = answer["primitive_uvs"].numpy()
        return Hits(
            length=answer["t_hit"].numpy(),
            face=answer["primitive_ids"].numpy().astype(np.int64),
            barycentric=np.concatenate([1 - uv.sum(1, keepdims=True), uv], 1),
        )

    def reach_unhindered(
        self, origins: Float[np.ndarray, "#rays 3"], directions: Float[np.ndarray, "rays 3"]
    ) -> Float[np.ndarray, " rays"]:
        """Length that each ray travels before it meets the mesh; inf where it never does."""
        return self._scene.cast_rays(self._tensor(_rays(origins, directions)))["t_hit"].numpy()

    def nearest(
        self, points: Float[np.ndarray, "points 3"]
    ) -> tuple[Float[np.ndarray, " points"], Int[np.ndarray, " points"]]:
        """Distance from each point to the surface, and the face it is measured to."""
        answer = self._scene.compute_closest_points(self._tensor(points.astype(np.float32)))
        distance = np.linalg.norm(answer["points"].numpy() - points, axis=1)
        return distance, answer["primitive_ids"].numpy().astype(np.int64)


def _rays(
    origins: Float[np.ndarray, "#rays 3"], directions: Float[np.ndarray, "rays 3"]
) -> Float[np.ndarray, "rays 6"]:
    return np.concatenate([np.broadcast_to(origins, directions.shape), directions], 1).astype(np.float32)
