"""Lines of sight followed through remembered distances, against what geometry says of balls and plates."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from neus_ns.kernels.backend import Backend
from neus_ns.rays import sight
from neus_ns.rays.occupancy import OccupancyGrid
from tests.test_kernels_warp import ptx_of

wp = pytest.importorskip("warp")

from neus_ns.kernels.warp_sight import sight_kernel  # noqa: E402

RADIUS = 0.4


@pytest.fixture(params=["torch", "warp"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param


def in_sight(grid: OccupancyGrid, points: Tensor, eyes: Tensor, backend: Backend) -> Tensor:
    """With all lines asked for."""
    return sight.in_sight(grid, points, eyes, torch.ones(len(points), dtype=torch.bool), backend)


def remembering(sdf_fn) -> OccupancyGrid:
    grid = OccupancyGrid(64, 1)
    grid.update(sdf_fn, torch.tensor(100.0), True)
    return grid


def ball(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - RADIUS


def test_a_ball_hides_what_lies_behind_it(backend: Backend):
    torch.manual_seed(0)
    points = F.normalize(torch.randn(500, 3), dim=-1) * RADIUS
    eyes = F.normalize(torch.randn(500, 3), dim=-1) * 2
    facing = (F.normalize(eyes - points, dim=-1) * F.normalize(points, dim=-1)).sum(-1)
    seen = in_sight(remembering(ball), points, eyes, backend)
    # Lines that graze the ball are anybody's guess.
    assert seen[facing > 0.1].all() and not seen[facing < -0.3].any()


def test_an_eye_before_the_obstacle_is_seen_all_the_same(backend: Backend):
    grid = remembering(ball)
    point = torch.tensor([[0.0, 0.0, 0.9]])
    assert in_sight(grid, point, torch.tensor([[0.0, 0.0, 0.5]]), backend).all()
    assert not in_sight(grid, point, torch.tensor([[0.0, 0.0, -0.9]]), backend).any()


@pytest.mark.parametrize("thick", [1.0, 3.0])
def test_a_plate_of_a_cell_hides_one_side_from_the_other(thick: float, backend: Backend):
    half = thick / 64
    grid = remembering(lambda points: (points[:, 0] - 0.2).abs() - half)
    torch.manual_seed(0)
    points = torch.cat([torch.full((200, 1), -0.3), torch.rand(200, 2) - 0.5], 1)
    eyes = torch.cat([torch.full((200, 1), 1.5), torch.rand(200, 2) - 0.5], 1)
    assert not in_sight(grid, points, eyes, backend).any()
    assert in_sight(grid, points, eyes * torch.tensor([-1.0, 1.0, 1.0]), backend).all()


@pytest.mark.parametrize("resolution", [64, 128])
def test_what_hides_is_met_across_a_gap_of_the_masks_hull(resolution: int, backend: Backend):
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
    assert not in_sight(grid, points, eyes, backend).any()
    assert in_sight(grid, points, eyes * torch.tensor([0.1, 1.0, 1.0]), backend).all()


def test_no_lines_are_no_trouble(backend: Backend):
    assert len(in_sight(remembering(ball), torch.zeros(0, 3), torch.zeros(0, 3), backend)) == 0


def waves(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.5 + 0.06 * torch.sin(9 * points).sum(-1)


def test_the_kernel_follows_lines_as_the_law_does():
    """Also those that set out beyond the ball, past it, of no length, and those that are not asked for."""
    grid = OccupancyGrid(48, 1)
    grid.update(waves, torch.tensor(100.0), True)
    torch.manual_seed(1)
    points, eyes = 2.0 * torch.rand(4000, 3) - 1.0, 3 * torch.randn(4000, 3)
    eyes[:5] = points[:5]
    asked = torch.rand(4000) < 0.9
    slow = sight.in_sight(grid, points, eyes, asked, "torch")
    fast = sight.in_sight(grid, points, eyes, asked, "warp")
    assert not fast[~asked].any() and 0.2 < float(slow[asked].float().mean()) < 0.9
    # A distance of nothing may be rounded to either side.
    assert int((slow != fast).sum()) <= 2
    # In whatever shape, and however many threads take their part.
    again = sight.in_sight(grid, points.view(8, 500, 3), eyes.view(8, 500, 3), asked.view(8, 500), "warp")
    assert torch.equal(again.view(-1), fast)


@pytest.mark.parametrize("architecture", [80, 90])
def test_the_kernel_compiles_for_cuda_without_a_gpu(architecture: int, tmp_path: Path):
    if architecture not in wp.get_cuda_supported_archs():
        pytest.skip(f"this build of Warp has no compiler for sm_{architecture}")
    assert ptx_of(sight_kernel(), architecture, tmp_path)


def test_on_cuda_lines_are_as_free_as_on_the_cpu(cuda: str):
    torch.manual_seed(2)
    points, eyes = torch.rand(2000, 3) - 0.5, 2 * torch.randn(2000, 3)
    grid = remembering(ball)
    slow = in_sight(grid, points, eyes, "warp")
    asked = torch.ones(2000, dtype=torch.bool, device=cuda)
    fast = sight.in_sight(grid.to(cuda), points.to(cuda), eyes.to(cuda), asked, "warp").cpu()
    assert int((slow != fast).sum()) <= 2
