"""What the training photographs can say about points of the mesh: in the frame, in the mask, in sight."""

import numpy as np
import open3d as o3d
import trimesh

from neus_ns.surface.components import Components, Samples
from neus_ns.surface.source import Views


class Witnesses:
    """The cameras as numpy arrays, with a test per view."""

    def __init__(self, views: Views, world_from_unit: np.ndarray) -> None:
        self._world_from_unit = world_from_unit
        self._pose = views.world_from_camera.detach().cpu().double().numpy()
        self._fx, self._fy, self._cx, self._cy, self._width, self._height = (
            value.detach().cpu().double().numpy()
            for value in (views.fx, views.fy, views.cx, views.cy, views.width, views.height)
        )
        self._masks = views.masks

    def __len__(self) -> int:
        return len(self._pose)

    def camera_unit(self, view: int) -> np.ndarray:
        """Where a camera stands, in the unit frame."""
        world_from_unit = self._world_from_unit
        return np.linalg.solve(world_from_unit[:3, :3], self._pose[view, :, 3] - world_from_unit[:3, 3])

    def pixels(self, view: int, points_unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel columns and rows (float [n, 2]) and whether the point is in front of the camera and in the frame."""
        points_world = points_unit @ self._world_from_unit[:3, :3].T + self._world_from_unit[:3, 3]
        local = (points_world - self._pose[view, :, 3]) @ self._pose[view, :, :3]
        # OpenGL cameras look along -z with y up, while pixel rows count downwards.
        depth = np.where(local[:, 2] < 0, -local[:, 2], np.nan)
        u = self._fx[view] * local[:, 0] / depth + self._cx[view]
        v = -self._fy[view] * local[:, 1] / depth + self._cy[view]
        in_frame = (u >= 0) & (u < self._width[view]) & (v >= 0) & (v < self._height[view])
        return np.stack([u, v], axis=-1), in_frame

    def in_mask(self, view: int, pixels: np.ndarray) -> np.ndarray:
        """Whether pixels of the frame [n, 2] fall on the object; a mask of another size than its photo is scaled."""
        assert self._masks is not None
        mask = self._masks[view].detach().cpu().numpy()
        rows = (pixels[:, 1] * (mask.shape[0] / self._height[view])).astype(np.int64)
        columns = (pixels[:, 0] * (mask.shape[1] / self._width[view])).astype(np.int64)
        return mask[rows, columns]


def share_of_views_in_mask(witnesses: Witnesses, samples: Samples, parts: int) -> np.ndarray:
    """Of the views that have a part in frame, the share that see most of it within the mask; 0 where no view does.

    A view counts for a part when at least a quarter of the part's samples are in frame, so that a view which only
    grazes it has no say.
    """
    all_samples = np.bincount(samples.of_part, minlength=parts)
    counted, supporting = np.zeros(parts), np.zeros(parts)
    for view in range(len(witnesses)):
        pixels, in_frame = witnesses.pixels(view, samples.points)
        seen = np.bincount(samples.of_part[in_frame], minlength=parts)
        masked = samples.of_part[in_frame][witnesses.in_mask(view, pixels[in_frame])]
        has_say = (seen > 0) & (seen >= all_samples / 4)
        counted += has_say
        supporting += has_say & (np.bincount(masked, minlength=parts) >= seen / 2)
    return supporting / np.maximum(counted, 1)


def views_in_sight(witnesses: Witnesses, samples: Samples, parts: Components, among: np.ndarray) -> np.ndarray:
    """How many views see each part with nothing in front of it; parts not in `among` (bool [parts]) block no sight."""
    faces = np.flatnonzero(among[parts.of_face])
    caster = _ray_caster(parts.mesh, faces)
    in_sight = np.zeros(len(among), np.int64)
    for view in range(len(witnesses)):
        _, in_frame = witnesses.pixels(view, samples.points)
        targets, of_part = samples.points[in_frame], samples.of_part[in_frame]
        origin = np.broadcast_to(witnesses.camera_unit(view), targets.shape)
        rays = np.concatenate([origin, targets - origin], axis=1).astype(np.float32)
        hit = caster.cast_rays(o3d.core.Tensor(rays))["primitive_ids"].numpy()
        met = hit != o3d.t.geometry.RaycastingScene.INVALID_ID
        # The part is in sight where it is the first thing that the ray meets, be it at the sample or before it.
        own = parts.of_face[faces[hit[met]]] == of_part[met]
        in_sight[np.unique(of_part[met][own])] += 1
    return in_sight


def _ray_caster(mesh: trimesh.Trimesh, faces: np.ndarray) -> "o3d.t.geometry.RaycastingScene":
    caster = o3d.t.geometry.RaycastingScene()
    caster.add_triangles(
        o3d.core.Tensor(np.asarray(mesh.vertices, np.float32)),
        o3d.core.Tensor(np.asarray(mesh.faces, np.uint32)[faces]),
    )
    return caster
