"""Where nerfstudio's cameras show points, lens distortion included: the inverse of the rays they cast."""

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from neus_ns.data.pinhole_views import distort


def photographed(
    cameras: Cameras, view: Int[Tensor, " pairs"], points: Float[Tensor, "pairs 3"]
) -> tuple[Float[Tensor, "pairs 2"], Float[Tensor, " pairs"]]:
    """Column and row of each point in the photograph of its view, and its depth there; float64.

    The cameras are perspective or fisheye. Where the depth is not positive the place means nothing.
    """
    pose = cameras.camera_to_worlds[view].double()
    local = torch.einsum("pij,pi->pj", pose[:, :, :3], points.double() - pose[:, :, 3])
    depth = -local[:, 2]
    uv = torch.stack([local[:, 0], -local[:, 1]], dim=-1) / torch.where(depth > 0, depth, 1.0)[:, None]
    radius = uv.norm(dim=-1, keepdim=True)
    fisheye = cameras.camera_type[view] == CameraType.FISHEYE.value
    uv = torch.where(fisheye, uv * torch.atan(radius) / radius.clamp_min(1e-12), uv)
    if cameras.distortion_params is not None:
        uv = distort(uv, cameras.distortion_params[view].double())
    focal = torch.cat((cameras.fx[view], cameras.fy[view]), dim=-1)
    centre = torch.cat((cameras.cx[view], cameras.cy[view]), dim=-1)
    return uv * focal + centre, depth
