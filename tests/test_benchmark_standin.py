"""The stand-in for tiny-cuda-nn encodes as nerfstudio's torch hash grid does, and can be differentiated twice."""

import math

import pytest
import torch
from nerfstudio.field_components.encodings import HashEncoding

from tests.benchmarks.standin.tinycudann import Encoding


def encoding_config(levels: int = 4) -> dict:
    """What nerfstudio hands to tiny-cuda-nn for a grid of 4 to 32 cells."""
    growth = math.exp((math.log(32) - math.log(4)) / (levels - 1))
    return HashEncoding.get_tcnn_encoding_config(levels, 2, 8, 4, growth, "Smoothstep")


def test_encodes_as_nerfstudio_does():
    standin = Encoding(n_input_dims=3, encoding_config=encoding_config())
    reference = HashEncoding(4, 4, 32, 8, 2, implementation="torch")
    standin.load_state_dict({"params": reference.hash_table.detach()})
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    assert standin.n_output_dims == reference.get_out_dim() == 8
    assert torch.equal(standin(points), reference(points))
    assert [name for name, _ in standin.named_parameters()] == ["params"]


def test_the_seed_decides_the_table_and_nobody_elses_numbers():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, again, other = (Encoding(3, encoding_config(), seed).params for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.rand(1), expected)


def test_gradients_of_a_loss_on_gradients():
    standin = Encoding(3, encoding_config()).double()
    torch.nn.init.normal_(standin.params, generator=torch.Generator().manual_seed(1))
    points = torch.rand(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()

    def loss() -> torch.Tensor:
        (slope,) = torch.autograd.grad(standin(points).square().sum(), points, create_graph=True)
        return (slope.norm(dim=-1) - 1).square().mean()

    (by_autograd,) = torch.autograd.grad(loss(), standin.params)
    row, step = int(by_autograd.abs().sum(1).argmax()), 1e-6
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            standin.params[row, 0] += sign * step
        sides.append(float(loss()))
        with torch.no_grad():
            standin.params[row, 0] -= sign * step
    assert float(by_autograd[row, 0]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-5)


def test_what_it_does_not_have_it_refuses():
    with pytest.raises(RuntimeError, match="hash grids"):
        Encoding(3, encoding_config() | {"otype": "DenseGrid"})
