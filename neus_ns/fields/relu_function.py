"""A ReLU network as one node of the graph.

    x_0 = the inputs side by side,    x_k = relu(W_k x_{k-1} + b_k),    output = W_n x_{n-1} + b_n

Backward, with u = dL/doutput and then dL/da_k of the layer before: dL/dW_k = u^T x_{k-1}, dL/db_k = sum u, and what the
layer before hears is u W_k where x_{k-1} > 0.

On the CPU runs of points go through all layers on a thread each (`kernels.threads`), so that what one layer makes is
still at hand for the next; products are short where tensor cores make them (`fields.products`).
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from neus_ns.fields.products import padding, short_products
from neus_ns.kernels.threads import on_threads, runs, summed_on_threads


def relu_network(
    inputs: Sequence[Float[Tensor, "points _"]], layers: Sequence[nn.Linear]
) -> Float[Tensor, "points outputs"]:
    """The last layer's output; its gradient cannot be differentiated again."""
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    return _ReluNetwork.apply(len(inputs), *inputs, *parameters)  # type: ignore[return-value]


class _ReluNetwork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, number: int, *tensors: Tensor) -> Tensor:
        inputs, (first, *others) = tensors[:number], tensors[number:]
        width = first.shape[1]
        layers = [F.pad(first, (0, padding(width))), *others]
        output = inputs[0].new_empty(len(inputs[0]), len(layers[-1]))

        def run(part: slice) -> list[Tensor]:
            return _forward([tensor[part] for tensor in inputs], layers, output[part])

        parts = runs(len(output), output.device)
        kept = on_threads([functools.partial(run, part) for part in parts])
        ctx.save_for_backward(*layers, *(tensor for run in kept for tensor in run))
        ctx.parts, ctx.layers, ctx.widths = parts, len(layers), [tensor.shape[1] for tensor in inputs]
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_output: Tensor) -> tuple[Tensor | None, ...]:
        layers, tensors = ctx.saved_tensors[: ctx.layers], ctx.saved_tensors[ctx.layers :]
        depth = len(layers) // 2
        kept = [tensors[at : at + depth] for at in range(0, len(tensors), depth)]
        wanted = ctx.needs_input_grad[1 : 1 + len(ctx.widths)]
        to_inputs = to_output.new_empty(len(to_output), layers[0].shape[1]) if any(wanted) else None

        def run(part: slice, kept: Sequence[Tensor]) -> list[Tensor]:
            return _backward(layers, kept, to_output[part], None if to_inputs is None else to_inputs[part])

        parts = [functools.partial(run, *part) for part in zip(ctx.parts, kept, strict=True)]
        first, *others = summed_on_threads(parts)
        split = [None] * len(wanted) if to_inputs is None else to_inputs[:, : sum(ctx.widths)].split(ctx.widths, 1)
        return (
            None,
            *(tensor if want else None for tensor, want in zip(split, wanted, strict=True)),
            first[:, : sum(ctx.widths)].contiguous(),
            *others,
        )


def _forward(inputs: Sequence[Tensor], layers: Sequence[Tensor], output: Tensor) -> list[Tensor]:
    """Fill in the output of a run of points; returned is what goes into each layer."""
    width = sum(tensor.shape[1] for tensor in inputs)
    into = [torch.cat([*inputs, output.new_zeros(len(output), padding(width))], 1)]
    with short_products(output.device):
        for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            into.append(torch.addmm(bias, into[-1], weight.t()).relu_())
        torch.addmm(layers[-1], into[-1], layers[-2].t(), out=output)
    return into


def _backward(
    layers: Sequence[Tensor], into: Sequence[Tensor], to_output: Tensor, to_inputs: Tensor | None
) -> list[Tensor]:
    """Fill in what reaches a run's inputs; returned is what it gives to the layers' weights and biases."""
    shares: list[Tensor] = []
    heard = to_output
    with short_products(heard.device):
        for layer in reversed(range(len(into))):
            weight, entered = layers[2 * layer], into[layer]
            shares = [heard.t() @ entered, heard.sum(0), *shares]
            if layer > 0:
                heard = torch.ops.aten.threshold_backward(heard @ weight, entered, 0)
            elif to_inputs is not None:
                torch.mm(heard, weight, out=to_inputs)
    return shares
