"""Laws of bounds, occupancy and refinement."""

import pytest
import torch

from neus_ns.kernels.cells import dilated, occupied_cells
from neus_ns.rays.beside import along_surface
from neus_ns.rays.bounds import clip_to_unit_ball
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.refine import Allotment, RefineBudget, refine, resample_counts, split
from neus_ns.rays.sections import Rays, Sections


def sphere(points: torch.Tensor) -> torch.Tensor:
    return points.norm(dim=-1) - 0.5


def parallel_rays(count: int) -> Rays:
    generator = torch.Generator().manual_seed(0)
    offset = torch.rand(count, 2, generator=generator) * 0.8 - 0.4
    origins = torch.cat([offset, torch.full((count, 1), -3.0)], 1)
    directions = torch.tensor([[0.0, 0.0, 1.0]]).expand(count, 3).contiguous()
    return clip_to_unit_ball(origins, directions, 0.0)


def uniform_sections(rays: Rays, steps: int) -> Sections:
    index = torch.arange(len(rays)).repeat_interleave(steps)
    edge = torch.arange(steps).repeat(len(rays)) / steps
    length = (rays.t_far - rays.t_near)[index]
    start = rays.t_near[index] + edge * length
    return Sections(index, start, start + length / steps)


def test_bounds_lie_on_the_ball_and_misses_are_empty():
    origins = torch.tensor([[0.0, 0, -3], [0, 2.0, -3], [0.2, 0, 0]])
    directions = torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 1.0, 0]])
    rays = clip_to_unit_ball(origins, directions, 0.0)
    torch.testing.assert_close(rays.t_near[0], torch.tensor(2.0))
    torch.testing.assert_close(rays.t_far[0], torch.tensor(4.0))
    assert rays.t_near[1] == rays.t_far[1]
    assert rays.t_near[2] == 0  # From inside, the stretch begins at the camera.
    end = origins[2] + rays.t_far[2] * directions[2]
    torch.testing.assert_close(end.norm(), torch.tensor(1.0))


