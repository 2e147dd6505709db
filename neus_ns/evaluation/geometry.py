"""How close a mesh is to the truth: accuracy, completeness, Chamfer distance, F-score, normals.

The protocol, in percent of the diagonal of the truth's box so that scenes of any unit compare:
 - The mesh is cropped to the truth's box grown by 5 %: tables and walls around the object do not count.
 - Only those samples of the mesh that some training camera sees count towards accuracy (inside its picture, no other
   part of the mesh in front): nobody can know what no photograph shows.
 - accuracy is the mean distance from counted mesh samples to the truth, completeness that from the truth's points to
   the mesh, both clipped at 10 %; Chamfer is the mean of the two. Distances are exact, point to triangle.
 - outside is the median over the truth's points of how far the mesh lies beyond them, along their normals: above zero
   where a surface is a little too large everywhere, which distances without sign cannot tell from noise.
 - f_05 and f_10 are the F-scores at 0.5 % and 1 %; normals is the mean |cos| between the normal at each point of the
   truth and that of the nearest face.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from neus_ns.errors import InputError
from neus_ns.evaluation.camera import Camera
from neus_ns.evaluation.raycast import RayCaster

CLIP = 0.10
CROP_MARGIN = 0.05
# A sample is hidden when something stands more than this in front of it: thinner layers are reconstruction noise.
VISIBILITY_REACH = 0.005
# An object melts into its table here: no photograph shows where one ends and the other begins.
TABLE_CONTACT = 0.015


@dataclass(frozen=True)
class GroundTruth:
    """A surface known exactly: points spread evenly over it with outward normals, and its triangles."""

    points_world: Float[np.ndarray, "points 3"]
    normals_world: Float[np.ndarray, "points 3"]
    mesh: trimesh.Trimesh

    @property
    def box_world(self) -> Float[np.ndarray, "2 3"]:
        return np.stack([self.points_world.min(0), self.points_world.max(0)])

    @property
    def diagonal_world(self) -> float:
        low, high = self.box_world
        return float(np.linalg.norm(high - low))

    @staticmethod
    def load(folder: Path) -> "GroundTruth":
        """Read gt_points.npz (arrays `points` and `normals`) and gt_mesh.ply."""
        points_file, mesh_file = folder / "gt_points.npz", folder / "gt_mesh.ply"
        for path in (points_file, mesh_file):
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file; a ground truth is gt_points.npz and gt_mesh.ply in one folder."
                )
        with np.load(points_file) as arrays:
            if not {"points", "normals"} <= set(arrays.files):
                raise InputError(f"{points_file} must hold the arrays points and normals; it holds {arrays.files}.")
            points, normals = arrays["points"].astype(np.float64), arrays["normals"].astype(np.float64)
        mesh = trimesh.load(mesh_file, force="mesh", process=False)
        if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
            raise InputError(f"{mesh_file} has no faces; distances are measured to the triangles of the true surface.")
        return GroundTruth(points, normals, mesh)


@dataclass(frozen=True)
class Score:
    """Percent of the diagonal of the truth's box, and the same in the user's unit; the rest lies in [0, 1]."""

    accuracy_percent: float
    completeness_percent: float
    chamfer_percent: float
    outside_percent: float
    accuracy_world: float
    completeness_world: float
    chamfer_world: float
    f_05: float
    f_10: float
    normals: float
    faces: int
    counted_share: float


def score_mesh(
    mesh: trimesh.Trimesh,
    truth: GroundTruth,
    cameras: Sequence[Camera],
    *,
    stands_on_table: bool = False,
    samples: int = 300_000,
    seed: int = 0,
) -> Score:
    """Score a mesh in the user's world by the protocol above.

    With `stands_on_table` (a capture with z up), mesh samples within 1.5 % above the truth's lowest point do not count
    towards accuracy.
    """
    _require_surface(mesh)
    box, diagonal = truth.box_world, truth.diagonal_world
    centre = box.mean(0)

    # Everything below happens in the truth's own frame, box centre 0 and diagonal 1: lengths are shares of the diagonal
    # and float32 ray casting is as exact for a world in kilometres as for one in millimetres.
    vertices, faces = (np.asarray(mesh.vertices) - centre) / diagonal, np.asarray(mesh.faces)
    surface = RayCaster(vertices, faces)
    true_surface = RayCaster((np.asarray(truth.mesh.vertices) - centre) / diagonal, np.asarray(truth.mesh.faces))
    true_points = (truth.points_world - centre) / diagonal

    points = _sample(trimesh.Trimesh(vertices, faces, process=False), samples, seed)
    low, high = (box - centre) / diagonal
    points = points[np.all((points > low - CROP_MARGIN) & (points < high + CROP_MARGIN), axis=1)]
    if len(points) == 0:
        raise InputError(
            f"The mesh, within {_rounded(mesh.bounds)}, has no part in the ground truth's box {_rounded(box)}; "
            "export it in world units, the frame of transforms.json."
        )
    counted = _seen_by_any(surface, points, cameras, centre, diagonal)
    if stands_on_table:
        counted &= points[:, 2] > low[2] + TABLE_CONTACT
    if not counted.any():
        raise InputError(
            "No training camera sees any part of the mesh; check that the mesh and transforms.json are in one frame."
        )
    to_truth, _ = true_surface.nearest(points[counted])
    to_mesh, nearest_face = surface.nearest(true_points)
    corners = vertices[faces[nearest_face]]
    face_normals = _face_normals(corners)
    cosines = (face_normals * truth.normals_world).sum(1)
    # To the plane of the nearest face, and turned into the normal of the truth: meshes may be inside out.
    beyond = ((corners[:, 0] - true_points) * face_normals).sum(1) * cosines
    return _summary(
        to_truth,
        to_mesh,
        diagonal,
        outside=float(np.median(beyond)),
        normals=float(np.abs(cosines).mean()),
        faces=len(faces),
        counted_share=float(counted.mean()),
    )


def _summary(
    to_truth: Float[np.ndarray, " counted"],
    to_mesh: Float[np.ndarray, " points"],
    diagonal_world: float,
    *,
    outside: float,
    normals: float,
    faces: int,
    counted_share: float,
) -> Score:
    """The figures of a comparison from its distances, which are shares of the diagonal."""
    accuracy, completeness = (float(np.minimum(distance, CLIP).mean()) for distance in (to_truth, to_mesh))
    chamfer = (accuracy + completeness) / 2
    return Score(
        accuracy_percent=100 * accuracy,
        completeness_percent=100 * completeness,
        chamfer_percent=100 * chamfer,
        outside_percent=100 * outside,
        accuracy_world=accuracy * diagonal_world,
        completeness_world=completeness * diagonal_world,
        chamfer_world=chamfer * diagonal_world,
        f_05=_f_score(to_truth, to_mesh, 0.005),
        f_10=_f_score(to_truth, to_mesh, 0.010),
        normals=normals,
        faces=faces,
        counted_share=counted_share,
    )


def _require_surface(mesh: trimesh.Trimesh) -> None:
    if len(mesh.faces) == 0:
        raise InputError("The mesh has no faces; check that the export found a surface.")
    if not np.isfinite(mesh.vertices).all():
        raise InputError("The mesh has vertices that are not numbers; export it again.")
    if not mesh.area > 0:
        raise InputError("The mesh has no area: all of its faces are points or lines; export it again.")


def _sample(mesh: trimesh.Trimesh, count: int, seed: int) -> Float[np.ndarray, "points 3"]:
    sampled = trimesh.sample.sample_surface(mesh, count, seed=seed)
    return np.asarray(sampled[0], dtype=np.float64)


def _seen_by_any(
    surface: RayCaster,
    points: Float[np.ndarray, "points 3"],
    cameras: Sequence[Camera],
    centre_world: Float[np.ndarray, "3"],
    diagonal_world: float,
) -> Bool[np.ndarray, " points"]:
    """Which points some camera has in its picture with nothing in front."""
    seen = np.zeros(len(points), dtype=bool)
    for camera in cameras:
        todo = np.flatnonzero(~seen)
        eye = (camera.centre_world - centre_world) / diagonal_world
        towards = points[todo] - eye
        local = towards @ camera.world_from_camera[:, :3]
        depth = np.maximum(-local[:, 2], 1e-12)
        column = camera.fx * local[:, 0] / depth + camera.cx
        row = -camera.fy * local[:, 1] / depth + camera.cy
        framed = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height) & (local[:, 2] < 0)
        todo, towards = todo[framed], towards[framed]
        if len(todo) == 0:
            continue
        distance = np.linalg.norm(towards, axis=1)
        free = surface.reach_unhindered(eye[None], towards / distance[:, None])
        seen[todo[free > distance - VISIBILITY_REACH]] = True
    return seen


def _face_normals(corners: Float[np.ndarray, "faces 3 3"]) -> Float[np.ndarray, "faces 3"]:
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)


def _f_score(to_truth: Float[np.ndarray, " counted"], to_mesh: Float[np.ndarray, " points"], threshold: float) -> float:
    precision, recall = float((to_truth < threshold).mean()), float((to_mesh < threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _rounded(box: Float[np.ndarray, "2 3"]) -> str:
    low, high = (" ".join(f"{value:.4g}" for value in corner) for corner in box)
    return f"({low}) to ({high})"
