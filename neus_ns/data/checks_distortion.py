"""Whether distortion can be undone all over a photograph: some polynomials fold, and rays beyond are noise."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from nerfstudio.cameras.camera_utils import radial_and_tangential_undistort
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from neus_ns.data.pinhole_views import distort
from neus_ns.errors import InputError

# Points across and down a photograph that are looked at.
_ACROSS, _DOWN = 32, 24
# Off by more than so many pixels a point has not come back; such are borne only in the very corners.
_OFF_PX, _SHARE = 1.0, 0.01


def check_distortion_undoes(cameras: Cameras, photographs: Sequence[Path], source: Path) -> None:
    """Raise InputError for the first camera whose distortion nerfstudio cannot undo where its photograph has pixels."""
    fisheye = cameras.camera_type == CameraType.FISHEYE.value
    polynomial = (cameras.camera_type == CameraType.PERSPECTIVE.value) | fisheye
    if cameras.distortion_params is None or not bool(polynomial.any() & cameras.distortion_params.any()):
        return
    numbers = (cameras.fx, cameras.fy, cameras.cx, cameras.cy, cameras.width, cameras.height, fisheye)
    lenses = torch.cat([*(each.double() for each in numbers), cameras.distortion_params.double()], dim=1).cpu()
    distinct, which = lenses.unique(dim=0, return_inverse=True)
    lost = torch.tensor([_share_lost(lens) for lens in distinct])[which] * polynomial[:, 0].cpu()
    if lost.max() > _SHARE:
        view = int(lost.argmax())
        k1, k2, k3, k4 = lenses[view, 7:11].tolist()
        raise InputError(
            f"{source}: the lens distortion of {photographs[view].name} (k1 {k1:g}, k2 {k2:g}, k3 {k3:g}, k4 {k4:g}) "
            f"folds the picture, so {lost[view]:.0%} of its pixels have no line of sight; calibrate with more terms, "
            "or undistort the photographs."
        )


def _share_lost(lens: Float[Tensor, "13"]) -> float:
    focal, centre, size, params = lens[:2], lens[2:4], lens[4:6], lens[7:]
    row, col = torch.meshgrid(torch.linspace(0, 1, _DOWN), torch.linspace(0, 1, _ACROSS), indexing="ij")
    pixels = torch.stack([col, row], -1).view(-1, 2).double() * size
    if lens[6] > 0:
        # Outside of the circle that fits into it many fisheye photographs are black.
        pixels = pixels[(pixels - size / 2).norm(dim=1) <= size.min() / 2]
    seen = (pixels - centre) / focal
    undone = radial_and_tangential_undistort(seen.float(), params.float().expand(len(seen), 6)).double()
    back = distort(undone, params)
    # Beyond the fold distances run backwards: what is nearer to the middle would be seen further out.
    further = distort(1.001 * undone, params)
    forward = (further - back).mul(undone).sum(1) >= 0
    came_back = ((back - seen) * focal).norm(dim=1) < _OFF_PX
    return float((~(came_back & forward)).double().mean())
