"""The learned world behind the surface: its samples make one whole, and colour is made once a ray."""

import pytest
import torch

from neus_ns.fields.background import contract
from neus_ns.kernels.backend import choose_backend
from neus_ns.models.behind import SAMPLES, Behind
from neus_ns.rays.bounds import clip_to_unit_ball
from neus_ns.rays.sections import Rays


@pytest.fixture
def behind() -> Behind:
    torch.manual_seed(0)
    made = Behind("learned", 2, choose_backend("torch", "cpu").kernels).eval()
    assert made.world is not None
    with torch.no_grad():
        made.world.grid.table.normal_(0, 0.5)
    return made


def some_rays(count: int) -> Rays:
    generator = torch.Generator().manual_seed(1)
    origins = 1.5 * torch.randn(count, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    stretch = clip_to_unit_ball(origins, directions, 0.0)
    return Rays(origins, directions, stretch.t_near, stretch.t_far)


def test_a_ray_takes_the_mean_feature_of_what_it_meets(behind: Behind) -> None:
    """Against a loop over samples; the last one takes whatever is left, so that nothing shows through the world."""
    world, rays, appearance = behind.world, some_rays(20), torch.randn(20, 2)
    assert world is not None
    t = rays.t_far.clamp_min(0.05)[:, None] / (1 - (torch.arange(SAMPLES) + 0.5) / SAMPLES)
    placed = [contract(rays.origins + t[:, k : k + 1] * rays.directions) for k in range(SAMPLES)]
    left, met = torch.ones(20, dtype=torch.float64), torch.zeros(20, 16, dtype=torch.float64)
    with torch.no_grad():
        for k in range(SAMPLES):
            density, feature = world(placed[k])
            gap = (placed[min(k, SAMPLES - 2) + 1] - placed[min(k, SAMPLES - 2)]).norm(dim=-1)
            passes = torch.exp(-density.double() * gap * SAMPLES) if k < SAMPLES - 1 else torch.zeros(20)
            met += (left * (1 - passes))[:, None] * feature
            left = left * passes
        assert (left == 0).all()
        torch.testing.assert_close(behind(rays, appearance), world.shade(met.float(), rays.directions, appearance))


def test_a_world_alike_everywhere_looks_alike_whatever_its_density(behind: Behind) -> None:
    world, rays = behind.world, some_rays(8)
    assert world is not None
    with torch.no_grad():
        world.grid.table.zero_()
        _, feature = world(torch.zeros(8, 3))
        expected = world.shade(feature, rays.directions, torch.zeros(8, 2))
        torch.testing.assert_close(behind(rays, torch.zeros(8, 2)), expected)
        last = world.density[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias[0] += 7
        _, denser = world(torch.zeros(8, 3))
        expected = world.shade(denser, rays.directions, torch.zeros(8, 2))
        torch.testing.assert_close(behind(rays, torch.zeros(8, 2)), expected)
