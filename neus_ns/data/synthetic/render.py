"""Synthetic photographs: one ray a pixel, and four where the depth jumps, so that outlines are not jagged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.data.synthetic.cameras import Pinhole, pixel_centres
from neus_ns.data.synthetic.materials import Material
from neus_ns.data.synthetic.shading import to_display
from neus_ns.data.synthetic.shapes import Shape, surface_normals
from neus_ns.data.synthetic.trace import ball_interval, sphere_trace

# In bounding radii. A hit may be off by this much; it is far below a pixel at any size that is sensible here.
_TOLERANCE = 5e-5
# A depth difference between neighbours from which a pixel counts as an edge.
_DEPTH_JUMP = 0.05
# Bounds the working memory: about 100 MiB.
_RAYS_TOGETHER = 240_000
_SUBPIXEL_OFFSETS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))


@dataclass(frozen=True)
class Photograph:
    """What one camera saw. `depth` is along the ray of the pixel's centre, infinite where it meets no surface."""

    image: Float[Tensor, "size size 3"]
    depth: Float[Tensor, "size size"]

    @property
    def mask(self) -> Bool[Tensor, "size size"]:
        return self.depth.isfinite()


def _look(
    shape: Shape, origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], material: Material
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Display colour and depth along rays."""
    origins_local = shape.local(origins)
    t_near, t_far = ball_interval(origins_local, directions, shape.radius)
    tolerance = _TOLERANCE * shape.radius
    depth = sphere_trace(shape.sdf_local, origins_local, directions, t_near, t_far, tolerance)
    seen = depth.isfinite()
    hit, missed = seen.nonzero()[:, 0], (~seen).nonzero()[:, 0]
    radiance = torch.empty_like(directions)
    radiance[missed] = material.surroundings(directions[missed])
    points = origins_local[hit] + depth[hit, None] * directions[hit]
    normals = surface_normals(shape.sdf_local, points)
    radiance[hit] = material.radiance(shape, points, normals, directions[hit])
    return to_display(radiance), depth


def _edge_pixels(depth: Float[Tensor, "views size size"], jump: float) -> Bool[Tensor, "views size size"]:
    """Pixels whose depth differs from a neighbour's by more than a jump; the far backdrop is as deep as can be."""
    flat = depth.nan_to_num(posinf=1e9)
    edge = torch.zeros_like(depth, dtype=torch.bool)
    across = (flat[:, :, 1:] - flat[:, :, :-1]).abs() > jump
    down = (flat[:, 1:] - flat[:, :-1]).abs() > jump
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    return edge


def _rays(cameras: Sequence[Pinhole], pixels: Sequence[Float[Tensor, "_ 2"]]) -> tuple[Tensor, Tensor]:
    """Origins and directions of all rays of all cameras in one row."""
    bundles = [camera.rays(positions) for camera, positions in zip(cameras, pixels, strict=True)]
    return torch.cat([origins for origins, _ in bundles]), torch.cat([directions for _, directions in bundles])


@torch.no_grad()
def _photograph_together(shape: Shape, cameras: Sequence[Pinhole], material: Material) -> list[Photograph]:
    size = cameras[0].size
    pixels = pixel_centres(size)
    image, depth = _look(shape, *_rays(cameras, [pixels] * len(cameras)), material)
    square = depth.reshape(len(cameras), size, size)
    edges = _edge_pixels(square, _DEPTH_JUMP * shape.radius).reshape(len(cameras), -1)
    if edges.any():
        offsets = pixels.new_tensor(_SUBPIXEL_OFFSETS)
        finer = [(pixels[rows, None] + offsets).reshape(-1, 2) for rows in edges]
        colours, _ = _look(shape, *_rays(cameras, finer), material)
        image[edges.reshape(-1)] = colours.reshape(-1, len(offsets), 3).mean(dim=1)
    return [Photograph(*pair) for pair in zip(image.reshape(-1, size, size, 3), square, strict=True)]


def photographs(shape: Shape, cameras: Sequence[Pinhole], material: Material) -> Iterator[Photograph]:
    """Render the cameras' pictures, which share one size, in order.

    A few are traced together, because the last steps of a trace serve a handful of rays and cost the same for many.
    The mask belongs to the pixel centres, which are the rays that training casts.
    """
    together = max(1, _RAYS_TOGETHER // cameras[0].size ** 2)
    for start in range(0, len(cameras), together):
        yield from _photograph_together(shape, cameras[start : start + together], material)
