"""The signed distance network on a grid that knows values only: the gradient comes from torch's autograd.

A loss on the gradient then differentiates the encoding twice, which costs more than a jet and is what grids of other
packages offer.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.fields.sdf import BETA, SdfNetwork, SdfSample
from neus_ns.fields.softplus import softplus


class AutogradSdfNetwork(SdfNetwork):
    """`SdfNetwork` for any grid whose values torch can differentiate, twice where the gradient is trained."""

    def sample(self, points: Float[Tensor, "points 3"]) -> SdfSample:
        """Signed distance, its gradient with respect to the points, and the feature."""
        trains = torch.is_grad_enabled()
        with torch.enable_grad():
            at = points if trains and points.requires_grad else points.detach().requires_grad_()
            inputs = torch.cat([at, self.grid.value(at)], 1)
            output = self.output(softplus(self.hidden(inputs), BETA))
            (gradient,) = torch.autograd.grad(output[:, 0].sum(), at, create_graph=trains)
        if not trains:
            output = output.detach()
        return SdfSample(output[:, 0], gradient, output[:, 1:])
