"""nerfstudio's cameras as the plain pinhole views that carving, checks and texturing work with."""

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from neus_ns.data.views import Views
from neus_ns.errors import InputError


def pinhole_views(cameras: Cameras, masks: "list[Bool[Tensor, '_h _w']] | None") -> Views:
    """The cameras in their own frame, lens distortion undone: same intrinsics, straightened masks."""
    cameras = cameras.to("cpu")
    if is_bent(cameras):
        _require_lens(cameras)
        if masks is not None:
            masks = [_straighten(cameras, view, mask) for view, mask in enumerate(masks)]
    return Views(
        world_from_camera=cameras.camera_to_worlds,
        fx=cameras.fx[:, 0],
        fy=cameras.fy[:, 0],
        cx=cameras.cx[:, 0],
        cy=cameras.cy[:, 0],
        width=cameras.width[:, 0].float(),
        height=cameras.height[:, 0].float(),
        masks=masks,
    )


def is_bent(cameras: Cameras) -> bool:
    """Whether any of the photographs was taken through a lens that is no pinhole."""
    if not bool((cameras.camera_type == CameraType.PERSPECTIVE.value).all()):
        return True
    return cameras.distortion_params is not None and bool(cameras.distortion_params.any())


def _require_lens(cameras: Cameras) -> None:
    known = (cameras.camera_type == CameraType.PERSPECTIVE.value) | (cameras.camera_type == CameraType.FISHEYE.value)
    if not bool(known.all()):
        name = CameraType(int(cameras.camera_type[~known][0])).name
        raise InputError(
            f"The capture has {name} cameras, from which no plain photographs can be made; undistort or cut them to "
            "perspective photographs first."
        )


def _straighten(cameras: Cameras, view: int, mask: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """The mask as a pinhole with the same intrinsics would have seen it.

    Pinhole pixels that the lens did not see repeat the edge of the photograph: what is not seen must not carve.
    """
    height, width = mask.shape
    xy = lens_positions(cameras, view, height, width)
    seen_col = xy[..., 0].floor().long().clamp(0, width - 1)
    seen_row = xy[..., 1].floor().long().clamp(0, height - 1)
    return mask[seen_row, seen_col]


def lens_positions(cameras: Cameras, view: int, height: int, width: int) -> Float[Tensor, "{height} {width} 2"]:
    """Where in the photograph (column, row) that is which a pinhole with the same intrinsics sees at each pixel."""
    row, col = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    focal = torch.cat((cameras.fx[view], cameras.fy[view]))
    centre = torch.cat((cameras.cx[view], cameras.cy[view]))
    uv = (torch.stack((col, row), dim=-1) - centre) / focal
    if int(cameras.camera_type[view]) == CameraType.FISHEYE.value:
        radius = uv.norm(dim=-1, keepdim=True)
        uv = uv * torch.atan(radius) / radius.clamp(min=1e-9)
    if cameras.distortion_params is not None:
        uv = distort(uv, cameras.distortion_params[view])
    return uv * focal + centre


def distort(uv: Float[Tensor, "*batch 2"], params: Float[Tensor, "*#batch 6"]) -> Float[Tensor, "*batch 2"]:
    """Lens distortion of image-plane points by nerfstudio's k1 k2 k3 k4 p1 p2; the inverse of its undistortion.

    One lens for all points, or one for each.
    """
    k1, k2, k3, k4, p1, p2 = params.unbind(-1)
    u, v = uv.unbind(-1)
    square = u * u + v * v
    radial = 1.0 + square * (k1 + square * (k2 + square * (k3 + square * k4)))
    return torch.stack(
        (
            radial * u + 2.0 * p1 * u * v + p2 * (square + 2.0 * u * u),
            radial * v + 2.0 * p2 * u * v + p1 * (square + 2.0 * v * v),
        ),
        dim=-1,
    )
