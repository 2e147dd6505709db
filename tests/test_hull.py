"""The visual hull against ray-cast silhouettes: it keeps all that may be object and drops what no object can be in."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.data.hull import carve, cell_centres, hull_mesh
from neus_ns.data.views import Views


def look_at(centre: Float[Tensor, "3"], target: Float[Tensor, "3"]) -> Float[Tensor, "3 4"]:
    backward = torch.nn.functional.normalize(centre - target, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(centre.new_tensor([0.1, 0.2, 1.0]), backward), dim=0)
    up = torch.linalg.cross(backward, right)
    return torch.stack([right, up, backward, centre], dim=1)


def ring_views(
    num: int, target: Float[Tensor, "3"], distance: float = 3.0, size: int = 64, focal: float = 80.0
) -> Views:
    """Cameras on a sphere around a target, with an oblong frame and a principal point off its middle."""
    index = torch.arange(num, dtype=torch.float64)
    z = 0.8 * (1 - 2 * (index + 0.5) / num)
    angle = index * math.pi * (3 - math.sqrt(5))
    directions = torch.stack([(1 - z**2).sqrt() * angle.cos(), (1 - z**2).sqrt() * angle.sin(), z], dim=-1)
    poses = torch.stack([look_at(target + distance * direction, target) for direction in directions])
    full = torch.ones(num, dtype=torch.float64)
    return Views(
        world_from_camera=poses,
        fx=focal * full,
        fy=1.1 * focal * full,
        cx=(0.5 * size + 3.3) * full,
        cy=(0.4 * size - 1.7) * full,
        width=size * full,
        height=(size - 8) * full,
        masks=None,
    )


def with_masks(views: Views, hits) -> Views:
    """Masks by one ray through each pixel's centre; `hits(origins, directions)` says which rays meet the object."""
    masks = []
    for index in range(len(views.fx)):
        row, column = torch.meshgrid(
            torch.arange(int(views.height[index])) + 0.5, torch.arange(int(views.width[index])) + 0.5, indexing="ij"
        )
        x = (column.double() - views.cx[index]) / views.fx[index]
        y = -(row.double() - views.cy[index]) / views.fy[index]
        pose = views.world_from_camera[index]
        directions = torch.stack([x, y, -torch.ones_like(x)], dim=-1) @ pose[:, :3].T
        masks.append(hits(pose[:, 3], torch.nn.functional.normalize(directions, dim=-1)))
    return replace(views, masks=masks)


def in_single_precision(views: Views) -> Views:
    return replace(views, **{name: value.float() for name, value in vars(views).items() if isinstance(value, Tensor)})


def sphere_hits(centre: Float[Tensor, "3"], radius: float):
    def hits(origin: Tensor, directions: Tensor) -> Tensor:
        offset = centre - origin
        return torch.linalg.cross(offset.expand_as(directions), directions).norm(dim=-1) <= radius

    return hits


def project(views: Views, index: int, point: Float[Tensor, "3"]) -> tuple[float, float, float]:
    pose = views.world_from_camera[index]
    x, y, z = (pose[:, :3].T @ (point - pose[:, 3])).tolist()
    column = float(views.fx[index]) * x / -z + float(views.cx[index])
    row = -float(views.fy[index]) * y / -z + float(views.cy[index])
    return column, row, -z


def sphere_points(count: int, seed: int = 0) -> Float[Tensor, "points 3"]:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def slow_carve(
    views: Views, centre: Tensor, half_side: float, resolution: int, margin_px: float, unseen: bool
) -> Bool[np.ndarray, "res res res"]:
    """One cell, one view and one mask pixel at a time."""
    assert views.masks is not None
    kept = np.zeros((resolution,) * 3, dtype=bool)
    radius = math.sqrt(3) * half_side / resolution
    for cell in np.ndindex(kept.shape):
        point = centre + half_side * ((2 * torch.tensor(cell).double() + 1) / resolution - 1)
        times_seen, is_cut = 0, False
        for index, mask in enumerate(views.masks):
            column, row, depth = project(views, index, point)
            height, width = mask.shape
            if depth <= 0 or not (0 <= column < width and 0 <= row < height):
                continue
            times_seen += 1
            slope_x = (column - float(views.cx[index])) / float(views.fx[index])
            slope_y = (row - float(views.cy[index])) / float(views.fy[index])
            focal = max(float(views.fx[index]), float(views.fy[index]))
            reach = margin_px + math.sqrt(2)
            reach += focal * radius * math.sqrt(1 + slope_x**2 + slope_y**2) / (depth - radius)
            may_be_object = np.pad(mask.numpy(), 1, constant_values=True)
            rows, columns = np.nonzero(may_be_object)
            pixel_row, pixel_column = math.floor(row) + 1, math.floor(column) + 1
            is_cut |= bool(np.hypot(rows - pixel_row, columns - pixel_column).min() > reach)
        kept[cell] = not is_cut and (unseen or times_seen >= 2)
    return kept


