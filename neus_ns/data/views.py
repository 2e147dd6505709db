"""The photographs as witnesses: where they stood, how they see, and what they saw as object."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Projected:
    """Where one photograph shows points, in pixels; for those behind its camera nothing of it means anything."""

    column: Float[Tensor, " points"]
    row: Float[Tensor, " points"]
    depth: Float[Tensor, " points"]
    in_frame: Bool[Tensor, " points"]


@dataclass(frozen=True)
class Views:
    """Pinhole photographs in any one frame. OpenGL cameras: -z forward, y up, rows counted downwards.

    A camera point (x, y, z) falls on column = fx * x / -z + cx and row = -fy * y / -z + cy; pixel i covers [i, i + 1).
    There is no lens distortion here: whoever fills the record has to undo it.
    """

    world_from_camera: Float[Tensor, "views 3 4"]
    fx: Float[Tensor, " views"]
    fy: Float[Tensor, " views"]
    cx: Float[Tensor, " views"]
    cy: Float[Tensor, " views"]
    width: Float[Tensor, " views"]
    height: Float[Tensor, " views"]
    # Photographs of one capture may differ in size, so the two axes are not bound to one another.
    masks: list[Bool[Tensor, "_h _w"]] | None

    def moved(self, new_from_old: Float[Tensor, "4 4"]) -> "Views":
        """The same photographs in another frame; the map is a similarity, and scale leaves camera axes unit vectors."""
        matrix = new_from_old.to(self.world_from_camera)
        scale = torch.linalg.det(matrix[:3, :3]).abs() ** (1 / 3)
        axes = (matrix[:3, :3] / scale) @ self.world_from_camera[:, :, :3]
        centres = self.world_from_camera[:, :, 3] @ matrix[:3, :3].T + matrix[:3, 3]
        return replace(self, world_from_camera=torch.cat([axes, centres[..., None]], 2))

    def project(self, view: int, points: Float[Tensor, "points 3"]) -> Projected:
        """Where a photograph shows points of the views' frame."""
        pose = self.world_from_camera[view].to(points)
        local = (points - pose[:, 3]) @ pose[:, :3]
        depth = -local[:, 2]
        safe = torch.where(depth > 0, depth, 1.0)
        column = self.fx[view] * local[:, 0] / safe + self.cx[view]
        row = -self.fy[view] * local[:, 1] / safe + self.cy[view]
        within = (column >= 0) & (column < self.width[view]) & (row >= 0) & (row < self.height[view])
        return Projected(column, row, depth, within & (depth > 0))
