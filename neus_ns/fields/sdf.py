"""The signed distance network: hash grid, one hidden softplus layer, and its gradient in closed form.

    a = W_x x + W_e e(x) + b        h = softplus_beta(a)        (f, feature) = W_o h + b_o
    df/de = W_e^T (sigma(beta a) * w_f),    n = W_x^T (sigma(beta a) * w_f) + J_e^T df/de

Both come from the grid's jet in one node of the graph (`sdf_function`), so a loss on the gradient (eikonal, normals in
the colour network) trains by one ordinary backward: no double-backward graph.

Geometric initialisation: the hidden layer holds evenly spread unit directions u_k, for which mean_k relu(u_k . x) = |x|
/ 4. The network therefore starts as |x| - radius (or its negative, for scenes seen from inside), grid features not yet
heard.
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.feature_grid import FeatureGrid
from neus_ns.fields.hash_grid import HashGrid
from neus_ns.fields.mlp import even_directions
from neus_ns.fields.sdf_function import sdf_and_gradient
from neus_ns.fields.softplus import softplus
from neus_ns.kernels.threads import on_threads, runs

BETA = 100.0


@dataclass(frozen=True)
class SdfSample:
    """What the field says at a batch of points of the unit frame."""

    sdf: Float[Tensor, " points"]
    gradient: Float[Tensor, "points 3"]
    feature: Float[Tensor, "points channels"]
    laplacian: Float[Tensor, " points"] | None = None
    """Sum of the distance's second derivatives; None from networks that do not know it."""


class SdfNetwork(nn.Module):
    """Signed distance and a feature for colour, at points of the unit frame; positive outside."""

    def __init__(self, grid: FeatureGrid, width: int, features: int, initial_radius: float, inside_out: bool) -> None:
        super().__init__()
        self.grid = grid
        self.hidden = nn.Linear(3 + grid.width, width)
        self.output = nn.Linear(width, 1 + features)
        self._initialise(initial_radius, inside_out)

    @torch.no_grad()
    def _initialise(self, radius: float, inside_out: bool) -> None:
        width = self.hidden.out_features
        self.hidden.weight[:, :3] = even_directions(width)
        self.hidden.weight[:, 3:].normal_(0, (2 / width) ** 0.5)
        self.hidden.bias.zero_()
        self.output.weight[0] = 4 / width
        self.output.weight[1:].normal_(0, (1 / width) ** 0.5)
        # A softplus lies log(2)/beta above the ReLU at its kink; a fit of the network to |x| starts from its own
        # centre.
        self.output.bias.zero_()
        surface = even_directions(256) * radius
        level = self._distance(surface, self.grid.value(surface)).mean()
        self.output.bias[0] = -level
        if inside_out:
            self.output.weight[0].neg_()
            self.output.bias[0].neg_()

    def _hidden_input(self, points: Tensor, encoded: Tensor) -> Float[Tensor, "points hidden"]:
        return self.hidden(torch.cat([points, encoded], 1))

    def _distance(self, points: Tensor, encoded: Tensor) -> Float[Tensor, " points"]:
        hidden = softplus(self._hidden_input(points, encoded), BETA)
        return hidden @ self.output.weight[0] + self.output.bias[0]

    def sdf(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Signed distance only: the cheap question, for marching, occupancy and extraction."""
        encoded = self.grid.value(points)
        if torch.is_grad_enabled():
            return self._distance(points, encoded)
        parts = runs(len(points), points.device)
        return torch.cat(on_threads([functools.partial(self._distance, points[part], encoded[part]) for part in parts]))

    def sample(self, points: Float[Tensor, "points 3"]) -> SdfSample:
        """Signed distance, its gradient with respect to the points, and the feature."""
        assert isinstance(self.grid, HashGrid), "a grid without jets needs AutogradSdfNetwork"
        jet = self.grid.jet(points, 4)
        output, gradient = sdf_and_gradient(points, jet, self.hidden, self.output, BETA, self.grid.slope_scale)
        return SdfSample(output[:, 0], gradient, output[:, 1:])
