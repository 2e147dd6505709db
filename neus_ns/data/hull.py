"""The visual hull: what is left of a cube of cells when every photograph has cut away what it saw as background.

Carving is conservative where it is asked to be: a cell stands for the ball around its corners, and it is only cut away
by a view whose background surely covers the whole ball's projection. So the hull can steer where a surface is looked
for without ever losing a thin part. A view says nothing about what lies outside its frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int64
from skimage.measure import marching_cubes
from torch import Tensor

from neus_ns.data.views import Views
from neus_ns.errors import InputError

# From the projection to its pixel's centre and from an outline to the next object pixel's centre: half a diagonal each.
PIXEL_SLACK = math.sqrt(2.0)
# A cube of 128 cells a side at once: each silhouette is then made only once.
_CELLS_AT_ONCE = 1 << 21
# A point seen by one view only cannot be placed in depth.
LEAST_WITNESSES = 2
# The count of witnesses of a cell that some view saw as background.
CUT_AWAY = -1


@dataclass(frozen=True)
class Silhouette:
    """One view, ready for carving: its camera, and each pixel's distance to the next pixel that may be object."""

    camera_from_world: Float[Tensor, "3 4"]
    fx: float
    fy: float
    cx: float
    cy: float
    distance_px: Float[Tensor, "h w"]


class Silhouettes(Sequence[Silhouette]):
    """The silhouettes of some views, each made anew when it is asked for: of many large masks, the distances of all
    would take more memory than the photographs.

    What lies beyond the frame may be object; if it is counted as such, a cell whose ball reaches out there is spared.
    """

    def __init__(self, views: Views, beyond_frame_is_object: bool) -> None:
        if views.masks is None:
            raise ValueError("Carving needs masks.")
        for index, mask in enumerate(views.masks):
            if mask.shape != (int(views.height[index]), int(views.width[index])):
                raise ValueError(f"Mask {index} has another size than its view.")
        self._views, self._masks, self._beyond = views, views.masks, beyond_frame_is_object
        self._camera_from_world = _invert(views.world_from_camera)

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> Silhouette:  # type: ignore[override]
        views, camera_from_world = self._views, self._camera_from_world[index]
        # The distance transform measures to the next zero.
        outside = np.pad(~self._masks[index].cpu().numpy(), 1, constant_values=not self._beyond).astype(np.uint8)
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        distance_px = torch.from_numpy(np.ascontiguousarray(distance)).to(camera_from_world.device)
        fx, fy, cx, cy = (float(value[index]) for value in (views.fx, views.fy, views.cx, views.cy))
        return Silhouette(camera_from_world, fx, fy, cx, cy, distance_px)


def silhouettes(views: Views, beyond_frame_is_object: bool) -> list[Silhouette]:
    """All silhouettes of the views, kept, for whoever asks for them again and again."""
    return [*Silhouettes(views, beyond_frame_is_object)]


def _invert(world_from_camera: Float[Tensor, "views 3 4"]) -> Float[Tensor, "views 3 4"]:
    """Camera from world; poses that carry a common scale on their axes are as good as rigid ones."""
    axes, centre = world_from_camera[..., :3], world_from_camera[..., 3:]
    rotation = (axes / torch.linalg.det(axes).abs().pow(1 / 3)[:, None, None]).transpose(1, 2)
    return torch.cat([rotation, -rotation @ centre], dim=-1)


@dataclass(frozen=True)
class Sighting:
    """What one view says of some cells."""

    in_frame: Bool[Tensor, " cells"]
    is_background: Bool[Tensor, " cells"]