def test_matches_a_slow_loop_over_cells_and_views():
    target = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    # Few views that do not all see the whole cube, so that each rule has cells to decide about.
    views = with_masks(ring_views(4, target, distance=1.6), sphere_hits(target, 0.15))
    for margin_px, unseen in ((0.0, False), (2.5, True)):
        fast = carve(views, target + 0.1, 0.7, 9, margin_px=margin_px, unseen=unseen)
        slow = slow_carve(views, target + 0.1, 0.7, 9, margin_px, unseen)
        assert 0 < slow.sum() < slow.size
        assert np.array_equal(fast.numpy(), slow)


def test_keeps_every_point_of_a_sphere_and_drops_the_corners():
    target = torch.tensor([5.0, -3.0, 2.0], dtype=torch.float64)
    views = with_masks(ring_views(12, target, focal=50.0), sphere_hits(target, 0.5))
    views = in_single_precision(views)
    resolution = 40
    hull = carve(views, target.float(), 1.0, resolution)
    cells = ((0.5 * sphere_points(4000) + 1) / 2 * resolution).long()
    assert bool(hull[cells.unbind(-1)].all())
    centres = cell_centres(target, 1.0, resolution, torch.arange(resolution**3)).view(*hull.shape, 3)
    distance = (centres - target).norm(dim=-1)
    assert not bool(hull[distance > 0.9].any())
    assert bool(hull[distance < 0.45].all())


def test_never_loses_a_rod_thinner_than_a_cell():
    target = torch.zeros(3, dtype=torch.float64)
    axis = torch.nn.functional.normalize(torch.tensor([0.3, 0.5, 1.0], dtype=torch.float64), dim=0)
    # At this distance the rod is about one pixel wide.
    radius = 0.022

    def hits(origin: Tensor, directions: Tensor) -> Tensor:
        normal = torch.nn.functional.normalize(torch.linalg.cross(directions, axis.expand_as(directions)), dim=-1)
        along_normal = (target - origin) @ normal.reshape(-1, 3).T
        return along_normal.reshape(directions.shape[:-1]).abs() <= radius

    views = with_masks(ring_views(16, target), hits)
    resolution = 24
    hull = carve(views, target, 1.0, resolution)
    points = torch.linspace(-0.8, 0.8, 400, dtype=torch.float64)[:, None] * axis + radius * sphere_points(400)
    cells = ((points + 1) / 2 * resolution).long()
    assert bool(hull[cells.unbind(-1)].all())
    assert float(hull.double().mean()) < 0.1


def test_unseen_cells_follow_the_switch():
    target = torch.zeros(3, dtype=torch.float64)
    views = with_masks(ring_views(3, target, focal=400.0), sphere_hits(target, 0.4))
    # With so long a lens the far corner of the cube is in nobody's frame.
    assert bool(carve(views, target, 2.0, 16, unseen=True)[0, 0, 0])
    assert not bool(carve(views, target, 2.0, 16, unseen=False)[0, 0, 0])


def test_mesh_of_a_sphere_has_its_size_and_turns_outwards():
    target = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    views = with_masks(ring_views(24, target, size=160, focal=200.0), sphere_hits(target, 0.5))
    mesh = hull_mesh(views, target, 0.8, 48)
    assert mesh.is_watertight
    assert abs(mesh.volume / (4 / 3 * math.pi * 0.5**3) - 1) < 0.12
    assert np.abs(mesh.centroid - target.numpy()).max() < 0.02
