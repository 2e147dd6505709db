"""Laws of the colour network whose texture is the same from everywhere, and whose sheen is smooth."""

import pytest
import torch
from torch import Tensor

from neus_ns.fields.looking import LOOKING, ColourDirection
from neus_ns.fields.numerical_field import NumericalFieldConfig
from neus_ns.fields.sheen import TextureAndSheen, long_waves
from neus_ns.fields.surface_field import SurfaceField
from tests.directions import unit_vectors


def network(kind: ColourDirection) -> TextureAndSheen:
    torch.manual_seed(0)
    return TextureAndSheen(LOOKING[kind], features=5, appearance=2, width=16, hidden_layers=2).double()


@pytest.mark.parametrize("kind", ["view", "reflected", "both"])
def test_what_changes_with_the_view_knows_neither_texture_nor_exposure(kind: ColourDirection):
    """Before the sigmoid, two views of a point differ by the same whatever the hash grid says of it."""
    net = network(kind)
    points, normals, here, there = (unit_vectors(60, seed) for seed in range(4))
    generator = torch.Generator().manual_seed(4)

    def seen() -> tuple[Tensor, Tensor]:
        feature, appearance = (torch.randn(60, n, generator=generator, dtype=torch.float64) for n in (5, 2))
        first, second = (torch.logit(net(points, eye, normals, feature, appearance)) for eye in (here, there))
        return first, second

    first, second = seen()
    other_first, other_second = seen()
    assert float((first - other_first).abs().max()) > 1e-2 and float((first - second).abs().max()) > 1e-3
    torch.testing.assert_close(first - second, other_first - other_second)


@pytest.mark.parametrize("kind", ["view", "reflected", "both"])
def test_without_view_strength_there_is_no_sheen(kind: ColourDirection):
    net = network(kind)
    net.view_strength = 0.0
    points, normals = unit_vectors(50, 5), unit_vectors(50, 6)
    feature, appearance = torch.ones(50, 5, dtype=torch.float64), torch.ones(50, 2, dtype=torch.float64)
    here, there = (net(points, unit_vectors(50, seed), normals, feature, appearance) for seed in (8, 9))
    assert torch.equal(here, there)
    here.sum().backward()
    assert all(weight.grad is None for weight in net.sheen.parameters())


def test_sheen_tells_the_surface_which_way_to_turn():
    net = network("reflected")
    points, eyes = unit_vectors(50, 10), unit_vectors(50, 11)
    gradient = unit_vectors(50, 12).requires_grad_(True)
    no_texture = torch.zeros(50, 7, dtype=torch.float64)
    with torch.no_grad():
        for part, first in ((net.texture, 3), (net.sheen, points.shape[1] + long_waves(points).shape[1])):
            # The raw gradient is an input of its own, of both; what is left is the mirrored direction.
            layer = part[0]
            assert isinstance(layer, torch.nn.Linear)
            layer.weight[:, first : first + 3] = 0
    net(points, eyes, gradient, no_texture[:, :5], no_texture[:, 5:]).sum().backward()
    assert gradient.grad is not None and bool((gradient.grad.norm(dim=-1) > 0).all())


def test_sheen_knows_the_place_by_waves_no_shorter_than_the_region_s_radius():
    points = unit_vectors(200, 13).requires_grad_(True)
    waves = long_waves(points)
    slopes = [torch.autograd.grad(waves[:, k].sum(), points, retain_graph=True)[0] for k in range(waves.shape[1])]
    steepest = max(float(slope.norm(dim=-1).max()) for slope in slopes)
    assert 0.9 * 2 * torch.pi < steepest <= 2 * torch.pi + 1e-9


def test_neuralangelo_mask_sfm_has_it():
    field = SurfaceField(NumericalFieldConfig(levels=2), 0.5, False, 2, "torch")
    assert isinstance(field.colour_network, TextureAndSheen)