def sight(silhouette: Silhouette, points: Float[Tensor, "cells 3"], cell_radius: float, margin_px: float) -> Sighting:
    """Which cells have their centre in frame, and which of these show background all over their ball.

    Within the ball of radius r at camera point (x, y, -d) the projection moves by at most
    f r sqrt(1 + (x² + y²) / d²) / (d - r).
    """
    matrix = silhouette.camera_from_world.to(points)
    x, y, z = (points @ matrix[:, :3].T + matrix[:, 3]).unbind(-1)
    depth = -z
    is_ahead = depth > 1e-9
    slope_x, slope_y = x / depth.where(is_ahead, 1.0), y / depth.where(is_ahead, 1.0)
    height, width = silhouette.distance_px.shape
    # Clamped before rounding, since a point beside the camera projects beyond what an integer holds.
    column = (silhouette.fx * slope_x + silhouette.cx).clamp(-1, width).floor().long()
    row = (-silhouette.fy * slope_y + silhouette.cy).clamp(-1, height).floor().long()
    in_frame = is_ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    distance_px = silhouette.distance_px[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    reach_px = margin_px
    if cell_radius > 0:
        focal = max(silhouette.fx, silhouette.fy)
        clearance = (depth - cell_radius).clamp(min=1e-9)
        reach_px = margin_px + focal * cell_radius * torch.sqrt(1 + slope_x**2 + slope_y**2) / clearance
    return Sighting(in_frame, in_frame & (distance_px > reach_px))


def count_witnesses(
    prepared: Sequence[Silhouette], points: Float[Tensor, "cells 3"], cell_radius: float, margin_px: float
) -> Int64[Tensor, " cells"]:
    """In how many views' frames a cell's centre lies; -1 for cells that any view cuts away."""
    alive: Int64[Tensor, " alive"] = torch.arange(points.shape[0], device=points.device)
    times_seen = torch.zeros_like(alive)
    # Views from far apart in the list come first: neighbours in a sequence of photographs cut away the same cells.
    for index in _spread_order(len(prepared)):
        sighting = sight(prepared[index], points[alive], cell_radius, margin_px)
        times_seen = (times_seen + sighting.in_frame)[~sighting.is_background]
        alive = alive[~sighting.is_background]
    witnesses = torch.full_like(points[:, 0], CUT_AWAY, dtype=torch.int64)
    witnesses[alive] = times_seen
    return witnesses


def _spread_order(count: int) -> list[int]:
    """0..count-1 in steps of about the golden section, so that any beginning of the list is spread out."""
    step = max(1, round(0.618 * count))
    while math.gcd(step, count) > 1:
        step += 1
    return [(start * step) % count for start in range(count)]


def cell_centres(
    centre: Float[Tensor, "3"], half_side: float, resolution: int, index: Int64[Tensor, " cells"]
) -> Float[Tensor, "cells 3"]:
    """Centres of the cells with these flat indices, x slowest."""
    steps = torch.stack([index // resolution**2, index // resolution % resolution, index % resolution], dim=-1)
    return centre + half_side * ((2 * steps + 1).to(centre) / resolution - 1)


def carve(
    views: Views,
    centre: Float[Tensor, "3"],
    half_side: float,
    resolution: int,
    margin_px: float = 0.0,
    unseen: bool = False,
) -> Bool[Tensor, "res res res"]:
    """The cells, indexed [x, y, z], of a cube that may hold object, in the frame of the views; no other cell does.

    `unseen` decides about cells whose centre is in frame of fewer than two views and that none of these cuts away.
    """
    prepared = Silhouettes(views, beyond_frame_is_object=True)
    witnesses = witness_grid(prepared, centre, half_side, resolution, margin_px + PIXEL_SLACK)
    return witnesses > CUT_AWAY if unseen else witnesses >= LEAST_WITNESSES


def witness_grid(
    prepared: Sequence[Silhouette], centre: Float[Tensor, "3"], half_side: float, resolution: int, margin_px: float
) -> Int64[Tensor, "res res res"]:
    """`count_witnesses` for the cells of a cube, each as large as its ball around the corners."""
    return _count_in_cube(prepared, centre, half_side, resolution, math.sqrt(3.0) * half_side / resolution, margin_px)


def _count_in_cube(
    prepared: Sequence[Silhouette],
    centre: Float[Tensor, "3"],
    half_side: float,
    resolution: int,
    cell_radius: float,
    margin_px: float,
) -> Int64[Tensor, "res res res"]:
    # The views' precision: float64 is twice as slow, and a region's centre comes in it.
    centre = centre.to(prepared[0].camera_from_world)
    parts = []
    for index in torch.arange(resolution**3, device=centre.device).split(_CELLS_AT_ONCE):
        points = cell_centres(centre, half_side, resolution, index)
        parts.append(count_witnesses(prepared, points, cell_radius, margin_px))
    return torch.cat(parts).view(resolution, resolution, resolution)


def hull_mesh(views: Views, centre: Float[Tensor, "3"], half_side: float, resolution: int) -> trimesh.Trimesh:
    """The hull's surface in the frame of the views: a baseline that any method has to beat. Not conservative."""
    prepared = silhouettes(views, beyond_frame_is_object=False)
    is_inside = _count_in_cube(prepared, centre, half_side, resolution, 0.0, 0.0) >= LEAST_WITNESSES
    if not is_inside.any():
        raise InputError("The masks leave no visual hull: they disagree with the camera poses; check both.")
    padded = np.pad(is_inside.cpu().numpy(), 1).astype(np.float32)
    # The gradient of occupancy points inwards, so that faces turn outwards.
    vertices, faces, _, _ = marching_cubes(padded, 0.5, gradient_direction="ascent")
    # Vertex k of the padded grid is the centre of cell k - 1.
    vertices = half_side * ((2 * (vertices - 1) + 1) / resolution - 1) + centre.cpu().numpy()
    return trimesh.Trimesh(vertices, faces, process=False)
