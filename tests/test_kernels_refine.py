"""Sampling where the weight is: the Warp kernels against the torch reference, and what must hold exactly."""

from dataclasses import replace
from typing import Literal

import pytest
import torch

from neus_ns.kernels.room import Room
from neus_ns.rays import refine as law
from neus_ns.rays.bounds import clip_to_unit_ball
from neus_ns.rays.look import LookPlan, likely_sections, look, marched_sections, refined_sections
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.refine import Allotment, RefineBudget
from neus_ns.rays.sections import Rays, Sections
from tests.test_kernels_warp import ptx_of

wp = pytest.importorskip("warp")

from neus_ns.kernels import warp_refine_kernels  # noqa: E402

# How near to a whole number a running sum must come before float32 may decide a count otherwise than float64.
NEAR_WHOLE = 1e-4
ANYWHERE = 2.0


def bumpy(points: torch.Tensor) -> torch.Tensor:
    """A ball of radius one half with waves, whose slopes no ray meets head on."""
    return points.norm(dim=-1) - 0.5 + 0.04 * torch.sin(11 * points).sum(-1)


def scene(count: int, seed: int, resolution: int = 32, inv_s: float = 60.0) -> tuple[Rays, OccupancyGrid, torch.Tensor]:
    """Rays from outside and inside, some that miss, through a grid with holes that remembers distances; shifts."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    origins = (random(count, 3) * 2 - 1) * 2
    directions = torch.nn.functional.normalize(random(count, 3) - 0.5 - 0.4 * origins, dim=-1)
    directions[:3], origins[:3] = torch.eye(3), -0.3 * torch.eye(3)
    grid = OccupancyGrid(resolution, parts=1)
    grid.restrict(random(resolution, resolution, resolution) < 0.97)
    grid.update(bumpy, torch.tensor(inv_s), everything=True)
    return clip_to_unit_ball(origins, directions, 0.0), grid, random(count)


def keys(sections: Sections) -> set[tuple[int, float]]:
    return set(zip(sections.ray_index.tolist(), sections.t_start.tolist(), strict=True))


def doubtful(expected: torch.Tensor, ray_index: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Sections whose count depends on a running sum that lies next to a whole number."""
    running = torch.cumsum(expected, 0)
    count = torch.bincount(ray_index, minlength=len(shift))
    first = (torch.cumsum(count, 0) - count).clamp_max(len(expected) - 1)
    above = running - (running - expected)[first][ray_index] + shift.double()[ray_index]
    from_whole = torch.stack([above, above - expected])
    return ((from_whole - from_whole.round()).abs() < NEAR_WHOLE).any(0)


def exact(rays: Rays, sections: Sections) -> tuple[Rays, Sections]:
    """The same in float64."""
    fields = (each.double() for each in (rays.origins, rays.directions, rays.t_near, rays.t_far))
    return Rays(*fields), replace(sections, t_start=sections.t_start.double(), t_end=sections.t_end.double())


@pytest.mark.parametrize(("inv_s", "step"), [(10.0, 2 / 48), (60.0, 2 / 48), (3000.0, 2 / 96)])
def test_pruning_keeps_what_the_reference_keeps(inv_s: float, step: float):
    for seed in range(3):
        rays, grid, shift = scene(300, seed, inv_s=inv_s)
        sharpness = torch.tensor(inv_s)
        fast = likely_sections(rays, grid, sharpness, step, ANYWHERE, Allotment(shift), "warp")
        slow = likely_sections(rays, grid, sharpness, step, ANYWHERE, Allotment(shift), "torch")
        marched = marched_sections(rays, grid, step, shift, "torch")
        wide, given = exact(rays, marched)
        limited = sharpness.double().clamp_max(law.resolvable(step))
        grid.distance = grid.distance.double()
        weights = law.coarse_weights(wide, given, grid.remembered_sdf, limited)
        budget = RefineBudget(law.CERTAIN, ANYWHERE)
        expected = law.expected_counts(weights, given, len(rays), budget).clamp_max(1.0)
        excused = keys(law.select(marched, doubtful(expected, marched.ray_index, shift)))
        assert len(slow) > 500 and keys(fast) ^ keys(slow) <= excused
        assert len(keys(fast) ^ keys(slow)) < 1e-3 * len(marched)
        assert keys(fast) <= keys(marched)
        assert bool((fast.ray_index[1:] >= fast.ray_index[:-1]).all())
        same = fast.ray_index[1:] == fast.ray_index[:-1]
        assert bool((fast.t_start[1:][same] >= fast.t_end[:-1][same] - 1e-6).all())


