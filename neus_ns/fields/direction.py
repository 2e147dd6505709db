"""Real spherical harmonics of a direction, up to degree 3 (16 values): the colour networks' view encoding."""

import torch
from jaxtyping import Float
from torch import Tensor

SH_WIDTH = 16


def spherical_harmonics(directions: Float[Tensor, "points 3"]) -> Float[Tensor, "points 16"]:
    """Values of the 16 real spherical harmonics of bands 0 to 3 at unit directions (Condon-Shortley phase left out)."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            0.4886025119029199 * y,
            0.4886025119029199 * z,
            0.4886025119029199 * x,
            1.0925484305920792 * xy,
            1.0925484305920792 * yz,
            0.31539156525252005 * (3 * zz - 1),
            1.0925484305920792 * xz,
            0.5462742152960396 * (xx - yy),
            0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * xy * z,
            0.4570457994644658 * y * (5 * zz - 1),
            0.3731763325901154 * z * (5 * zz - 3),
            0.4570457994644658 * x * (5 * zz - 1),
            1.445305721320277 * z * (xx - yy),
            0.5900435899266435 * x * (xx - 3 * yy),
        ],
        -1,
    )
