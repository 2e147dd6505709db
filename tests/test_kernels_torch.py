"""The torch reference against autograd on the naive formula, in float64."""

import itertools

import pytest
import torch

from neus_ns.kernels.layout import PRIME_Y, PRIME_Z, GridLayout
from neus_ns.kernels.torch_jet import jet
from neus_ns.kernels.torch_packed import accumulate, weights_from_alpha

LAYOUT = GridLayout(levels=5, features=2, log2_rows=9, coarsest=3, finest=40)


def naive_encode(positions: torch.Tensor, table: torch.Tensor, layout: GridLayout) -> torch.Tensor:
    """One level and one corner at a time, weights as products: slow and obvious."""
    columns = []
    for level, resolution in enumerate(layout.resolutions):
        scaled = positions * resolution
        cell = scaled.detach().floor().clamp(0, resolution - 1)
        fraction = scaled - cell
        total = torch.zeros(len(positions), layout.features, dtype=positions.dtype)
        for dx, dy, dz in itertools.product((0, 1), repeat=3):
            x, y, z = (int_axis.long() for int_axis in (cell + torch.tensor([dx, dy, dz])).unbind(-1))
            if (resolution + 1) ** 3 <= layout.rows:
                row = x + y * (resolution + 1) + z * (resolution + 1) ** 2
            else:
                row = (x ^ (y * PRIME_Y & 0xFFFFFFFF) ^ (z * PRIME_Z & 0xFFFFFFFF)) % layout.rows
            weight = torch.ones(len(positions), dtype=positions.dtype)
            for axis, upper in enumerate((dx, dy, dz)):
                weight = weight * (fraction[:, axis] if upper else 1 - fraction[:, axis])
            total = total + weight[:, None] * table[level, row]
        columns.append(total)
    return torch.cat(columns, 1)


@pytest.fixture
def sample() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    positions = torch.rand(200, 3, generator=generator, dtype=torch.float64)
    positions[:2] = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    table = torch.randn(LAYOUT.levels, LAYOUT.rows, LAYOUT.features, generator=generator, dtype=torch.float64)
    return positions, table


def test_layout_mixes_dense_and_hashed_levels():
    assert any(LAYOUT.dense) and not all(LAYOUT.dense)
    assert LAYOUT.resolutions[0] == 3 and LAYOUT.resolutions[-1] == 40


def test_jet_columns_equal_autograd_of_the_naive_formula(sample):
    positions, table = sample
    positions = positions.requires_grad_()
    value = naive_encode(positions, table, LAYOUT)
    columns = jet(positions.detach(), table, LAYOUT, 7, LAYOUT.levels)
    torch.testing.assert_close(columns[:, 0], value.detach(), rtol=0, atol=1e-12)
    for feature in range(LAYOUT.width):
        (first,) = torch.autograd.grad(value[:, feature].sum(), positions, create_graph=True)
        torch.testing.assert_close(columns[:, 1:4, feature], first.detach(), rtol=1e-12, atol=1e-10)
        second = [torch.autograd.grad(first[:, axis].sum(), positions, retain_graph=True)[0] for axis in range(2)]
        mixed = torch.stack([second[0][:, 1], second[0][:, 2], second[1][:, 2]], 1)
        torch.testing.assert_close(columns[:, 4:7, feature], mixed, rtol=1e-12, atol=1e-9)


def test_table_gradient_of_an_eikonal_loss_equals_double_backward(sample):
    positions, table = sample
    head = torch.randn(LAYOUT.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    by_jet = table.clone().requires_grad_()
    normal = jet(positions, by_jet, LAYOUT, 4, LAYOUT.levels)[:, 1:] @ head
    ((normal.norm(dim=-1) - 1) ** 2).mean().backward()
    by_autograd = table.clone().requires_grad_()
    moving = positions.clone().requires_grad_()
    (normal,) = torch.autograd.grad((naive_encode(moving, by_autograd, LAYOUT) @ head).sum(), moving, create_graph=True)
    ((normal.norm(dim=-1) - 1) ** 2).mean().backward()
    assert by_jet.grad is not None and by_autograd.grad is not None
    torch.testing.assert_close(by_jet.grad, by_autograd.grad, rtol=1e-10, atol=1e-12)


def test_inactive_levels_are_zero_and_learn_nothing(sample):
    positions, table = sample
    table = table.requires_grad_()
    columns = jet(positions, table, LAYOUT, 4, 2)
    assert columns[:, :, 2 * LAYOUT.features :].abs().max() == 0
    columns.square().sum().backward()
    assert table.grad is not None and table.grad[2:].abs().max() == 0 and table.grad[:2].abs().max() > 0


def test_no_points_is_no_error(sample):
    assert jet(torch.zeros(0, 3, dtype=torch.float64), sample[1], LAYOUT, 4, 5).shape == (0, 4, LAYOUT.width)


def naive_weights(alpha: torch.Tensor, ray_index: torch.Tensor, num_rays: int) -> torch.Tensor:
    parts = []
    for ray in range(num_rays):
        clear = torch.ones((), dtype=alpha.dtype)
        for a in alpha[ray_index == ray]:
            parts.append(clear * a)
            clear = clear * (1 - a)
    return torch.stack(parts)


def test_packed_weights_and_gradient_equal_a_loop():
    generator = torch.Generator().manual_seed(0)
    ray_index = torch.tensor([0, 0, 0, 2, 2, 3, 3, 3, 3, 3])  # ray 1 and ray 4 meet nothing
    alpha = (0.95 * torch.rand(10, generator=generator, dtype=torch.float64)).requires_grad_()
    probe = torch.randn(10, generator=generator, dtype=torch.float64)
    weights, transmittance = weights_from_alpha(alpha, ray_index, 5)
    slow = naive_weights(alpha, ray_index, 5)
    torch.testing.assert_close(weights, slow)
    torch.testing.assert_close(transmittance * alpha, slow)
    (fast_gradient,) = torch.autograd.grad((weights * probe).sum(), alpha)
    (slow_gradient,) = torch.autograd.grad((slow * probe).sum(), alpha)
    torch.testing.assert_close(fast_gradient, slow_gradient)
    assert (accumulate(weights[:, None], ray_index, 5) <= 1 + 1e-12).all()


def test_an_opaque_sample_hides_what_is_behind():
    weights, _ = weights_from_alpha(torch.tensor([0.0, 1.0, 0.7]), torch.zeros(3, dtype=torch.long), 1)
    torch.testing.assert_close(weights, torch.tensor([0.0, 1.0, 0.0]), atol=1e-7, rtol=0)


def test_empty_batches_composite_to_nothing():
    weights, _ = weights_from_alpha(torch.zeros(0), torch.zeros(0, dtype=torch.long), 3)
    assert accumulate(weights[:, None], torch.zeros(0, dtype=torch.long), 3).tolist() == [[0.0]] * 3
