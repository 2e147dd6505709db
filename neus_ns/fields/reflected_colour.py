"""A colour network for gloss: it looks along the mirrored view direction (after Ref-NeRF, Verbin et al. 2022).

What a glossy point shows is what lies in the mirrored direction. All points of a mirror share that picture of the
surroundings, so it can be learned once, and where it appears then says how the surface is turned: the gradient through
the normal is what shapes the surface (without it, it is worse than no reflection at all). From the view direction alone
every point would need a picture of its own, and a moving highlight is sooner explained by a dent.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.direction import SH_WIDTH, spherical_harmonics
from neus_ns.fields.mlp import relu_mlp


def mirrored(
    directions: Float[Tensor, "points 3"], normals: Float[Tensor, "points 3"]
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 1"]]:
    """View directions mirrored at unit normals, where the light that is seen comes from; cosine of the angle between
    the normal and the way back to the eye."""
    facing = -(directions * normals).sum(-1, keepdim=True)
    return directions + 2 * facing * normals, facing


class ReflectedColourNetwork(nn.Module):
    """Colour in [0, 1] from position, mirrored view direction, raw SDF gradient, the SDF network's feature, and
    appearance.

    How much is mirrored depends on how obliquely one looks (Fresnel), so the cosine of that angle is an input as well.
    `view_strength`, set by schedule, scales both.
    """

    def __init__(self, features: int, appearance: int, width: int, hidden_layers: int) -> None:
        super().__init__()
        self.view_strength = 1.0
        self.layers = relu_mlp(7 + SH_WIDTH + features + appearance, width, hidden_layers, 3)

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        gradient: Float[Tensor, "points 3"],
        feature: Float[Tensor, "points channels"],
        appearance: Float[Tensor, "points embedding"],
    ) -> Float[Tensor, "points 3"]:
        reflected, facing = mirrored(directions, F.normalize(gradient, dim=-1))
        view = torch.cat([spherical_harmonics(reflected), facing], 1) * self.view_strength
        inputs = torch.cat([points, gradient, view, feature, appearance], 1)
        return torch.sigmoid(self.layers(inputs))
