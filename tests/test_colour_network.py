"""Laws of the colour network that looks along the mirrored view direction."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neus_ns.fields.colour import ColourNetwork
from neus_ns.fields.looking import LOOKING, mirrored
from neus_ns.fields.surface_field import SurfaceField, SurfaceFieldConfig
from tests.directions import unit_vectors


def network() -> ColourNetwork:
    torch.manual_seed(0)
    return ColourNetwork(LOOKING["reflected"], features=5, appearance=0, width=16, hidden_layers=2).double()


def colours(network: ColourNetwork, directions: Tensor, gradient: Tensor) -> Tensor:
    """Colours of one and the same point, whatever its gradient, from several directions."""
    count = len(directions)
    point, feature = unit_vectors(1, 7).expand(count, 3), torch.ones(count, 5, dtype=torch.float64)
    return network(point, directions, gradient, feature, feature[:, :0])


def turned(vectors: Tensor, axes: Tensor, angle: float) -> Tensor:
    """Vectors turned about unit axes (Rodrigues)."""
    angle_ = torch.tensor(angle, dtype=torch.float64)
    along = (vectors * axes).sum(-1, keepdim=True) * axes
    return along + angle_.cos() * (vectors - along) + angle_.sin() * torch.linalg.cross(axes, vectors)


def test_a_mirrored_direction_leaves_at_the_angle_it_came_in():
    directions, normals = unit_vectors(300, 1), unit_vectors(300, 2)
    out, facing = mirrored(directions, normals)
    torch.testing.assert_close(out.norm(dim=-1), torch.ones(300, dtype=torch.float64))
    torch.testing.assert_close((out * normals).sum(-1, keepdim=True), facing)
    # Half way between the way back to the eye and the mirrored direction stands the normal.
    torch.testing.assert_close(F.normalize(out - directions, dim=-1), normals * facing.sign())
    back, _ = mirrored(out, normals)
    torch.testing.assert_close(back, directions)


def test_what_is_mirrored_depends_on_the_mirrored_direction_and_the_angle_alone():
    """Eye and normal turned together about the mirrored direction see the same of the surroundings."""
    net = network()
    first = net.layers[0]
    assert isinstance(first, torch.nn.Linear)
    with torch.no_grad():
        first.weight[:, 3:6] = 0  # The raw gradient is an input of its own.
    directions, normals = unit_vectors(100, 3), unit_vectors(100, 4)
    out, _ = mirrored(directions, normals)
    turned_pair = turned(directions, out, 1.1), turned(normals, out, 1.1)
    assert float((turned_pair[0] - directions).norm(dim=-1).median()) > 0.3
    torch.testing.assert_close(
        colours(net, directions, 0.7 * normals), colours(net, turned_pair[0], 1.9 * turned_pair[1])
    )
    # And the surface is told which way to turn.
    gradient = normals.clone().requires_grad_(True)
    colours(net, directions, gradient).sum().backward()
    assert gradient.grad is not None and bool((gradient.grad.norm(dim=-1) > 0).all())


@pytest.mark.parametrize("kind", ["view", "reflected", "both"])
def test_without_view_strength_colour_is_the_same_from_every_side(kind: str):
    config = SurfaceFieldConfig(levels=2, colour=kind)  # pyright: ignore[reportArgumentType]
    net = SurfaceField(config, 0.5, False, 0, "torch").colour_network
    points, normals = unit_vectors(50, 5).float(), unit_vectors(50, 6).float()
    feature = torch.ones(50, config.feature_width)

    def seen_along(directions: Tensor) -> Tensor:
        return net(points, directions.float(), normals, feature, feature[:, :0])

    assert float((seen_along(unit_vectors(50, 8)) - seen_along(unit_vectors(50, 9))).abs().max()) > 1e-3
    net.view_strength = 0.0
    torch.testing.assert_close(seen_along(unit_vectors(50, 8)), seen_along(unit_vectors(50, 9)))
