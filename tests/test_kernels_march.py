"""Marching: the lattice against a loop, and the Warp source against the torch reference, section for section."""

import importlib.util
import math

import pytest
import torch

from neus_ns.errors import InputError
from neus_ns.kernels.backend import Backend
from neus_ns.kernels.cells import OccupiedCells, occupied_cells
from neus_ns.kernels.march import march

BACKENDS: list[Backend] = ["torch"] if importlib.util.find_spec("warp") is None else ["torch", "warp"]
Case = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, OccupiedCells]


def case(rays: int, resolution: int, share: float, seed: int) -> Case:
    """Rays from outside and inside the box through random clumps, some along an axis, some without length."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    coarse = random(4, 4, 4) < share
    repeat = math.ceil(resolution / 4)
    occupied = coarse.repeat_interleave(repeat, 0).repeat_interleave(repeat, 1).repeat_interleave(repeat, 2)
    occupied = occupied[:resolution, :resolution, :resolution] & (random(resolution, resolution, resolution) < 0.7)
    origins = (random(rays, 3) * 2 - 1) * 2
    directions = torch.nn.functional.normalize(random(rays, 3) - 0.5 - 0.3 * origins, dim=-1)
    directions[:6] = torch.eye(3).repeat(2, 1) * torch.tensor([1.0, 1, 1, -1, -1, -1])[:, None]
    origins[:6] = 0.9 * (random(6, 3) * 2 - 1)
    origins[3:6] = torch.tensor([[0.5, 0.25, 0.0]])  # on faces between cells
    t_near = random(rays) * 0.5 - 0.1
    t_far = t_near + random(rays) * 5
    t_far[6:8] = t_near[6:8]
    t_far[8] = t_near[8] - 1
    return origins, directions, t_near, t_far, random(rays), occupied_cells(occupied)


def by_loop(inputs: Case, step: float) -> list[tuple[int, int]]:
    """Ray and lattice number of each section, one at a time in float64."""
    origins, directions, t_near, t_far, shift, _ = inputs
    occupied = inputs[5].cells
    resolution = occupied.shape[0]
    found = []
    for ray in range(len(origins)):
        near, far = float(t_near[ray]), float(t_far[ray])
        for k in range(max(0, math.ceil((far - near) / step) + 2)):
            start = max(near, near + (k - float(shift[ray])) * step)
            end = min(far, near + (k + 1 - float(shift[ray])) * step)
            point = origins[ray].double() + 0.5 * (start + end) * directions[ray].double()
            cell = torch.floor((point + 1) * 0.5 * resolution).long().tolist()
            if end > start and min(cell) >= 0 and max(cell) < resolution and bool(occupied[cell[0], cell[1], cell[2]]):
                found.append((ray, k))
    return found


def test_the_reference_keeps_what_a_loop_keeps():
    inputs = case(60, 8, 0.5, 1)
    step = 0.037
    ray, start, end = march(*inputs, step, "torch")
    # Where a section lies on its lattice: clipping moves its ends, never its number.
    k = torch.ceil((end - inputs[2][ray]) / step + inputs[4][ray] - 1 - 1e-3).long()
    fast, slow = set(zip(ray.tolist(), k.tolist(), strict=True)), set(by_loop(inputs, step))
    assert len(slow) > 200
    assert len(fast ^ slow) <= 2  # midpoints on a cell's face may round to either side
    assert bool((ray[1:] >= ray[:-1]).all()) and bool((end > start).all())
    assert bool((end - start <= step * 1.001).all())
    same = ray[1:] == ray[:-1]
    assert bool((start[1:][same] >= end[:-1][same] - 1e-6).all())


def test_an_all_occupied_box_is_covered_without_gaps():
    origins, directions = torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    near, far = torch.tensor([2.5]), torch.tensor([3.5])
    for backend in BACKENDS:
        occupied = occupied_cells(torch.ones(8, 8, 8, dtype=torch.bool))
        ray, start, end = march(origins, directions, near, far, torch.tensor([0.3]), occupied, 0.07, backend)
        assert float(start[0]) == 2.5 and float(end[-1]) == 3.5 and float((end - start).sum()) == pytest.approx(1.0)
        assert float(end[0]) == pytest.approx(2.5 + 0.7 * 0.07) and len(ray) == 15


@pytest.mark.parametrize(
    ("resolution", "share", "step"), [(8, 0.3, 0.031), (16, 0.1, 0.003), (33, 0.4, 0.01), (64, 0.05, 2 / 192)]
)
def test_warp_keeps_exactly_the_sections_of_the_reference(resolution, share, step):
    pytest.importorskip("warp")
    for seed in range(3):
        inputs = case(200, resolution, share, seed)
        fast, slow = march(*inputs, step, "warp"), march(*inputs, step, "torch")
        assert len(slow[0]) > 100
        for one, other in zip(fast, slow, strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize(("resolution", "share"), [(8, 0.02), (33, 0.0005), (64, 0.0003), (128, 0.00001)])
def test_blocks_know_how_far_the_next_occupied_one_is(resolution, share):
    cells = torch.rand(resolution, resolution, resolution, generator=torch.Generator().manual_seed(0)) < share
    cells[-1, 0, resolution // 2] = True
    away = occupied_cells(cells).blocks_away
    side = math.ceil(resolution / 4)
    taken = torch.unique(torch.nonzero(cells) // 4, dim=0)
    every = torch.cartesian_prod(*[torch.arange(side)] * 3)
    apart = (every[:, None] - taken[None]).abs().amax(-1).amin(-1).clamp_max(8)
    assert torch.equal(away.long(), apart.view(side, side, side)) and int(away.max()) > 0


def test_nothing_occupied_and_no_rays_give_no_sections():
    inputs = case(20, 16, 0.5, 0)
    empty = occupied_cells(torch.zeros(16, 16, 16, dtype=torch.bool))
    origins, directions, t_near, t_far, shift, occupied = inputs
    no_rays = (origins[:0], directions[:0], t_near[:0], t_far[:0], shift[:0], occupied)
    for backend in BACKENDS:
        for ray, start, end in (march(*inputs[:5], empty, 0.01, backend), march(*no_rays, 0.01, backend)):
            assert len(ray) == len(start) == len(end) == 0 and ray.dtype == torch.int64


def test_a_step_of_nothing_is_refused():
    with pytest.raises(InputError, match="greater than zero"):
        march(*case(10, 8, 0.5, 0), 0.0, "torch")


def test_cuda_keeps_exactly_the_sections_of_the_reference(cuda: str):
    inputs = case(500, 64, 0.2, 3)
    origins, directions, t_near, t_far, shift = (each.cuda() for each in inputs[:5])
    occupied = occupied_cells(inputs[5].cells.cuda())
    on_cuda = march(origins, directions, t_near, t_far, shift, occupied, 0.007, "warp")
    for one, other in zip(on_cuda, march(*inputs, 0.007, "torch"), strict=True):
        assert torch.equal(one.cpu(), other)
