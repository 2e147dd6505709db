"""Laws of the fields: initial shape, closed-form gradients, levels, background coordinates."""

import torch

from neus_ns.data.frame import SceneFrame, similarity
from neus_ns.fields.background import contract
from neus_ns.fields.direction import spherical_harmonics
from neus_ns.fields.hash_grid import HashGrid
from neus_ns.fields.mlp import even_directions
from neus_ns.fields.sdf import SdfNetwork
from neus_ns.fields.sharpness import Sharpness
from neus_ns.fields.surface_field import SurfaceField, SurfaceFieldConfig
from neus_ns.kernels.layout import GridLayout

LAYOUT = GridLayout(levels=6, features=2, log2_rows=10, coarsest=4, finest=64)


def network(inside_out: bool = False, radius: float = 0.5) -> SdfNetwork:
    torch.manual_seed(0)
    return SdfNetwork(HashGrid(LAYOUT, 1.0, "torch"), 64, 15, radius, inside_out)


def hash_grid(field: SdfNetwork) -> HashGrid:
    assert isinstance(field.grid, HashGrid)
    return field.grid


def random_points(count: int = 400) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8


def test_starts_as_a_sphere_of_the_asked_radius():
    points = random_points()
    for radius in (0.3, 0.5, 0.9):
        field = network(radius=radius)
        sample = field.sample(points)
        assert (sample.sdf - (points.norm(dim=-1) - radius)).abs().max() < 0.05
        assert abs(float(field.sdf(torch.zeros(1, 3))) + radius) < 0.05
        far = points.norm(dim=-1) > 0.2
        assert (sample.gradient[far].norm(dim=-1) - 1).abs().mean() < 0.06


def test_inside_out_is_positive_within():
    field = network(inside_out=True, radius=0.9)
    assert field.sdf(torch.zeros(1, 3)) > 0.8 and field.sdf(torch.tensor([[0.99, 0.0, 0.0]])) < 0


def test_gradient_in_closed_form_equals_autograd():
    field = network().double()
    torch.nn.init.normal_(hash_grid(field).table, std=0.3)
    points = random_points().double().requires_grad_()
    sample = field.sample(points)
    (by_autograd,) = torch.autograd.grad(field.sdf(points).sum(), points)
    torch.testing.assert_close(sample.gradient, by_autograd, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sample.sdf, field.sdf(points))


def test_a_loss_on_the_gradient_trains_like_double_backward():
    field = network().double()
    torch.nn.init.normal_(hash_grid(field).table, std=0.3)
    points = random_points(100).double().requires_grad_()
    parameters = [hash_grid(field).table, field.hidden.weight, field.hidden.bias, field.output.weight]
    closed = ((field.sample(points.detach()).gradient.norm(dim=-1) - 1) ** 2).mean()
    (gradient,) = torch.autograd.grad(field.sdf(points).sum(), points, create_graph=True)
    double = ((gradient.norm(dim=-1) - 1) ** 2).mean()
    for fast, slow in zip(
        torch.autograd.grad(closed, parameters), torch.autograd.grad(double, parameters), strict=True
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-7, atol=1e-9)


def test_active_levels_survive_the_checkpoint():
    saved = network()
    saved.grid.set_active_levels(2)
    loaded = network()
    loaded.load_state_dict(saved.state_dict())
    points = random_points(10)
    assert hash_grid(loaded).jet(points, 1)[:, 0, 4:].abs().max() == 0
    torch.testing.assert_close(loaded.sdf(points), saved.sdf(points))


def test_even_directions_are_unit_and_balanced():
    directions = even_directions(64)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(64))
    assert directions.mean(0).abs().max() < 1e-6
    probe = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    mean = torch.relu(probe @ directions.T).mean(1)
    assert (mean - 0.25).abs().max() < 0.01


def test_sharpness_starts_where_asked_and_learns():
    sharpness = Sharpness(20.0)
    value = sharpness()
    assert abs(float(value) - 20) < 1e-3
    value.backward()
    assert sharpness.v.grad is not None and sharpness.v.grad > 0


def test_contraction_keeps_the_ball_and_bounds_the_rest():
    inside = random_points() / 2
    torch.testing.assert_close(contract(inside), inside)
    far = contract(random_points() * 1e6)
    assert far.norm(dim=-1).max() <= 2.0


def test_spherical_harmonics_are_orthonormal():
    directions = even_directions(4096).double()
    basis = spherical_harmonics(directions)
    gram = basis.T @ basis * (4 * torch.pi / len(directions))
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), atol=5e-3, rtol=0)


def test_a_loaded_field_knows_its_frame_at_once():
    frame = SceneFrame(similarity(2.5, torch.tensor([1.0, -2.0, 3.0])), similarity(0.5, torch.tensor([0.0, 4.0, 0.0])))
    trained, fresh = (SurfaceField(SurfaceFieldConfig(levels=2), 0.5, False, 0, "torch") for _ in range(2))
    trained.set_frame(frame)
    fresh.load_state_dict(trained.state_dict())
    torch.testing.assert_close(fresh.frame.world_from_unit, frame.world_from_unit)
    torch.testing.assert_close(fresh.unit_from_parser.double() @ frame.parser_from_unit, torch.eye(4).double())
