"""Where the pixels of a small patch of one photograph lie in another, if the surface there is the plane it seems to be.

A patch around the image point x of camera r has pixels x + o; the ray through one has direction m = M (o_x, o_y, 1).
The plane through X = C_r + t d with normal n meets it at C_r + m D / (n.m), D = n.(X - C_r). Projecting that point into
camera s and multiplying by (n.m) / D, which changes no pixel, gives

    q = H o,    H = B + E w^T,    B = K_s A_s^T M,    E = K_s A_s^T (C_r - C_s),    w = M^T n / D

with the axes A_s (world from camera): the plane-induced homography K_s (R + t n^T / d) K_r^-1 of the textbooks, its
reference side moved to the patch. q_z is the depth, up to a positive factor, and w.o > 0 says that the plane is before
camera r.

Only D changes with the depth of the surface point, dD/dt = D / t, so dq/dt = -E (w.o) / t: how every pixel moves is
known in closed form, and a loss on patches needs no graph behind them. The normal is taken as it is; with it free, a
patch that lies wrong would be tilted rather than moved.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class PinholeCameras:
    """Pinholes in the unit frame, as `neus_ns.data.views` describes them."""

    axes: Float[Tensor, "views 3 3"]
    centre: Float[Tensor, "views 3"]
    focal: Float[Tensor, "views 2"]
    principal: Float[Tensor, "views 2"]

    def image_from_camera(self) -> Float[Tensor, "views 3 3"]:
        """K: takes camera points to (column, row, 1) times their depth."""
        (fx, fy), (cx, cy) = self.focal.unbind(-1), self.principal.unbind(-1)
        zero, one = torch.zeros_like(fx), torch.ones_like(fx)
        return torch.stack([fx, zero, -cx, zero, -fy, -cy, zero, zero, -one], -1).view(-1, 3, 3)

    def ray_from_image(self) -> Float[Tensor, "views 3 3"]:
        """The inverse of K, which is written down faster than found: takes (column, row, 1) to camera directions."""
        (fx, fy), (cx, cy) = self.focal.unbind(-1), self.principal.unbind(-1)
        zero, one = torch.zeros_like(fx), torch.ones_like(fx)
        return torch.stack([1 / fx, zero, -cx / fx, zero, -1 / fy, cy / fy, zero, zero, -one], -1).view(-1, 3, 3)


@dataclass(frozen=True)
class SurfacePatches:
    """Tangent planes of the surface where rays of photographs meet it, in the unit frame."""

    view: Int64[Tensor, " patches"]
    directions: Float[Tensor, "patches 3"]
    t: Float[Tensor, " patches"]
    normals: Float[Tensor, "patches 3"]

    def points(self, cameras: PinholeCameras) -> Float[Tensor, "patches 3"]:
        """Where the planes touch the surface."""
        return torch.addcmul(cameras.centre[self.view], self.directions, self.t[:, None])


@dataclass(frozen=True)
class Warp:
    """Where patch pixels lie in the photographs compared with, and how they move with the depth of the surface."""

    x: Float[Tensor, "patches sources pixels"]
    y: Float[Tensor, "patches sources pixels"]
    x_by_t: Float[Tensor, "patches sources pixels"]
    y_by_t: Float[Tensor, "patches sources pixels"]


def patch_offsets(side: int, step: int, device: torch.device) -> Float[Tensor, "pixels 3"]:
    """Offsets (right, down, 1) of a square patch's pixels from its middle; every `step`-th pixel of `side`."""
    axis = torch.arange(0, side, step, device=device, dtype=torch.float32)
    axis = axis - axis.mean()
    down, right = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([right, down, torch.ones_like(right)], -1).view(-1, 3)


def image_points(cameras: PinholeCameras, patches: SurfacePatches) -> Float[Tensor, "patches 2"]:
    """Where the patches' rays go through their own photographs."""
    local = (patches.directions[:, None] @ cameras.axes[patches.view])[:, 0]
    along = local[:, :2] / -local[:, 2:]
    return torch.stack([along[:, 0], -along[:, 1]], -1) * cameras.focal[patches.view] + cameras.principal[patches.view]


def _rays_to_planes(
    cameras: PinholeCameras, patches: SurfacePatches, middle: Float[Tensor, "patches 2"]
) -> tuple[Float[Tensor, "patches 3 3"], Float[Tensor, "patches 3"]]:
    """M and w of the patches around `middle`: the ray through offset o is M o, and meets the plane at M o / (w.o)."""
    view = patches.view
    moved = torch.eye(3, device=middle.device, dtype=middle.dtype).repeat(len(view), 1, 1)
    moved[:, :2, 2] = middle
    to_ray = cameras.axes[view] @ cameras.ray_from_image()[view] @ moved
    plane = patches.t * (patches.normals * patches.directions).sum(-1)
    return to_ray, (patches.normals[:, None] @ to_ray)[:, 0] / plane[:, None]


def plane_points(
    cameras: PinholeCameras,
    patches: SurfacePatches,
    middle: Float[Tensor, "patches 2"],
    offsets: Float[Tensor, "pixels 3"],
) -> tuple[Float[Tensor, "patches pixels 3"], Bool[Tensor, "patches pixels"]]:
    """Where the planes lie that pixels of the patches' own photographs show, and which of these pixels show them.

    A pixel beyond the plane's horizon shows nothing of it; the camera stands in for its point.
    """
    to_ray, w = _rays_to_planes(cameras, patches, middle)
    towards = w @ offsets.T
    before = towards > 0
    depth = torch.where(before, 1 / torch.where(before, towards, 1.0), 0.0)
    return cameras.centre[patches.view][:, None] + depth[..., None] * (offsets @ to_ray.transpose(1, 2)), before


def warp_patches(
    cameras: PinholeCameras,
    patches: SurfacePatches,
    sources: Int64[Tensor, "patches sources"],
    middle: Float[Tensor, "patches 2"],
    offsets: Float[Tensor, "pixels 3"],
) -> Warp:
    """The patches around `middle` of their own photographs, seen from these others.

    What a camera cannot have seen, being behind it or beyond the plane's horizon, is put at column -1e6.
    """
    view = patches.view
    to_ray, w = _rays_to_planes(cameras, patches, middle)
    towards = w @ offsets.T

    project = (cameras.image_from_camera() @ cameras.axes.transpose(1, 2))[sources]
    apart = cameras.centre[view][:, None] - cameras.centre[sources]
    epipole = (project @ apart[..., None])[..., 0]
    homography = project @ to_ray[:, None] + epipole[..., None] * w[:, None, None]
    q_x, q_y, q_z = (homography @ offsets.T).unbind(-2)

    before = (q_z > 0) & (towards > 0)[:, None]
    inverse = 1 / torch.where(before, q_z, 1.0)
    x, y = torch.where(before, q_x * inverse, -1e6), torch.where(before, q_y * inverse, -1e6)
    rate = inverse * (towards / -patches.t[:, None])[:, None]
    e_x, e_y, e_z = (epipole[..., axis, None] for axis in range(3))
    return Warp(x, y, rate * (e_x - x * e_z), rate * (e_y - y * e_z))
