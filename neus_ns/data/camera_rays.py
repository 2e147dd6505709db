"""Rays through pixels, fast for perspective cameras: nerfstudio's RayGenerator without its general cases.

A ray of such a camera needs sixteen numbers of its view, and six more if lenses distort, which one gather fetches. What
nerfstudio asks of every batch, and for which the host would wait for a device, is asked once. Fisheye lenses and the
rest go through nerfstudio's own code; both give the same rays.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from nerfstudio.cameras.camera_utils import radial_and_tangential_undistort
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

_BESIDE_PX = 1e-3
# Newton's steps that nerfstudio undoes a distortion by. Fewer will do where they come this near to the same, in pixels.
_MOST_STEPS, _NEAR_PX = 10, 1e-3
# Points along a photograph's sides at which that is tried.
_TRIED = 9


@dataclass(frozen=True)
class PinholeRays:
    """Rays of perspective cameras in the cameras' world."""

    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]
    directions_norm: Float[Tensor, "rays 1"]
    pixel_area: Float[Tensor, "rays 1"]


def pinhole_table(cameras: Cameras) -> Float[Tensor, "views 16"]:
    """Per view: rotation rows and position (12), then cx, cy, 1/fx, 1/fy."""
    intrinsics = torch.cat((cameras.cx, cameras.cy, 1.0 / cameras.fx, 1.0 / cameras.fy), dim=-1)
    return torch.cat((cameras.camera_to_worlds.flatten(1), intrinsics.to(cameras.camera_to_worlds)), dim=-1)


def pinhole_rays(
    table: Float[Tensor, "views 16"], view: Int64[Tensor, " rays"], xy: Float[Tensor, "rays 2"]
) -> PinholeRays:
    """Rays through image points xy = (column, row), where pixel centres lie at halves; differentiable in xy."""
    rows = table.index_select(0, view)
    pose = rows[:, :12].view(-1, 3, 4)
    # (u, v) on the plane one unit before an OpenGL camera, whose y points up while image rows run down.
    inverse_focal = rows[:, 14:16]
    uv = (xy - rows[:, 12:14]) * inverse_focal
    u, v = uv[:, :1], uv[:, 1:]
    along = pose[:, :, 0] * u - pose[:, :, 1] * v - pose[:, :, 2]
    norm = torch.linalg.vector_norm(along, dim=-1, keepdim=True)
    return PinholeRays(pose[:, :, 3], along / norm, norm, _pixel_area(uv, inverse_focal))


def lens_table(cameras: Cameras) -> Float[Tensor, "views 22"]:
    """As `pinhole_table`, then k1, k2, k3, k4, p1, p2."""
    table = pinhole_table(cameras)
    assert cameras.distortion_params is not None
    return torch.cat((table, cameras.distortion_params.to(table)), dim=-1)


def lens_rays(
    table: Float[Tensor, "views 22"], view: Int64[Tensor, " rays"], xy: Float[Tensor, "rays 2"], steps: int
) -> PinholeRays:
    """As `pinhole_rays`, through lenses whose distortion so many of Newton's steps undo."""
    rows = table.index_select(0, view)
    pose, inverse_focal = rows[:, :12].view(-1, 3, 4), rows[:, 14:16]
    bent = (xy - rows[:, 12:14]) * inverse_focal
    # The point itself, and its neighbours one pixel right and down.
    beside = torch.diag_embed(inverse_focal).transpose(0, 1)
    uv = radial_and_tangential_undistort(torch.cat((bent[None], bent + beside)), rows[:, 16:], max_iterations=steps)
    u, v = uv[..., :1], uv[..., 1:]
    along = pose[:, :, 0] * u - pose[:, :, 1] * v - pose[:, :, 2]
    norm = torch.linalg.vector_norm(along, dim=-1, keepdim=True)
    here, right, down = along / norm
    chords = [torch.linalg.vector_norm(here - other, dim=-1, keepdim=True) for other in (right, down)]
    return PinholeRays(pose[:, :, 3], here, norm[0], chords[0] * chords[1])


