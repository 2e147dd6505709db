"""Small rigid motions as six numbers: a rotation vector (axis times angle) and a translation, x -> R x + t."""

import torch
from jaxtyping import Float
from torch import Tensor

# Below this squared angle the quotients of the rotation's formula are read from their series, which lose nothing there.
_SMALL_SQUARE = 1e-4


def rotation_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula, I + a K + b K^2 with a = sin(angle) / angle and b = (1 - cos(angle)) / angle^2.

    Its derivative exists everywhere, at no rotation as well.
    """
    square = axis_angle.square().sum(-1)
    is_small = square < _SMALL_SQUARE
    # The branch that is not taken must be finite too, or its gradient would turn zero times infinity into NaN.
    safe = torch.where(is_small, torch.ones_like(square), square)
    angle = safe.sqrt()
    series_a = 1 - square / 6 * (1 - square / 20)
    series_b = 0.5 - square / 24 * (1 - square / 30)
    a = torch.where(is_small, series_a, torch.sin(angle) / angle)
    b = torch.where(is_small, series_b, (1 - torch.cos(angle)) / safe)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + a[..., None, None] * cross + b[..., None, None] * (cross @ cross)


def moved_poses(poses: Float[Tensor, "*batch 3 4"], motion: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 4"]:
    """Camera-to-frame poses after a motion of that frame's points: rotation vector first, then translation."""
    moved = rotation_matrix(motion[..., :3]) @ poses
    return torch.cat([moved[..., :3], moved[..., 3:] + motion[..., 3:, None]], -1)
