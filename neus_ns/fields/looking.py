"""What the colour network is told of the way one looks: the view direction, that mirrored at the surface, or both.

What a glossy point shows is what lies in the mirrored direction (Ref-NeRF, Verbin et al. 2022). All points of a mirror
share that picture of the surroundings, so it can be learned once, and where it appears then says how the surface is
turned: the gradient through the normal is what shapes the surface (without it, it is worse than no reflection at all).
From the view direction alone every point would need a picture of its own, and a moving highlight is sooner explained by
a dent. Told both, the network takes what fits where (UniSDF, Wang et al. 2023, blends two networks for that).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from neus_ns.fields.direction import SH_WIDTH, spherical_harmonics

ColourDirection = Literal["view", "reflected", "both"]
EncodeFn = Callable[[Float[Tensor, "points 3"], Float[Tensor, "points 3"]], Float[Tensor, "points width"]]


@dataclass(frozen=True)
class Looking:
    """Encodes view directions at points of these SDF gradients in `width` numbers."""

    encode: EncodeFn
    width: int


def mirrored(
    directions: Float[Tensor, "points 3"], normals: Float[Tensor, "points 3"]
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 1"]]:
    """View directions mirrored at unit normals, where the light that is seen comes from; cosine of the angle between
    the normal and the way back to the eye."""
    facing = -(directions * normals).sum(-1, keepdim=True)
    return directions + 2 * facing * normals, facing


def along_view(
    directions: Float[Tensor, "points 3"], gradient: Float[Tensor, "points 3"]
) -> Float[Tensor, "points width"]:
    """The view direction, whatever way the surface is turned."""
    return spherical_harmonics(directions)


def along_mirrored(
    directions: Float[Tensor, "points 3"], gradient: Float[Tensor, "points 3"]
) -> Float[Tensor, "points width"]:
    """The mirrored direction. How much is mirrored depends on how obliquely one looks (Fresnel), so the cosine of that
    angle is told as well."""
    reflected, facing = mirrored(directions, F.normalize(gradient, dim=-1))
    return torch.cat([spherical_harmonics(reflected), facing], 1)


def along_both(
    directions: Float[Tensor, "points 3"], gradient: Float[Tensor, "points 3"]
) -> Float[Tensor, "points width"]:
    """The view direction and the mirrored one."""
    return torch.cat([along_view(directions, gradient), along_mirrored(directions, gradient)], 1)


LOOKING: dict[ColourDirection, Looking] = {
    "view": Looking(along_view, SH_WIDTH),
    "reflected": Looking(along_mirrored, SH_WIDTH + 1),
    "both": Looking(along_both, 2 * SH_WIDTH + 1),
}
