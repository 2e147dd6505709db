"""A colour network whose texture is the same from everywhere, and whose sheen is smooth.

    colour = sigmoid(texture(x, n, feature, appearance) + s sheen(x, n, way of looking)),   s the strength of views

Texture as fine as the hash grid's that also changed with the view could imitate parallax: a surface that lies a little
wrong would look right from everywhere. So what changes with the view is smooth. It knows the place by a few long waves,
which is enough for what lies near and is mirrored, and nothing of the hash grid.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.looking import Looking
from neus_ns.fields.mlp import ReluMlp

# Waves by which the sheen knows the place: so many octaves, the longest of four radii of the region of interest.
_OCTAVES = 3
_LONGEST = 4.0
# Share of its usual size that the sheen's last layer starts with: at first there is next to none.
_QUIET = 0.1


def long_waves(points: Float[Tensor, "points 3"]) -> Float[Tensor, "points waves"]:
    """Sines and cosines of positions, of long wavelengths only."""
    phases = torch.cat([points * (2 * torch.pi / _LONGEST * 2**octave) for octave in range(_OCTAVES)], 1)
    return torch.cat([phases.sin(), phases.cos()], 1)


class TextureAndSheen(nn.Module):
    """Takes the place of `fields.colour.ColourNetwork`: the same inputs, and the same `view_strength`."""

    def __init__(self, looking: Looking, features: int, appearance: int, width: int, hidden_layers: int) -> None:
        super().__init__()
        self.view_strength = 1.0
        self.looking = looking
        self.texture = ReluMlp(6 + features + appearance, width, hidden_layers, 3)
        self.sheen = ReluMlp(6 + 6 * _OCTAVES + looking.width, width, hidden_layers, 3)
        last = self.sheen[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(_QUIET)
            last.bias.zero_()

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        gradient: Float[Tensor, "points 3"],
        feature: Float[Tensor, "points channels"],
        appearance: Float[Tensor, "points embedding"],
    ) -> Float[Tensor, "points 3"]:
        seen = self.texture(points, gradient, feature, appearance)
        # What is not heard need not be worked out.
        if self.view_strength > 0:
            view = self.looking.encode(directions, gradient)
            seen = seen + self.view_strength * self.sheen(points, long_waves(points), gradient, view)
        return torch.sigmoid(seen)
