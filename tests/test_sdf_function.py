"""The hand-written backward of the distance network, against torch's own double backward in float64."""

import pytest
import torch

from neus_ns.fields.hash_grid import HashGrid
from neus_ns.fields.sdf import SdfNetwork
from neus_ns.fields.softplus import softplus
from neus_ns.kernels.layout import GridLayout

LAYOUT = GridLayout(levels=6, features=2, log2_rows=10, coarsest=4, finest=64)


def network() -> SdfNetwork:
    torch.manual_seed(0)
    grid = HashGrid(LAYOUT, 1.0, "torch")
    field = SdfNetwork(grid, 64, 15, 0.5, False).double()
    torch.nn.init.normal_(grid.table, std=0.3)
    return field


def slowly(field: SdfNetwork, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distance, gradient and feature by plain operations and autograd."""
    hidden = torch.nn.functional.softplus(field.hidden(torch.cat([points, field.grid.value(points)], 1)), beta=100.0)
    output = field.output(hidden)
    (gradient,) = torch.autograd.grad(output[:, 0].sum(), points, create_graph=True)
    return output[:, 0], gradient, output[:, 1:]


def test_a_loss_on_everything_it_gives_trains_all_it_is_made_of():
    field = network()
    generator = torch.Generator().manual_seed(1)
    points = (torch.rand(200, 3, generator=generator, dtype=torch.float64) * 1.6 - 0.8).requires_grad_()
    to_sdf, to_gradient, to_feature = (
        torch.randn(200, *shape, generator=generator, dtype=torch.float64) for shape in ((), (3,), (15,))
    )

    def loss(sdf: torch.Tensor, gradient: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        return (sdf * to_sdf).sum() + (gradient * to_gradient).sum() + (feature.square() * to_feature).sum()

    wanted = [points, *field.parameters()]
    sample = field.sample(points)
    fast = torch.autograd.grad(loss(sample.sdf, sample.gradient, sample.feature), wanted)
    slow = torch.autograd.grad(loss(*slowly(field, points)), wanted)
    for ours, theirs in zip(fast, slow, strict=True):
        # torch takes softplus for a straight line beyond 20, where its curvature is still 2e-9 of its largest.
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-8 * float(theirs.abs().max()))


def test_no_points_give_no_gradient_and_no_error():
    field = network()
    sample = field.sample(torch.zeros(0, 3, dtype=torch.float64))
    (sample.sdf.sum() + sample.gradient.sum() + sample.feature.sum()).backward()
    for parameter in field.parameters():
        assert parameter.grad is not None and not parameter.grad.any()


def test_the_distance_alone_is_the_same_in_runs():
    field = network()
    points = torch.rand(9000, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.5
    with torch.no_grad():
        distance = field.sdf(points)
    torch.testing.assert_close(distance, slowly(field, points.requires_grad_())[0].detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sleeping_units_are_no_slow_numbers_and_no_others_change(dtype: torch.dtype):
    before = torch.linspace(-3, 3, 20001, dtype=dtype)
    before.requires_grad_()
    after = softplus(before * 1, 100.0)
    (sigma,) = torch.autograd.grad(after.sum(), before)
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(after, torch.nn.functional.softplus(before, beta=100.0), rtol=0, atol=2 * rounding)
    torch.testing.assert_close(sigma, torch.sigmoid(100 * before), rtol=0, atol=1e-8 + 2 * rounding)
    assert after.min() > rounding / 200
    # Their third powers, which logarithms and losses may come to, have an exponent of their own still.
    assert after.min() ** 3 > torch.finfo(dtype).tiny