@pytest.mark.parametrize("inv_s", [10.0, 300.0, 1e5])
def test_refinement_cuts_as_the_reference_does(inv_s: float):
    rays, grid, shift = scene(800, 7)
    likely = marched_sections(rays, grid, 2 / 60, shift, "torch")
    sharpness, budget = torch.tensor(inv_s), RefineBudget(10.0, ANYWHERE)
    fast = refined_sections(rays, likely, bumpy, sharpness, budget, Allotment(shift), "warp").sections
    slow = refined_sections(rays, likely, bumpy, sharpness, budget, Allotment(shift), "torch").sections
    wide, given = exact(rays, likely)
    # The network's distances are float32 whoever reads them.
    weights = law.coarse_weights(wide, given, lambda _: bumpy(rays.points(likely)).double(), sharpness.double())
    expected = law.expected_counts(weights, given, len(rays), budget)
    excused = doubtful(expected, likely.ray_index, shift)
    odd = parts_of_each(fast, likely) != parts_of_each(slow, likely)
    assert len(slow) > 1000 and not bool((odd & ~excused).any()) and odd.float().mean() < 1e-3


def parts_of_each(parts: Sections, parents: Sections) -> torch.Tensor:
    """How many parts lie in each parent, by their midpoints."""
    # One axis for all rays, in float64 so that the places on it stay apart.
    begin, middle = (
        100.0 * each.ray_index + t.double() for each, t in ((parents, parents.t_start), (parts, parts.t_middle))
    )
    place = torch.searchsorted(begin, middle) - 1
    return torch.bincount(place, minlength=len(parents))


def one_ray(sdf: list[float], copies: int) -> tuple[Sections, torch.Tensor]:
    """The same sections on many rays, the last of them behind a gap."""
    count = len(sdf)
    edge = torch.arange(count, dtype=torch.float32) * 0.1
    edge[-1] += 0.7
    index = torch.arange(copies).repeat_interleave(count)
    return Sections(index, edge.repeat(copies), (edge + 0.1).repeat(copies)), torch.tensor(sdf).repeat(copies)


def resampled(sections: Sections, sdf: torch.Tensor, shift: torch.Tensor, inv_s: float) -> Sections:
    rays = Rays(torch.zeros(len(shift), 3), torch.eye(3)[:1].expand(len(shift), 3), shift, shift)
    budget = RefineBudget(6.0, ANYWHERE)
    sharpness = torch.tensor(inv_s)
    return refined_sections(rays, sections, lambda _: sdf, sharpness, budget, Allotment(shift), "warp").sections


def test_counts_are_unbiased_over_shifts():
    copies = 5000
    sections, sdf = one_ray([0.25, 0.15, 0.04, -0.06, -0.1, 0.02], copies)
    shift = (torch.arange(copies) + 0.5) / copies
    counts = parts_of_each(resampled(sections, sdf, shift, 20.0), sections).view(copies, -1)
    rays = Rays(torch.zeros(copies, 3), torch.eye(3)[:1].expand(copies, 3), torch.zeros(copies), torch.ones(copies))
    weights = law.coarse_weights(rays, sections, lambda _: sdf, torch.tensor(20.0))
    expected = law.expected_counts(weights, sections, copies, RefineBudget(6.0, ANYWHERE)).view(copies, -1)
    assert ((counts - expected).abs() < 1).all()
    torch.testing.assert_close(counts.float().mean(0), expected[0], atol=1e-3, rtol=0)


def test_parts_tile_their_parents():
    rays, grid, shift = scene(200, 3)
    likely = likely_sections(rays, grid, torch.tensor(60.0), 2 / 48, ANYWHERE, Allotment(shift), "warp")
    parts = refined_sections(
        rays, likely, bumpy, torch.tensor(60.0), RefineBudget(10.0, ANYWHERE), Allotment(shift), "warp"
    ).sections
    counts = parts_of_each(parts, likely)
    assert bool((parts.length > 0).all()) and int(counts.max()) > 3
    tiled = law.split(likely, counts)
    assert torch.equal(parts.ray_index, tiled.ray_index)
    assert torch.equal(parts.t_start, tiled.t_start) and torch.equal(parts.t_end, tiled.t_end)


