"""The exact answer to a synthetic capture: a fine mesh of the shape, and surface points that some camera sees."""

from collections.abc import Sequence

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from skimage.measure import marching_cubes
from torch import Tensor

from neus_ns.data.synthetic.cameras import Pinhole
from neus_ns.data.synthetic.shapes import Shape, project_to_surface, surface_normals
from neus_ns.data.synthetic.trace import unoccluded

_BLOCK = 8
_POINTS_AT_ONCE = 1 << 18


def _sampled_sdf(shape: Shape, blocks: int) -> tuple[Float[np.ndarray, "n n n"], float]:
    """Signed distance on a grid of 8 * blocks points an axis around the shape, and the grid's spacing.

    A block whose centre is farther from the surface than its corners are holds only the centre's value: marching cubes
    needs no more than the sign there.
    """
    count = blocks * _BLOCK
    half_width = 1.02 * shape.radius
    axis = torch.linspace(-half_width, half_width, count)
    spacing = 2.0 * half_width / (count - 1)
    middles = axis.reshape(blocks, _BLOCK).mean(dim=1)
    centres = torch.cartesian_prod(middles, middles, middles)
    at_centre = shape.sdf_local(centres)
    # One cell more than the block, because a cell between two blocks reads corners of both.
    reach = 0.5 * (_BLOCK + 1) * spacing * 3.0**0.5
    volume = at_centre[:, None].repeat(1, _BLOCK**3)
    steps = (torch.arange(_BLOCK) - 0.5 * (_BLOCK - 1)) * spacing
    offsets = torch.cartesian_prod(steps, steps, steps)
    for rows in (at_centre.abs() <= reach).nonzero()[:, 0].split(_POINTS_AT_ONCE // _BLOCK**3):
        points = (centres[rows, None] + offsets).reshape(-1, 3)
        volume[rows] = shape.sdf_local(points).reshape(len(rows), -1)
    grid = volume.reshape(blocks, blocks, blocks, _BLOCK, _BLOCK, _BLOCK).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(count, count, count).numpy(), spacing


def exact_mesh(shape: Shape, blocks: int = 28) -> trimesh.Trimesh:
    """The shape's surface in world units with outward triangles, every vertex on the zero set."""
    volume, spacing = _sampled_sdf(shape, blocks)
    vertices, faces, _, _ = marching_cubes(volume, 0.0, spacing=(spacing,) * 3, gradient_direction="descent")
    local = torch.from_numpy(vertices.astype(np.float32)) - 1.02 * shape.radius
    on_surface = torch.cat([project_to_surface(shape.sdf_local, part) for part in local.split(_POINTS_AT_ONCE)])
    return trimesh.Trimesh(on_surface.double().numpy() + np.array(shape.centre), faces, process=False)


def _uniform_points(mesh: trimesh.Trimesh, count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Points on a mesh, each area as likely as any other of its size; about the world's origin, float64."""
    corners = torch.from_numpy(np.array(mesh.triangles))
    areas = torch.from_numpy(np.array(mesh.area_faces))
    # Searching the running sum, because torch.multinomial takes at most 2^24 triangles and is slow long before that.
    running = areas.cumsum(0)
    draws = torch.rand(count, generator=generator, dtype=torch.float64) * running[-1]
    face = torch.searchsorted(running, draws).clamp_max(len(areas) - 1)
    u, v = torch.rand(2, count, generator=generator, dtype=torch.float64)
    folded = u + v > 1.0
    u, v = torch.where(folded, 1.0 - u, u), torch.where(folded, 1.0 - v, v)
    a, b, c = corners[face].unbind(1)
    return a + u[:, None] * (b - a) + v[:, None] * (c - a)


def visible_points(
    shape: Shape, mesh: trimesh.Trimesh, cameras: Sequence[Pinhole], count: int, seed: int
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """World points and normals on the surface that at least one camera sees: the seen ones of `count` uniform draws."""
    draws = _uniform_points(mesh, count, torch.Generator().manual_seed(seed))
    centre = draws.new_tensor(shape.centre)
    points = project_to_surface(shape.sdf_local, (draws - centre).float())
    normals = surface_normals(shape.sdf_local, points)
    seen = torch.zeros(len(points), dtype=torch.bool)
    for camera in cameras:
        unseen = (~seen).nonzero()[:, 0]
        eye = (camera.world_from_camera[:3, 3] - centre).float()
        in_view = unoccluded(shape.sdf_local, points[unseen], normals[unseen], eye, shape.radius)
        pixels = camera.project(points[unseen] + centre.float())
        seen[unseen] = in_view & ((pixels > 0.0) & (pixels < camera.size)).all(dim=1)
    return points[seen] + centre.float(), normals[seen]
