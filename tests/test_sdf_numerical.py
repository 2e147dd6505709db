"""Laws of the numerical gradient: what the taps tend to, what they get exactly right, and what they train."""

import pytest
import torch

from neus_ns.fields.hash_grid import HashGrid
from neus_ns.fields.numerical_field import NumericalFieldConfig
from neus_ns.fields.sdf import BETA
from neus_ns.fields.sdf_numerical import NumericalAutogradSdfNetwork, NumericalSdfNetwork, gradient_and_laplacian
from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.taps import tap_offsets

LAYOUT = GridLayout(levels=6, features=2, log2_rows=10, coarsest=4, finest=64)


def network(taps: int = 4, backend: str = "torch", step_cells: float = 1.0) -> NumericalSdfNetwork:
    torch.manual_seed(0)
    grid = HashGrid(LAYOUT, 1.0, backend)  # type: ignore[arg-type]
    field = NumericalSdfNetwork(grid, 64, 15, 0.5, False, taps, step_cells)
    torch.nn.init.normal_(grid.table, std=0.1)
    return field


def points_in_box(count: int = 200) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8


@pytest.mark.parametrize("taps", [4, 6])
def test_gradients_tend_to_the_analytic_ones_as_the_step_shrinks(taps):
    field = network(taps).double()
    points = points_in_box().double()
    field.analytic = True
    exact = field.sample(points).gradient.detach()
    field.analytic = False
    errors = []
    for step_cells in (3e-2, 3e-3, 3e-4):
        field.step_cells = step_cells
        # A tap in the next cell sees another slope; of such points there are fewer the smaller the step.
        errors.append(float((field.sample(points).gradient - exact).norm(dim=-1).detach().median()))
    # The tetrahedron's error falls with its step, that of pairs with its square.
    assert errors[2] < 1e-3 * float(exact.norm(dim=-1).median())
    assert errors[1] < 0.2 * errors[0] and errors[2] < 0.2 * errors[1]