@pytest.mark.parametrize("backend", ["warp", "torch"])
@pytest.mark.parametrize("samples", [1, 700, 5000])
def test_a_batch_has_as_many_samples_as_are_allotted_where_they_count_most(backend: Literal["warp", "torch"], samples):
    rays, grid, shift = scene(400, 8)
    sharpness, budget = torch.tensor(60.0), RefineBudget(10.0, ANYWHERE)
    likely = likely_sections(rays, grid, sharpness, 2 / 48, ANYWHERE, Allotment(shift), backend)
    found = refined_sections(rays, likely, bumpy, sharpness, budget, Allotment(shift, samples), backend)
    # The torch reference adds up in another order, and may be off by one where a sum comes to lie on a whole number.
    assert abs(len(found.sections) - samples) <= (backend == "torch")
    wide, given = exact(rays, likely)
    weights = law.coarse_weights(wide, given, lambda _: bumpy(rays.points(likely)).double(), sharpness.double())
    expected = law.expected_counts(weights, given, len(rays), budget)
    torch.testing.assert_close(found.wanted.double(), expected.sum(), rtol=1e-4, atol=0)
    scaled = expected * (samples / expected.sum())
    # One resampling of the whole batch: up to any section the counts follow the running sum to within one.
    counts = parts_of_each(found.sections, likely)
    assert ((counts.cumsum(0) - scaled.cumsum(0)).abs() < 1 + 1e-3).all()


def test_counts_of_allotted_samples_are_unbiased_over_shifts():
    sections, sdf = one_ray([0.25, 0.15, 0.04, -0.06, -0.1, 0.02], 3)
    rays = Rays(torch.zeros(3, 3), torch.eye(3)[:1].expand(3, 3), torch.zeros(3), torch.ones(3))
    budget, sharpness = RefineBudget(6.0, ANYWHERE), torch.tensor(20.0)
    total, shifts = torch.zeros(len(sections)), (torch.arange(500) + 0.5) / 500
    for shift in shifts:
        allotment = Allotment(shift.expand(3), 17)
        found = refined_sections(rays, sections, lambda _: sdf, sharpness, budget, allotment, "warp")
        assert len(found.sections) == 17
        total += parts_of_each(found.sections, sections)
    weights = law.coarse_weights(rays, sections, lambda _: sdf, sharpness)
    expected = law.expected_counts(weights, sections, 3, budget)
    torch.testing.assert_close(total / len(shifts), expected * (17 / expected.sum()), atol=5e-3, rtol=0)