def test_occupancy_never_skips_a_cell_that_holds_the_surface():
    grid = OccupancyGrid(24, parts=4)
    grid.update(sphere, torch.tensor(1e4), everything=True)
    surface = torch.nn.functional.normalize(torch.randn(5000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    cell = ((surface * 0.5 + 1) * 12).long()
    assert grid.occupied[cell[:, 0], cell[:, 1], cell[:, 2]].all()
    assert grid.share < 0.2


def test_turns_add_up_to_one_full_update():
    whole, parts = OccupancyGrid(16, parts=3), OccupancyGrid(16, parts=3)
    parts.occupied.fill_(False)
    whole.update(sphere, torch.tensor(300.0), everything=True)
    for _ in range(3):
        parts.update(sphere, torch.tensor(300.0), everything=False)
    assert torch.equal(whole.occupied, parts.occupied)


def test_remembered_distances_are_close_to_the_field():
    grid = OccupancyGrid(64, parts=2)
    grid.update(sphere, torch.tensor(100.0), everything=True)
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(2)) * 1.1 - 0.55
    points = points[points.norm(dim=-1) > 0.1]
    assert (grid.remembered_sdf(points) - sphere(points)).abs().max() < 0.003


def test_a_field_that_is_negative_up_to_the_border_stays_in_sight():
    grid = OccupancyGrid(16, parts=1)
    allowed = torch.zeros(16, 16, 16, dtype=torch.bool)
    allowed[4:12, 4:12, 4:12] = True
    grid.restrict(allowed)
    grid.update(lambda points: torch.full_like(points[:, 0], -5.0), torch.tensor(1e4), everything=True)
    assert grid.occupied[4, 8, 8] and not grid.occupied[8, 8, 8]


def test_restriction_is_for_good():
    grid = OccupancyGrid(16, parts=2)
    allowed = torch.zeros(16, 16, 16, dtype=torch.bool)
    allowed[8:] = True
    grid.restrict(allowed)
    grid.update(sphere, torch.tensor(1.0), everything=True)
    assert not grid.occupied[:8].any() and grid.occupied[8:].any()


def test_what_follows_from_the_cells_follows_every_change_of_them():
    def agrees(grid: OccupancyGrid) -> bool:
        blocks = torch.equal(grid.blocks_away, occupied_cells(grid.occupied).blocks_away)
        return blocks and torch.equal(grid.near_allowed, dilated(grid.allowed))

    grid, fresh = OccupancyGrid(32, parts=3), OccupancyGrid(32, parts=3)
    assert agrees(grid)
    allowed = torch.ones(32, 32, 32, dtype=torch.bool)
    allowed[:9] = False
    before = grid.blocks_away.clone()
    grid.restrict(allowed)
    assert agrees(grid) and not torch.equal(grid.blocks_away, before)
    before = grid.blocks_away.clone()
    grid.update(sphere, torch.tensor(300.0), everything=False)
    assert agrees(grid) and not torch.equal(grid.blocks_away, before)
    assert "blocks_away" not in grid.state_dict() and "near_allowed" not in grid.state_dict()
    fresh.load_state_dict(grid.state_dict())
    assert agrees(fresh) and torch.equal(fresh.blocks_away, grid.blocks_away)
    for each in (grid, fresh):  # The turn is taken up where it was left, too.
        each.distance.fill_(9.0)
        each.occupied.fill_(False)
        each.update(sphere, torch.tensor(300.0), everything=False)
    assert torch.equal(grid.distance, fresh.distance) and int(grid.turn) == int(fresh.turn) == 2


def test_systematic_resampling_keeps_expectations():
    expected = torch.tensor([0.3, 2.2, 0.0, 1.5, 0.7, 0.1])
    ray_index = torch.tensor([0, 0, 0, 1, 1, 1])
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(6)
    for _ in range(4000):
        counts = resample_counts(expected, ray_index, torch.rand(2, generator=generator))
        assert ((counts - expected).abs() < 1).all()
        total += counts
    torch.testing.assert_close(total / 4000, expected, atol=0.03, rtol=0)


def test_split_tiles_what_is_kept():
    sections = Sections(torch.tensor([0, 0, 3]), torch.tensor([0.0, 1.0, 5.0]), torch.tensor([1.0, 2.0, 6.0]))
    parts = split(sections, torch.tensor([2, 0, 4]))
    assert parts.ray_index.tolist() == [0, 0, 3, 3, 3, 3]
    torch.testing.assert_close(parts.t_start, torch.tensor([0.0, 0.5, 5.0, 5.25, 5.5, 5.75]))
    torch.testing.assert_close(parts.length.sum(), torch.tensor(2.0))


@pytest.mark.parametrize("inv_s", [64.0, 500.0])
def test_refinement_gathers_at_the_surface(inv_s: float):
    rays = parallel_rays(64)
    coarse = uniform_sections(rays, 64)
    budget = RefineBudget(by_weight=10.0, anywhere=2.0)
    fine = refine(rays, coarse, sphere, torch.tensor(inv_s), budget, Allotment(torch.full((64,), 0.5))).sections
    met = rays.origins[:, :2].norm(dim=-1) < 0.45
    depth = 3 - (0.25 - rays.origins[:, :2].square().sum(-1)).clamp_min(0).sqrt()
    near = (fine.t_middle - depth[fine.ray_index]).abs() < 4 / inv_s + 2 / 64
    share = near[met[fine.ray_index]].float().mean()
    assert share > 0.7
    assert 0.5 * 12 * 64 < len(fine) < 1.2 * 12 * 64
    order = (fine.t_start[1:] >= fine.t_end[:-1] - 1e-5) | (fine.ray_index[1:] > fine.ray_index[:-1])
    assert order.all()


def test_refining_nothing_is_nothing():
    rays = parallel_rays(4)
    empty = Sections(torch.zeros(0, dtype=torch.long), torch.zeros(0), torch.zeros(0))
    none = refine(rays, empty, sphere, torch.tensor(9.0), RefineBudget(4.0, 1.0), Allotment(torch.zeros(4)))
    assert len(none.sections) == 0 and none.wanted == 0


def test_steps_along_the_surface_stay_on_a_plane_and_within_reach():
    torch.manual_seed(0)
    gradient = torch.tensor([0.0, 0.0, 3.0]).expand(2000, 3)
    offset = along_surface(gradient, 0.1)
    assert offset[:, 2].abs().max() < 1e-6
    length = offset.norm(dim=-1)
    assert length.max() < 0.6 and 0.04 < length.mean() < 0.09
