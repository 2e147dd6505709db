"""The distance network on points and their taps as one node of the graph: distances everywhere, the feature once.

With rows (x, e) of a point and of its taps, a = W_x x + W_e e + b and h = softplus_beta(a):

    distance = w . h + b_0 on every row,      feature = W_f h + b_f on the points' own rows only

Backward, with u = dL/ddistance and v = dL/dfeature (zero on taps), sigma = softplus' = 1 - exp(-beta h):

    dL/da = sigma * (u w + v W_f),      dL/d(x, e) = dL/da [W_x W_e]

The taps are four fifths of the rows, so what is kept for the backward pass (the rows and h) and what is never made (the
taps' features and their gradients) decides what a step costs.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from neus_ns.fields.softplus import softplus


def sdf_on_stencil(
    points: Float[Tensor, "points 3"],
    offsets: Float[Tensor, "rows 3"],
    encoded: Float[Tensor, "points rows width"],
    hidden: torch.nn.Linear,
    output: torch.nn.Linear,
    beta: float,
) -> tuple[Float[Tensor, "points rows"], Float[Tensor, "points channels"]]:
    """Distances at points + offsets, and the feature at the first offset (the point itself)."""
    return _SdfOnStencil.apply(  # type: ignore[return-value]
        points, encoded, offsets, hidden.weight, hidden.bias, output.weight, output.bias, beta
    )


class _SdfOnStencil(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        encoded: Tensor,
        offsets: Tensor,
        hidden_weight: Tensor,
        hidden_bias: Tensor,
        output_weight: Tensor,
        output_bias: Tensor,
        beta: float,
    ) -> tuple[Tensor, Tensor]:
        shape = encoded.shape[:2]
        rows = torch.cat([points[:, None] + offsets, encoded], 2).flatten(0, 1)
        after = softplus(torch.addmm(hidden_bias, rows, hidden_weight.t()), beta)
        distance = torch.mv(after, output_weight[0]).add_(output_bias[0]).view(shape)
        own = after.unflatten(0, shape)[:, 0]
        feature = torch.addmm(output_bias[1:], own, output_weight[1:].t())
        ctx.save_for_backward(rows, after, hidden_weight, output_weight)
        ctx.beta = beta
        return distance, feature

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_distance: Tensor, to_feature: Tensor) -> tuple[Tensor | None, ...]:
        rows, after, hidden_weight, output_weight = ctx.saved_tensors
        shape, to_flat = to_distance.shape, to_distance.reshape(-1)
        to_before = torch.outer(to_flat, output_weight[0])
        to_before.unflatten(0, shape)[:, 0].addmm_(to_feature, output_weight[1:])
        to_before.addcmul_(to_before, torch.mul(after, -ctx.beta).exp_(), value=-1)
        own = after.unflatten(0, shape)[:, 0]
        to_output_weight = torch.cat([torch.mv(after.t(), to_flat)[None], to_feature.t() @ own])
        to_output_bias = torch.cat([to_flat.sum()[None], to_feature.sum(0)])
        to_encoded = (to_before @ hidden_weight[:, 3:]).unflatten(0, shape)
        to_points = None
        if ctx.needs_input_grad[0]:
            to_points = to_before.unflatten(0, shape).sum(1) @ hidden_weight[:, :3]
        to_hidden_weight, to_hidden_bias = to_before.t() @ rows, to_before.sum(0)
        return to_points, to_encoded, None, to_hidden_weight, to_hidden_bias, to_output_weight, to_output_bias, None
