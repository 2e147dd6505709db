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
matrix products are fast at, and products are short where tensor cores make them (`fields.products`). On the CPU runs of
points go through all of it on a thread each (`kernels.threads`), so that what one operation makes is still at hand for
the next.
"""

import functools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from neus_ns.fields.products import padding, short_products
from neus_ns.fields.softplus import awake
from neus_ns.kernels.threads import on_threads, runs, summed_on_threads


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


class _Layers(NamedTuple):
    """Both layers, the hidden one's weight padded with zeros from column `width` on."""

    hidden_weight: Tensor
    hidden_bias: Tensor
    output_weight: Tensor
    output_bias: Tensor
    width: int
    beta: float
    slope_scale: float


class _Kept(NamedTuple):
    """What the backward pass of a run of points wants again."""

    inputs: Tensor
    after: Tensor
    sigma: Tensor
    by_input: Tensor


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
        padded = F.pad(hidden_weight, (0, padding(width)))
        layers = _Layers(padded, hidden_bias, output_weight, output_bias, width, beta, slope_scale)
        output = points.new_empty(len(points), len(output_bias))
        gradient = points.new_empty(len(points), 3)

        def run(part: slice) -> _Kept:
            return _forward(points[part], jet[part], layers, output[part], gradient[part])

        parts = runs(len(points), points.device)
        kept = on_threads([functools.partial(run, part) for part in parts])
        ctx.save_for_backward(jet, *layers[:4], *(tensor for run in kept for tensor in run))
        ctx.constants, ctx.parts = layers[4:], parts
        return output, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_output: Tensor, to_gradient: Tensor) -> tuple[Tensor | None, ...]:
        jet, *tensors = ctx.saved_tensors
        layers = _Layers(*tensors[:4], *ctx.constants)
        kept = [_Kept(*tensors[at : at + 4]) for at in range(4, len(tensors), 4)]
        to_jet = torch.empty_like(jet)
        to_points = torch.empty_like(to_gradient) if ctx.needs_input_grad[0] else None

        def run(part: slice, kept: _Kept) -> tuple[Tensor, ...]:
            return _backward(
                jet[part], layers, kept, to_output[part], to_gradient[part], to_jet[part],
                None if to_points is None else to_points[part],
            )  # fmt: skip

        parts = [functools.partial(run, *part) for part in zip(ctx.parts, kept, strict=True)]
        first, *others = summed_on_threads(parts)
        return to_points, to_jet, first[:, : layers.width].contiguous(), *others, None, None


def _forward(points: Tensor, jet: Tensor, layers: _Layers, output: Tensor, gradient: Tensor) -> _Kept:
    """Fill in output and gradient of a run of points."""
    zeros = points.new_zeros(len(points), padding(layers.width))
    inputs = torch.cat([points, jet[:, 0], zeros], 1)
    with short_products(points.device):
        before = awake(torch.addmm(layers.hidden_bias, inputs, layers.hidden_weight.t()), layers.beta)
        after = F.softplus(before, beta=layers.beta)
        torch.addmm(layers.output_bias, after, layers.output_weight.t(), out=output)
        sigma = before.mul_(layers.beta).sigmoid_()
        by_input = (sigma * layers.output_weight[0]) @ layers.hidden_weight
    by_encoding = by_input[:, 3 : layers.width]
    along = torch.matmul(jet[:, 1:], by_encoding[..., None])[..., 0]
    torch.add(by_input[:, :3], along, alpha=layers.slope_scale, out=gradient)
    return _Kept(inputs, after, sigma, by_input)


def _backward(
    jet: Tensor,
    layers: _Layers,
    kept: _Kept,
    to_output: Tensor,
    to_gradient: Tensor,
    to_jet: Tensor,
    to_points: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fill in what reaches a run's jet and points; returned is what it gives to the layers' weights and biases."""
    weight, width, sigma = layers.output_weight[0], layers.width, kept.sigma
    scaled = to_gradient * layers.slope_scale
    torch.mul(scaled[..., None], kept.by_input[:, None, 3:width], out=to_jet[:, 1:])
    # A batched product of matrices as small as these takes six times as long as three sums.
    to_by_encoding = jet[:, 1] * scaled[:, :1]
    to_by_encoding.addcmul_(jet[:, 2], scaled[:, 1:2]).addcmul_(jet[:, 3], scaled[:, 2:])
    to_by_input = torch.cat([to_gradient, to_by_encoding, to_gradient.new_zeros(len(jet), padding(width))], 1)

    with short_products(jet.device):
        to_slope = to_by_input @ layers.hidden_weight.t()
        to_hidden_weight = (sigma * weight).t() @ to_by_input
        to_output_weight = to_output.t() @ kept.after
        to_slope_sigma = to_slope.mul_(sigma)
        to_output_weight[0] += to_slope_sigma.sum(0)

        # beta sigma (1 - sigma) w dL/dpre = (beta w) (s - sigma s), s being sigma dL/dpre.
        to_before = torch.addcmul(to_slope_sigma, sigma, to_slope_sigma, value=-1).mul_(weight * layers.beta)
        to_before.addcmul_(sigma, to_output @ layers.output_weight)
        to_hidden_weight.addmm_(to_before.t(), kept.inputs)
        to_inputs = to_before @ layers.hidden_weight
    to_jet[:, 0] = to_inputs[:, 3:width]
    if to_points is not None:
        to_points.copy_(to_inputs[:, :3])
    return to_hidden_weight, to_before.sum(0), to_output_weight, to_output.sum(0)
