"""Where the synthetic photographs are taken from: pinhole cameras on rings, OpenGL poses (-z forward, y up)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.synthetic.shapes import Vec3

# The share of the frame that the bounding ball's diameter takes; the object itself fills less of it.
_FILL = 0.92
_DISTANCE_IN_RADII = 3.0
# The upper ring looks down into whatever opens upwards, the lower one sees the underside of a floating object.
_TRAIN_ELEVATIONS_DEG = (48.0, 14.0, -22.0)
_TEST_ELEVATIONS_DEG = (30.0, 0.0)


@dataclass(frozen=True)
class Pinhole:
    """A square pinhole camera: pose in float64, focal length in pixels, pixel centres at +0.5."""

    world_from_camera: Float[Tensor, "4 4"]
    focal: float
    size: int

    def rays(self, pixels: Float[Tensor, "n 2"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """World origins and unit directions of the rays through pixel positions (column, row from the top left)."""
        pose = self.world_from_camera.to(pixels)
        x = (pixels[:, 0] - 0.5 * self.size) / self.focal
        y = (0.5 * self.size - pixels[:, 1]) / self.focal
        directions = torch.stack([x, y, -torch.ones_like(x)], dim=1)
        directions = torch.nn.functional.normalize(directions, dim=1) @ pose[:3, :3].T
        return pose[:3, 3].expand_as(directions), directions

    def project(self, points_world: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
        """Pixel positions (column, row) of world points in front of the camera."""
        pose = self.world_from_camera.to(points_world)
        in_camera = (points_world - pose[:3, 3]) @ pose[:3, :3]
        over_depth = in_camera[:, :2] / -in_camera[:, 2:]
        return over_depth * over_depth.new_tensor([self.focal, -self.focal]) + 0.5 * self.size


def pixel_centres(size: int) -> Float[Tensor, "pixels 2"]:
    """Pixel positions (column, row) of a square picture, row after row."""
    steps = torch.arange(size, dtype=torch.float32) + 0.5
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([columns.reshape(-1), rows.reshape(-1)], dim=1)


def look_at(eye: Float[Tensor, "3"], target: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """The OpenGL camera-to-world matrix of an upright camera (z is up in the world) at `eye` that looks at `target`."""
    backward = torch.nn.functional.normalize(eye - target, dim=0)
    right = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], dtype=eye.dtype), backward)
    right = torch.nn.functional.normalize(right, dim=0)
    matrix = torch.eye(4, dtype=eye.dtype)
    matrix[:3] = torch.stack([right, torch.linalg.cross(backward, right), backward, eye], dim=1)
    return matrix


def _ring_cameras(
    centre: Vec3, radius: float, count: int, size: int, elevations_deg: tuple[float, ...], generator: torch.Generator
) -> list[Pinhole]:
    """Cameras that go round the object once and change ring at every step, held by an unsteady hand."""
    half_view = 1.0 / math.sqrt(_DISTANCE_IN_RADII**2 - 1.0) / _FILL
    focal = 0.5 * size / half_view
    middle = torch.tensor(centre, dtype=torch.float64)
    cameras = []
    for index in range(count):
        unrest = 2.0 * torch.rand(6, generator=generator, dtype=torch.float64) - 1.0
        # One turn for all rings together spaces each ring evenly and puts no camera above another.
        azimuth = math.tau * (index + 0.5) / count + 0.06 * float(unrest[0])
        elevation = math.radians(elevations_deg[index % len(elevations_deg)] + 3.0 * float(unrest[1]))
        distance = radius * (_DISTANCE_IN_RADII + 0.1 * float(unrest[2]))
        toward = torch.tensor(
            [
                math.cos(elevation) * math.cos(azimuth),
                math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
            ],
            dtype=torch.float64,
        )
        target = middle + 0.03 * radius * unrest[3:]
        cameras.append(Pinhole(look_at(middle + distance * toward, target), focal, size))
    return cameras


def train_cameras(centre: Vec3, radius: float, count: int, size: int, seed: int) -> list[Pinhole]:
    """The cameras to learn from: three rings above, beside and below the object."""
    generator = torch.Generator().manual_seed(2 * seed)
    return _ring_cameras(centre, radius, count, size, _TRAIN_ELEVATIONS_DEG, generator)


def held_out_cameras(centre: Vec3, radius: float, count: int, size: int, seed: int) -> list[Pinhole]:
    """Cameras between the training rings, to judge new views."""
    generator = torch.Generator().manual_seed(2 * seed + 1)
    return _ring_cameras(centre, radius, count, size, _TEST_ELEVATIONS_DEG, generator)
