"""The distance network's arithmetic as one node of the graph: values and gradients forward, everything backward.

With a = W_x x + W_e e + b, sigma = sigmoid(beta a), w the distance's row of W_o, and the jet J = (e, e_1, e_2, e_3):

    output   = W_o softplus_beta(a) + b_o
    g        = (sigma * w) [W_x W_e]                        the distance's gradient at the layer's input
    n_k      = g_x[k] + c e_k . g_e                         its gradient at the point, c the jet's slope scale

Backward, with u = dL/doutput and v = dL/dn:

    dL/dg    = (v, c sum_k v_k e_k)          dL/de_k = c v_k g_e
    dL/dpre  = dL/dg [W_x W_e]^T             (what reaches sigma * w)
    dL/da    = sigma * (u W_o) + beta sigma (1 - sigma) w * dL/dpre
    dL/d(x, e) = dL/da [W_x W_e]

Composed of torch's own operations the same arithmetic keeps twice the temporaries, and its backward fills and adds a
zeroed jet for every slice that was taken of it. The layer's input (x, e) carries columns of zeros up to a width that
matrix products are fast at, and products are short where tensor cores make them (`fields.products`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from neus_ns.fields.mlp import padding
from neus_ns.fields.products import short_products


def sdf_and_gradient(
    points: Float[Tensor, "points 3"],
    jet: Float[Tensor, "points 4 width"],
    hidden: torch.nn.Linear,
    output: torch.nn.Linear,
    beta: float,
    slope_scale: float,
) -> tuple[Float[Tensor, "points outputs"], Float[Tensor, "points 3"]]:
    """The output layer's columns (the first is the distance) and the distance's gradient with respect to the points."""
    return _SdfAndGradient.apply(  # type: ignore[return-value]
        points, jet, hidden.weight, hidden.bias, output.weight, output.bias, beta, slope_scale
    )


class _SdfAndGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        jet: Tensor,
        hidden_weight: Tensor,
        hidden_bias: Tensor,
        output_weight: Tensor,
        output_bias: Tensor,
        beta: float,
        slope_scale: float,
    ) -> tuple[Tensor, Tensor]:
        width = hidden_weight.shape[1]
        zeros = points.new_zeros(len(points), padding(width))
        hidden_weight = F.pad(hidden_weight, (0, padding(width)))
        inputs = torch.cat([points, jet[:, 0], zeros], 1)
        with short_products(points.device):
            before = torch.addmm(hidden_bias, inputs, hidden_weight.t())
            after = F.softplus(before, beta=beta)
            output = torch.addmm(output_bias, after, output_weight.t())
            sigma = before.mul_(beta).sigmoid_()
            by_input = (sigma * output_weight[0]) @ hidden_weight
        by_encoding = by_input[:, 3:width]
        gradient = torch.matmul(jet[:, 1:], by_encoding[..., None])[..., 0]
        gradient = by_input[:, :3] + gradient.mul_(slope_scale)
        ctx.save_for_backward(jet, inputs, hidden_weight, output_weight, after, sigma, by_input)
        ctx.beta, ctx.slope_scale, ctx.width = beta, slope_scale, width
        return output, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_output: Tensor, to_gradient: Tensor) -> tuple[Tensor | None, ...]:
        jet, inputs, hidden_weight, output_weight, after, sigma, by_input = ctx.saved_tensors
        weight, width = output_weight[0], ctx.width
        scaled = to_gradient * ctx.slope_scale
        to_jet = torch.empty_like(jet)
        torch.mul(scaled[..., None], by_input[:, None, 3:width], out=to_jet[:, 1:])
        # A batched product of matrices as small as these takes six times as long as three sums.
        to_by_encoding = jet[:, 1] * scaled[:, :1]
        to_by_encoding.addcmul_(jet[:, 2], scaled[:, 1:2]).addcmul_(jet[:, 3], scaled[:, 2:])
        to_by_input = torch.cat([to_gradient, to_by_encoding, to_gradient.new_zeros(len(jet), padding(width))], 1)

        with short_products(jet.device):
            to_slope = to_by_input @ hidden_weight.t()
            to_hidden_weight = (sigma * weight).t() @ to_by_input
            to_output_weight = to_output.t() @ after
            to_slope_sigma = to_slope.mul_(sigma)
            to_output_weight[0] += to_slope_sigma.sum(0)

            # beta sigma (1 - sigma) w dL/dpre = (beta w) (s - sigma s), s being sigma dL/dpre.
            to_before = torch.addcmul(to_slope_sigma, sigma, to_slope_sigma, value=-1).mul_(weight * ctx.beta)
            to_before.addcmul_(sigma, to_output @ output_weight)
            to_hidden_weight.addmm_(to_before.t(), inputs)
            to_inputs = to_before @ hidden_weight
        to_jet[:, 0] = to_inputs[:, 3:width]
        to_points = to_inputs[:, :3] if ctx.needs_input_grad[0] else None
        return (
            to_points,
            to_jet,
            to_hidden_weight[:, :width].contiguous(),
            to_before.sum(0),
            to_output_weight,
            to_output.sum(0),
            None,
            None,
        )
