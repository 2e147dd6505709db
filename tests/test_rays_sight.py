"""Lines of sight followed through remembered distances, against what geometry says of balls and plates."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.sight import in_sight

RADIUS = 0.4


def remembering(sdf_fn) -> OccupancyGrid:
    grid = OccupancyGrid(64, 1)
    grid.update(sdf_fn, torch.tensor(100.0), True)
    return grid


def ball(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - RADIUS


def test_a_ball_hides_what_lies_behind_it():
    torch.manual_seed(0)
    points = F.normalize(torch.randn(500, 3), dim=-1) * RADIUS
    eyes = F.normalize(torch.randn(500, 3), dim=-1) * 2
    facing = (F.normalize(eyes - points, dim=-1) * F.normalize(points, dim=-1)).sum(-1)
    seen = in_sight(remembering(ball), points, eyes)
    # Lines that graze the ball are anybody's guess.
    assert seen[facing > 0.1].all() and not seen[facing < -0.3].any()


def test_an_eye_before_the_obstacle_is_seen_all_the_same():
    grid = remembering(ball)
    point = torch.tensor([[0.0, 0.0, 0.9]])
    assert in_sight(grid, point, torch.tensor([[0.0, 0.0, 0.5]])).all()
    assert not in_sight(grid, point, torch.tensor([[0.0, 0.0, -0.9]])).any()


@pytest.mark.parametrize("thick", [1.0, 3.0])
def test_a_plate_of_a_cell_hides_one_side_from_the_other(thick: float):
    half = thick / 64
    grid = remembering(lambda points: (points[:, 0] - 0.2).abs() - half)
    torch.manual_seed(0)
    points = torch.cat([torch.full((200, 1), -0.3), torch.rand(200, 2) - 0.5], 1)
    eyes = torch.cat([torch.full((200, 1), 1.5), torch.rand(200, 2) - 0.5], 1)
    assert not in_sight(grid, points, eyes).any()
    assert in_sight(grid, points, eyes * torch.tensor([-1.0, 1.0, 1.0])).all()


@pytest.mark.parametrize("resolution", [64, 128])
def test_what_hides_is_met_across_a_gap_of_the_masks_hull(resolution: int):
    """Where masks show nothing the field is never asked, and a line must get across all the same."""
    grid = OccupancyGrid(resolution, 1)
    x = (torch.arange(resolution) + 0.5) * (2 / resolution) - 1
    plates = ((x + 0.6).abs() < 0.1) | ((x - 0.4).abs() < 0.1)
    grid.restrict(plates[:, None, None].expand(resolution, resolution, resolution))
    both = torch.tensor([-0.6, 0.4])
    grid.update(lambda points: (points[:, :1] - both).abs().amin(1) - 0.05, torch.tensor(100.0), True)
    torch.manual_seed(0)
    points = torch.cat([torch.full((200, 1), -0.55), torch.rand(200, 2) - 0.5], 1)
    eyes = torch.cat([torch.full((200, 1), 1.5), torch.rand(200, 2) - 0.5], 1)
    assert not in_sight(grid, points, eyes).any()
    assert in_sight(grid, points, eyes * torch.tensor([0.1, 1.0, 1.0])).all()


def test_no_lines_are_no_trouble():
    assert len(in_sight(remembering(ball), torch.zeros(0, 3), torch.zeros(0, 3))) == 0