def steps_needed(cameras: Cameras) -> int:
    """How many of Newton's steps undo the distortions of these cameras as well as nerfstudio's ten, all over their
    photographs."""
    share = torch.linspace(0, 1, _TRIED, device=cameras.device)
    at = torch.stack(torch.meshgrid(share, share, indexing="ij"), dim=-1).view(-1, 1, 2)
    size, centre = torch.cat((cameras.width, cameras.height), -1), torch.cat((cameras.cx, cameras.cy), -1)
    focal = torch.cat((cameras.fx, cameras.fy), -1)
    bent = (at * size - centre) / focal
    assert cameras.distortion_params is not None

    def undone(steps: int) -> Tensor:
        return radial_and_tangential_undistort(bent, cameras.distortion_params, max_iterations=steps) * focal  # type: ignore[arg-type]

    goal = undone(_MOST_STEPS)
    near = (steps for steps in range(1, _MOST_STEPS) if bool(((undone(steps) - goal).abs() < _NEAR_PX).all()))
    return next(near, _MOST_STEPS)


def _pixel_area(uv: Float[Tensor, "rays 2"], step: Float[Tensor, "rays 2"]) -> Float[Tensor, "rays 1"]:
    """The product of the chords between this pixel's unit direction and its neighbours' one pixel right and down.

    With a, b the directions before normalising, the chord is 2 sin(angle / 2) and sin(angle) = |a x b| / (|a| |b|);
    unlike the difference of two nearly equal unit vectors this keeps all digits in float32. Both at once.
    """
    across = uv.flip(-1).square() + 1.0
    square = across + uv.square()
    square_next = square + step * (2.0 * uv + step)
    inverse_lengths = torch.rsqrt(square * square_next)
    sine = step * across.sqrt() * inverse_lengths
    cosine = (square + step * uv) * inverse_lengths
    return (sine * torch.sqrt(2.0 / (1.0 + cosine))).prod(-1, keepdim=True)


class CameraRays:
    """Turns pixels of a camera set into a RayBundle; a drop-in for nerfstudio's RayGenerator."""

    def __init__(self, cameras: Cameras) -> None:
        self.cameras = cameras
        distorted = cameras.distortion_params is not None and bool(cameras.distortion_params.any())
        self._table: Tensor | None = None
        self._steps = 0
        if _is_plain_perspective(cameras):
            self._table = lens_table(cameras) if distorted else pinhole_table(cameras)
            self._steps = steps_needed(cameras) if distorted else 0
        self._has_fisheye = bool((cameras.camera_type == CameraType.FISHEYE.value).any())

    @property
    def is_fast(self) -> bool:
        """Whether these cameras take the short way."""
        return self._table is not None

    def __call__(self, indices: Int64[Tensor, "rays 3"]) -> RayBundle:
        """Rays through the centres of pixels (view, row, col)."""
        indices = indices.to(self.cameras.device)
        return self.rays_at(indices[:, 0], indices[:, 1:].flip(-1).to(self.cameras.fx.dtype) + 0.5)

    def rays_at(self, view: Int64[Tensor, " rays"], xy: Float[Tensor, "rays 2"]) -> RayBundle:
        """Rays through image points xy = (column, row) in pixels, where pixel centres lie at halves.

        Gradients flow from the rays to xy.
        """
        if self._table is None:
            if self._has_fisheye:
                xy = beside_axis(self.cameras, view, xy)
            return self.cameras.generate_rays(camera_indices=view[:, None], coords=xy.flip(-1))
        table = self._table
        rays = pinhole_rays(table, view, xy) if self._steps == 0 else lens_rays(table, view, xy, self._steps)
        return RayBundle(
            origins=rays.origins,
            directions=rays.directions,
            pixel_area=rays.pixel_area,
            camera_indices=view[:, None],
            metadata={"directions_norm": rays.directions_norm.detach()},
        )


def beside_axis(cameras: Cameras, view: Int64[Tensor, " rays"], xy: Float[Tensor, "rays 2"]) -> Float[Tensor, "rays 2"]:
    """The image points, a thousandth of a pixel off the principal point where they would meet it.

    There nerfstudio's fisheye divides zero by zero; of a photograph of odd width it is often the centre of a pixel.
    """
    centre = torch.cat((cameras.cx, cameras.cy), dim=-1).index_select(0, view).to(xy)
    meets = ((xy - centre).abs() < _BESIDE_PX).all(dim=-1, keepdim=True)
    return torch.where(meets, centre + _BESIDE_PX, xy)


def _is_plain_perspective(cameras: Cameras) -> bool:
    """Perspective, and without per-camera extras that nerfstudio would copy to the rays."""
    perspective = bool((cameras.camera_type == CameraType.PERSPECTIVE.value).all())
    return perspective and cameras.times is None and not cameras.metadata