class FixedRoom(Room):
    """Memory for so many sections, as on a device whose number of sections is not waited for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def sections(self, needed: torch.Tensor, rays: int, most: int) -> int:
        return self.size


def test_more_memory_than_needed_changes_nothing_that_is_seen():
    rays, grid, shift = scene(300, 4)
    plan, sharpness = LookPlan(2 / 48, RefineBudget(10.0, ANYWHERE)), torch.tensor(60.0)
    likely = likely_sections(rays, grid, sharpness, plan.step, ANYWHERE, Allotment(shift), "warp")
    roomy = Allotment(shift, room=FixedRoom(len(likely) + 500))
    idle = likely_sections(rays, grid, sharpness, plan.step, ANYWHERE, roomy, "warp")
    assert len(idle) == len(likely) + 500 and not bool(idle.length[len(likely) :].any())
    assert torch.equal(idle.t_start[: len(likely)], likely.t_start)
    assert torch.equal(idle.ray_index[: len(likely)], likely.ray_index) and bool((idle.ray_index.diff() >= 0).all())
    clean = look(rays, grid, bumpy, sharpness, plan, Allotment(shift), "warp").sections
    found = look(rays, grid, bumpy, sharpness, plan, roomy, "warp").sections
    # Idle sections take nothing of the last ray's even share either: nobody walks them.
    assert torch.equal(found.t_start, clean.t_start) and torch.equal(found.ray_index, clean.ray_index)


def test_what_does_not_fit_into_memory_is_left_out():
    rays, grid, shift = scene(300, 4)
    plan, sharpness = LookPlan(2 / 48, RefineBudget(10.0, ANYWHERE)), torch.tensor(60.0)
    likely = likely_sections(rays, grid, sharpness, plan.step, ANYWHERE, Allotment(shift), "warp")
    for size in (len(likely) // 2, 1, 0):
        tight = Allotment(shift, room=FixedRoom(size))
        kept = likely_sections(rays, grid, sharpness, plan.step, ANYWHERE, tight, "warp")
        assert torch.equal(kept.t_start, likely.t_start[:size]) and torch.equal(kept.ray_index, likely.ray_index[:size])
        found = look(rays, grid, bumpy, sharpness, plan, tight, "warp").sections
        assert keys(found) or size == 0
        assert set(found.ray_index.tolist()) <= set(likely.ray_index[:size].tolist())


def test_a_distance_that_is_not_a_number_is_drawn_once_and_spoils_no_other_ray():
    sections, sdf = one_ray([0.2, 0.1, 0.0, -0.1], 3)
    clean = resampled(sections, sdf, torch.full((3,), 0.4), 20.0)
    sdf[5] = float("nan")
    parts = resampled(sections, sdf, torch.full((3,), 0.4), 20.0)
    assert parts_of_each(parts, sections)[5] == 1
    for ray in (0, 2):
        assert torch.equal(parts.t_start[parts.ray_index == ray], clean.t_start[clean.ray_index == ray])


def test_every_output_is_written_over_poisoned_memory(monkeypatch):
    rays, grid, shift = scene(150, 5)
    plan = LookPlan(2 / 48, RefineBudget(10.0, ANYWHERE))
    clean = look(rays, grid, bumpy, torch.tensor(60.0), plan, Allotment(shift), "warp").sections
    plain = torch.empty

    def poisoned(*size, **options) -> torch.Tensor:
        made = plain(*size, **options)
        return made.fill_(float("nan") if made.is_floating_point() else 7)

    monkeypatch.setattr(torch, "empty", poisoned)
    again = look(rays, grid, bumpy, torch.tensor(60.0), plan, Allotment(shift), "warp").sections
    assert torch.equal(again.t_start, clean.t_start) and torch.equal(again.t_end, clean.t_end)
    assert torch.equal(again.ray_index, clean.ray_index)


def test_nothing_to_look_at_gives_no_sections():
    rays, grid, shift = scene(20, 1)
    plan = LookPlan(2 / 48, RefineBudget(10.0, ANYWHERE))
    nobody = Rays(rays.origins[:0], rays.directions[:0], rays.t_near[:0], rays.t_far[:0])
    missing = replace(rays, t_far=rays.t_near)
    for some, shifts in ((nobody, shift[:0]), (missing, shift)):
        found = look(some, grid, bumpy, torch.tensor(60.0), plan, Allotment(shifts), "warp").sections
        assert len(found) == 0 and found.ray_index.dtype == torch.int64


def test_a_stretch_that_overflows_its_memory_is_refused():
    rays, grid, shift = scene(20, 1)
    grid.restrict(torch.ones(32, 32, 32, dtype=torch.bool))
    grid.occupied.fill_(True)
    grid.blocks_away.zero_()
    slow = replace(rays, directions=rays.directions * 0.1, t_near=rays.t_near * 10, t_far=rays.t_far * 10)
    with pytest.raises(ValueError, match="longer than the unit ball"):
        likely_sections(slow, grid, torch.tensor(60.0), 2 / 48, ANYWHERE, Allotment(shift), "warp")


@pytest.mark.parametrize("architecture", [80, 90])
def test_the_kernels_compile_for_cuda_without_a_gpu(architecture, tmp_path):
    if architecture not in wp.get_cuda_supported_archs():
        pytest.skip(f"this build of Warp has no compiler for sm_{architecture}")
    for kernel in (warp_refine_kernels.likely_kernel(), warp_refine_kernels.expect_kernel()):
        assert "ex2" in ptx_of(kernel, architecture, tmp_path)
    for kernel in (warp_refine_kernels.gather_kernel(), warp_refine_kernels.count_kernel()):
        assert ptx_of(kernel, architecture, tmp_path)
    # A part ends where the next begins, and sections are those of the march: neither may be rounded otherwise on CUDA.
    assert "fma." not in ptx_of(warp_refine_kernels.split_kernel(), architecture, tmp_path)
    assert warp_refine_kernels.likely_kernel().module.options["fuse_fp"] is False


def test_cuda_looks_where_the_cpu_looks(cuda: str):
    rays, grid, shift = scene(2000, 2)
    plan = LookPlan(2 / 48, RefineBudget(10.0, ANYWHERE))
    slow = look(rays, grid, bumpy, torch.tensor(60.0), plan, Allotment(shift), "warp").sections
    on_cuda = Rays(rays.origins.cuda(), rays.directions.cuda(), rays.t_near.cuda(), rays.t_far.cuda())
    fast = look(on_cuda, grid.cuda(), bumpy, torch.tensor(60.0).cuda(), plan, Allotment(shift.cuda()), "warp").sections
    assert len(keys(fast) ^ keys(slow)) < 5e-3 * len(slow)
