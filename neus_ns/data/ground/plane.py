"""The plane that an object stands on: one that most structure-from-motion points lie in, with all cameras above it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.frame import transform_points
from neus_ns.data.region import Region

# Points are of the plane if they are this near to it, in radii of the region of interest.
_NEAR = 0.0075
# Of all points about the region so many must be of the plane, no more may lie below it, and so many must lie above it,
# or there is nothing that stands on it.
_LEAST_SHARE, _MOST_BELOW, _LEAST_ABOVE = 0.3, 0.15, 0.02
# How far around the region's centre points are asked, and how high above the plane every camera must be, in its radii.
_AROUND, _LEAST_HEIGHT = 2.5, 0.1
_LEAST_POINTS = 100
_TRIES, _REFITS = 1000, 5


@dataclass(frozen=True)
class Plane:
    """The points x with normal . x = offset; the normal has length one and points to the cameras. In any one frame."""

    normal: Float[Tensor, "3"]
    offset: float

    def height(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """How far above the plane points are."""
        return points @ self.normal.to(points) - self.offset

    def moved(self, new_from_old: Float[Tensor, "4 4"]) -> "Plane":
        """The same plane in another frame."""
        scale = torch.linalg.det(new_from_old[:3, :3]).abs() ** (1 / 3)
        normal = (new_from_old[:3, :3] / scale).to(self.normal) @ self.normal
        on_it = transform_points(new_from_old, self.offset * self.normal)
        return Plane(normal, float(normal @ on_it))


def find_plane(points: Float[Tensor, "points 3"], cameras: Float[Tensor, "cameras 3"], region: Region) -> Plane | None:
    """The plane that most points about the region of interest lie in, if it can be what the object stands on."""
    points, cameras = points.double(), cameras.double()
    centre, radius = region.centre.double(), region.radius
    points = points[(points - centre).norm(dim=-1) < _AROUND * radius]
    if len(points) < _LEAST_POINTS:
        return None
    first = _most_agreed(points, _NEAR * radius)
    if first is None:
        return None
    plane = _refitted(first, points, _NEAR * radius)
    if float(plane.height(cameras).median()) < 0:
        plane = Plane(-plane.normal, -plane.offset)
    height = plane.height(points)
    of_plane = float((height.abs() < _NEAR * radius).double().mean())
    below, over = (float((side > 2 * _NEAR * radius).double().mean()) for side in (-height, height))
    stands = 0 < float(plane.height(centre)) < radius
    seen_from_above = float(plane.height(cameras).min()) > _LEAST_HEIGHT * radius
    shares = of_plane > _LEAST_SHARE and below < _MOST_BELOW and over > _LEAST_ABOVE
    return plane if stands and seen_from_above and shares else None


def _most_agreed(points: Float[Tensor, "points 3"], near: float) -> Plane | None:
    """Of planes through three random points the one that most points lie in; None if all lie in one line."""
    generator = torch.Generator().manual_seed(0)
    corners = points[torch.randint(len(points), (_TRIES, 3), generator=generator)]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Corners in one line, or one and the same, make no plane.
    size = normals.norm(dim=-1)
    corners, normals = corners[size > near**2], normals[size > near**2] / size[size > near**2, None]
    if len(normals) == 0:
        return None
    offsets = (normals * corners[:, 0]).sum(-1)
    some = points[torch.randint(len(points), (min(len(points), 4000),), generator=generator)]
    agreeing = ((some @ normals.T - offsets).abs() < near).sum(0)
    best = int(agreeing.argmax())
    return Plane(normals[best], float(offsets[best]))


def _refitted(plane: Plane, points: Float[Tensor, "points 3"], near: float) -> Plane:
    """The plane of least squares through the points that are of it."""
    for _ in range(_REFITS):
        of_plane = points[plane.height(points).abs() < near]
        if len(of_plane) < 3:
            break
        middle = of_plane.mean(0)
        normal = torch.linalg.svd(of_plane - middle, full_matrices=False)[2][2]
        plane = Plane(normal, float(normal @ middle))
    return plane