@pytest.mark.parametrize("taps", [4, 6])
def test_the_laplacian_and_the_pairs_gradient_are_exact_on_quadratics(taps):
    generator = torch.Generator().manual_seed(2)
    hessian = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    hessian = hessian + hessian.T
    slope = torch.randn(3, generator=generator, dtype=torch.float64)
    points = points_in_box(50).double()

    def quadratic(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * torch.einsum("...i,ij,...j", x, hessian, x) + x @ slope

    at_taps = quadratic(points[:, None] + tap_offsets(0.3, taps, points))
    gradient, laplacian = gradient_and_laplacian(at_taps - quadratic(points)[:, None], 0.3)
    torch.testing.assert_close(laplacian, torch.full((50,), float(hessian.trace()), dtype=torch.float64))
    exact = points @ hessian + slope
    if taps == 6:
        torch.testing.assert_close(gradient, exact)
    else:
        # Of a quadratic the tetrahedron mistakes only the mixed derivatives for slope, by an amount that is the same
        # everywhere.
        torch.testing.assert_close(gradient - exact, (gradient - exact)[:1].expand(50, 3))


@pytest.mark.parametrize("taps", [4, 6])
def test_the_hand_written_backward_is_that_of_plain_operations(taps):
    field = network(taps).double()
    points = points_in_box(60).double().requires_grad_()
    generator = torch.Generator().manual_seed(3)
    to_sdf, to_gradient, to_laplacian, to_feature = (
        torch.randn(60, *shape, generator=generator, dtype=torch.float64) for shape in ((), (3,), (), (15,))
    )

    def loss(sdf, gradient, laplacian, feature) -> torch.Tensor:
        first = (sdf * to_sdf).sum() + (gradient * to_gradient).sum()
        return first + (laplacian * to_laplacian).sum() + (feature.square() * to_feature).sum()

    def plainly() -> torch.Tensor:
        tapped = points[:, None] + tap_offsets(field.step, taps, points)
        every = torch.cat([points[:, None], tapped], 1).flatten(0, 1)
        inputs = torch.cat([every, field.grid.value(every)], 1)
        output = field.output(torch.nn.functional.softplus(field.hidden(inputs), beta=BETA)).unflatten(0, (60, -1))
        change = output[:, 1:, 0] - output[:, :1, 0]
        return loss(output[:, 0, 0], *gradient_and_laplacian(change, field.step), output[:, 0, 1:])

    sample = field.sample(points)
    assert sample.laplacian is not None
    wanted = [points, *field.parameters()]
    fast = torch.autograd.grad(loss(sample.sdf, sample.gradient, sample.laplacian, sample.feature), wanted)
    for ours, theirs in zip(fast, torch.autograd.grad(plainly(), wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8 * float(theirs.abs().max()))


def test_masked_levels_receive_no_gradient():
    field = network()
    field.grid.set_active_levels(2)
    sample = field.sample(points_in_box())
    assert sample.laplacian is not None
    (sample.gradient.square().sum() + sample.laplacian.abs().sum() + sample.feature.sum()).backward()
    table = field.grid.table
    assert isinstance(table, torch.nn.Parameter) and table.grad is not None
    assert table.grad[:2].abs().max() > 0 and table.grad[2:].abs().max() == 0


def test_the_step_is_a_cell_of_the_finest_active_level_and_lives_through_a_checkpoint():
    field = network(step_cells=1.5)
    steps = []
    for levels in range(1, 7):
        field.grid.set_active_levels(levels)
        steps.append(field.step)
    assert steps == pytest.approx([1.5 * 2 / resolution for resolution in LAYOUT.resolutions])
    field.grid.set_active_levels(3)
    loaded = network(step_cells=1.5)
    assert loaded.step != field.step
    loaded.load_state_dict(field.state_dict())
    assert loaded.step == field.step
    torch.testing.assert_close(loaded.sample(points_in_box()).gradient, field.sample(points_in_box()).gradient)


@pytest.mark.parametrize("taps", [4, 6])
def test_warp_and_torch_agree(taps):
    results = []
    for backend in ("torch", "warp"):
        field = network(taps, backend)
        sample = field.sample(points_in_box())
        assert sample.laplacian is not None
        (sample.sdf.sum() + sample.gradient.square().sum() + 1e-3 * sample.laplacian.abs().sum()).backward()
        grads = [parameter.grad for parameter in field.parameters()]
        results.append((sample.sdf, sample.gradient, sample.laplacian, *grads))
    for slow, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-4 * float(slow.detach().abs().max()))


def test_no_points_give_no_gradient_and_no_error():
    field = network()
    sample = field.sample(torch.zeros(0, 3))
    (sample.sdf.sum() + sample.gradient.sum() + sample.feature.sum()).backward()
    assert all(float(parameter.grad.abs().sum()) == 0 for parameter in field.parameters() if parameter.grad is not None)


def test_a_grid_that_knows_values_only_has_the_same_taps_and_an_analytic_stage():
    field = network()
    by_values = NumericalAutogradSdfNetwork(field.grid, 64, 15, 0.5, False, 4, 1.0)
    by_values.load_state_dict(field.state_dict())
    points = points_in_box(50)
    for analytic in (False, True):
        field.analytic = by_values.analytic = analytic
        ours, theirs = field.sample(points), by_values.sample(points)
        torch.testing.assert_close(ours.gradient, theirs.gradient, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.feature, theirs.feature, rtol=1e-4, atol=1e-5)
    offsets = points[:, None] + tap_offsets(field.step, 4, points)
    for column, at in enumerate((points, *offsets.unbind(1))):
        torch.testing.assert_close(field.grid.stencil(points, field.step, 4)[:, column], field.grid.value(at))


def test_the_config_makes_the_network():
    made = NumericalFieldConfig(levels=3, taps=6, step_cells=2.0).sdf_network(0.5, False, "torch")
    assert isinstance(made, NumericalSdfNetwork) and made.taps == 6 and made.step == 4.0 / 512


def test_what_evaluation_asked_for_first_can_be_trained_through():
    field = network(6)
    with torch.inference_mode():
        field.sample(points_in_box(3))
    field.sample(points_in_box(3)).gradient.sum().backward()


def test_the_switch_to_closed_form_keeps_distances_and_what_trains_on_them():
    field = network().double()
    points = points_in_box(100).double()

    def seen(analytic: bool) -> list[torch.Tensor]:
        field.analytic = analytic
        sample = field.sample(points)
        trained = torch.autograd.grad(sample.sdf.sum() + sample.feature.square().sum(), [*field.parameters()])
        return [sample.sdf, sample.feature, *trained]

    for by_taps, closed in zip(seen(False), seen(True), strict=True):
        torch.testing.assert_close(closed, by_taps, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("taps", [4, 6])
def test_at_the_switch_gradients_and_what_they_train_differ_by_no_more_than_the_step(taps):
    """On a field that is smooth over a step, as the last stage's is meant to be; there both say the same."""
    field = network(taps).double()
    points = points_in_box(300).double()
    with torch.no_grad():
        # Trilinear cells have kinks that taps look across; without them all that is left is the network.
        assert isinstance(field.grid.table, torch.nn.Parameter)
        field.grid.table.zero_()
    differences = []
    for levels in (2, 6):
        field.grid.set_active_levels(levels)
        found = []
        for analytic in (False, True):
            field.analytic = analytic
            gradient = field.sample(points).gradient
            eikonal = (gradient.norm(dim=-1) - 1).square().mean()
            trained = torch.autograd.grad(eikonal, [field.hidden.weight, field.output.weight])
            found.append((gradient.detach(), torch.cat([each.flatten() for each in trained])))
        (by_taps, trains), (closed, trains_closed) = found
        alike = torch.cosine_similarity(trains, trains_closed, dim=0)
        differences.append(((by_taps - closed).norm(dim=-1).mean(), 1 - alike))
    # At the step of the last stage little is left of either difference; the tetrahedron errs by mixed derivatives too.
    assert differences[1][0] < 0.02 and differences[1][0] < 0.5 * differences[0][0]
    assert differences[1][1] < 0.06 and differences[1][1] < differences[0][1]
