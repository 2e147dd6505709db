"""The colour network: what a point of the surface looks like from where one stands."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.looking import Looking
from neus_ns.fields.mlp import ReluMlp


class ColourNetwork(nn.Module):
    """Colour in [0, 1] from position, way of looking, raw SDF gradient, the SDF network's feature, and appearance.

    `view_strength`, set by schedule, scales all that depends on where one looks from. While it is zero a wrong surface
    cannot be excused by colours that change with the viewpoint, so it has to move.
    """

    def __init__(self, looking: Looking, features: int, appearance: int, width: int, hidden_layers: int) -> None:
        super().__init__()
        self.view_strength = 1.0
        self._looking = looking
        self.layers = ReluMlp(6 + looking.width + features + appearance, width, hidden_layers, 3)

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        gradient: Float[Tensor, "points 3"],
        feature: Float[Tensor, "points channels"],
        appearance: Float[Tensor, "points embedding"],
    ) -> Float[Tensor, "points 3"]:
        view = self._view(directions, gradient)
        return torch.sigmoid(self.layers(points, gradient, view, feature, appearance))

    def _view(
        self, directions: Float[Tensor, "points 3"], gradient: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points width"]:
        # What is not heard need not be worked out: the encoding is a fifth of the network's time.
        if self.view_strength == 0:
            return directions.new_zeros(len(directions), self._looking.width)
        return self._looking.encode(directions, gradient) * self.view_strength
