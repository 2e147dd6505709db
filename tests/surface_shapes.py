"""Analytic distances, cameras and sources for the tests of the surface room."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from neus_ns.data.frame import SceneFrame, similarity, transform_points
from neus_ns.surface.source import SurfaceSource, Views


def sphere(centre: tuple[float, float, float], radius: float) -> Callable[[Tensor], Tensor]:
    return lambda points: (points - torch.tensor(centre).to(points)).norm(dim=-1) - radius


def torus(ring: float, tube: float) -> Callable[[Tensor], Tensor]:
    def sdf(points: Tensor) -> Tensor:
        return torch.stack([points[:, :2].norm(dim=-1) - ring, points[:, 2]], dim=-1).norm(dim=-1) - tube

    return sdf


def union(*parts: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda points: torch.stack([part(points) for part in parts]).amin(dim=0)


def without(solid: Callable[[Tensor], Tensor], hole: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda points: torch.maximum(solid(points), -hole(points))


def position_colour(points: Tensor, normals: Tensor) -> Tensor:
    """Colour that tells the place, and the third channel the direction the surface faces."""
    return torch.stack([points[:, 0] / 2 + 0.5, points[:, 1] / 2 + 0.5, normals[:, 2] / 2 + 0.5], dim=-1)


def everywhere(res: int = 16) -> Tensor:
    return torch.ones(res, res, res, dtype=torch.bool)


def source(
    sdf: Callable[[Tensor], Tensor],
    may_hold_surface: Tensor | None = None,
    frame: SceneFrame | None = None,
    views: Views | None = None,
) -> SurfaceSource:
    may_hold_surface = everywhere() if may_hold_surface is None else may_hold_surface
    return SurfaceSource(sdf, position_colour, may_hold_surface, frame or SceneFrame.identity(), views)


def rotation(axis: tuple[float, float, float], degrees: float) -> Tensor:
    """A 4x4 rotation, float64, by Rodrigues' formula."""
    x, y, z = (torch.tensor(axis, dtype=torch.float64) / math.dist(axis, (0, 0, 0))).tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    angle = math.radians(degrees)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] += math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return matrix


def tilted_frame(mirrored: bool = False) -> SceneFrame:
    """A frame that turns, scales and shifts; a mirrored one also turns left into right."""
    flip = torch.diag(torch.tensor([-1.0 if mirrored else 1.0, 1, 1, 1], dtype=torch.float64))
    world_from_parser = similarity(40.0, torch.tensor([100.0, -20.0, 5.0])) @ rotation((1, 2, 3), 50) @ flip
    return SceneFrame(similarity(0.3, torch.tensor([0.1, 0.2, -0.3])), world_from_parser)


def ring_of_views(
    frame: SceneFrame, seen_as_object: Callable[[Tensor], Tensor] | None, count: int = 8, size: int = 96
) -> Views:
    """Cameras around the unit ball that look at its centre; masks show where rays meet the given shape."""
    poses, masks = [], []
    focal = size * 1.1
    for view in range(count):
        turn = 2 * math.pi * view / count
        position = 3 * torch.tensor([math.cos(turn), math.sin(turn), 0.5 * math.cos(3 * turn)], dtype=torch.float64)
        back = position / position.norm()
        right = torch.linalg.cross(torch.tensor([0, 0, 1.0], dtype=torch.float64), back)
        right = right / right.norm()
        axes = torch.stack([right, torch.linalg.cross(back, right), back], dim=1)
        world = frame.world_from_unit
        turned = world[:3, :3] @ axes / frame.world_units_per_unit
        poses.append(torch.cat([turned, transform_points(world, position[None]).T], dim=1))
        if seen_as_object is not None:
            masks.append(_silhouette(position, axes, focal, size, seen_as_object))
    return Views(
        world_from_camera=torch.stack(poses),
        fx=torch.full((count,), focal),
        fy=torch.full((count,), focal),
        cx=torch.full((count,), size / 2),
        cy=torch.full((count,), size / 2),
        width=torch.full((count,), float(size)),
        height=torch.full((count,), float(size)),
        masks=masks or None,
    )


def _silhouette(position: Tensor, axes: Tensor, focal: float, size: int, sdf: Callable[[Tensor], Tensor]) -> Tensor:
    """Bool [size, size]: where rays through pixel centres come within the object, by dense sampling along them."""
    pixel = torch.arange(size, dtype=torch.float64) + 0.5 - size / 2
    rows, columns = torch.meshgrid(pixel, pixel, indexing="ij")
    rays = torch.stack([columns / focal, -rows / focal, -torch.ones_like(rows)], dim=-1) @ axes.T
    t = torch.linspace(2, 4.2, 80, dtype=torch.float64)
    points = position + rays[:, :, None] * t[:, None]
    return (sdf(points.reshape(-1, 3)).reshape(size, size, -1) < 0).any(dim=-1)
