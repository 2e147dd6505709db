"""Samplers in a distributed training of two processes: what differs between them, and what must not."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.models.gloss import AREAS_ACROSS, GlossWatch
from neus_ns.models.refuted_space import RefutedSpace
from neus_ns.pixels.choice import SAMPLERS
from neus_ns.pixels.quadtree import QuadtreePixelSampler, QuadtreePixelSamplerConfig
from neus_ns.pixels.ranks import summed_over_ranks
from neus_ns.training.random_state import seed_random_state

RANKS = 2


def noisy_store() -> PixelStore:
    generator = torch.Generator().manual_seed(4)
    images = [torch.randint(256, (32, 48, 3), generator=generator).to(torch.uint8) for _ in range(2)]
    masks = [torch.zeros(32, 48, dtype=torch.uint8) for _ in range(2)]
    for mask in masks:
        mask[10:20, 10:30] = 255
    return store_images(images, masks, "cpu")


def wrong_for(rank: int, store: PixelStore, flat: torch.Tensor) -> torch.Tensor:
    """Each process finds its own half of the photographs badly rendered."""
    view, _, col = store.locate(flat).unbind(-1)
    return torch.where((col < 24) == (rank == 0), 1.0, 0.0) * (1.0 + view)


def work(rank: int, folder: str) -> None:
    """What one process draws and remembers, written to a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    # As ns-train does it.
    torch.manual_seed(42 + rank)
    store, found = noisy_store(), {}
    found["sum"] = summed_over_ranks(torch.tensor([1.0, 10.0 * rank]))
    for name in SAMPLERS:
        sampler = SAMPLERS[name]().setup(num_rays_per_batch=64)
        drawn = []
        for step in range(20):
            sampler.set_progress(step / 25)
            batch = sampler.propose(store, 64)
            if batch.positions is not None:
                batch.positions.grad = torch.zeros_like(batch.positions)
            sampler.observe(batch, wrong_for(rank, store, batch.flat))
            drawn.append(batch.flat)
        found[name] = {"drawn": torch.cat(drawn), "memory": sampler.state_dict()}
    watch = GlossWatch(2)
    for watch.progress in (0.1, 0.12, 0.25, 0.29):
        areas = torch.randint(2 * AREAS_ACROSS**2, (256,))
        watch.hear(torch.randn(256), torch.full((256,), 0.5), torch.ones(256), torch.ones(256), areas)
    watch.progress = 0.3
    found["gloss"] = {"heard": watch.heard, "later": watch.common_later.of_errors}
    space, patches = RefutedSpace(), torch.rand(2, 3) * 2 - 1
    for _ in range(5):
        space.hear(patches, torch.ones(2), torch.ones(2))
    found["refuted"] = {"patches": patches, "doubted": space.doubted, "heard": space.heard}
    seed_random_state(42, rank, 100)
    found["resumed"] = torch.rand(4)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (str(folder),), nprocs=RANKS)  # type: ignore[attr-defined]
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


def test_sums_are_the_same_everywhere(found: list[dict]) -> None:
    for each in found:
        assert each["sum"].tolist() == [2.0, 10.0]
    alone = torch.rand(3)
    assert summed_over_ranks(alone) is alone


def test_processes_come_to_one_decision_about_gloss_by_what_all_of_them_heard(found: list[dict]) -> None:
    first, second = (each["gloss"] for each in found)
    assert torch.equal(first["heard"], second["heard"]) and first["later"] == second["later"]
    # Each pixel with itself: so many rays were heard, of both.
    assert first["heard"][:, 2, 1].tolist() == [2 * RANKS * 256.0] * 2


def test_what_one_process_finds_refuted_all_of_them_know(found: list[dict]) -> None:
    alone = RefutedSpace()
    patches = torch.cat([each["refuted"]["patches"] for each in found])
    for _ in range(5):
        alone.hear(patches, torch.ones(4), torch.ones(4))
    for each in found:
        torch.testing.assert_close(each["refuted"]["doubted"], alone.doubted)
        torch.testing.assert_close(each["refuted"]["heard"], alone.heard)


def test_resumed_processes_draw_numbers_of_their_own(found: list[dict]) -> None:
    assert not torch.equal(found[0]["resumed"], found[1]["resumed"])


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_processes_draw_pixels_of_their_own(found: list[dict], name: str) -> None:
    first, second = (each[name]["drawn"] for each in found)
    assert first.shape == second.shape and float((first == second).float().mean()) < 0.1


def test_processes_grow_the_same_quadtrees_from_all_their_errors(found: list[dict]) -> None:
    first, second = (each["quadtree"]["memory"] for each in found)
    for name in ("first_key", "leaf_depth", "settled"):
        assert torch.equal(first[name], second[name]), name
    # More leaves than the first 16 of each photograph, on both sides, though neither process saw errors on both.
    assert len(first["first_key"]) > 2 * 16
    split = first["first_key"][first["leaf_depth"] > 2]
    # The second highest bit pair of a place on the Z-curve tells left from right.
    right = (split >> (2 * 8 - 2)) & 1
    assert set(right.tolist()) == {0, 1}


@pytest.mark.parametrize("name", ["error-map", "multinomial", "block-error"])
def test_processes_keep_running_errors_of_their_own(found: list[dict], name: str) -> None:
    first, second = (each[name]["memory"] for each in found)
    key = "error_sum" if name == "block-error" else "error"
    assert not torch.equal(first[key], second[key])


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_the_first_processes_memory_fits_all_when_a_run_is_resumed(found: list[dict], name: str) -> None:
    for rank in range(RANKS):
        torch.manual_seed(rank)
        sampler = SAMPLERS[name]().setup(num_rays_per_batch=64)
        sampler.load_state_dict(found[0][name]["memory"])
        sampler.set_progress(0.85)
        assert len(sampler.propose(noisy_store(), 64).flat) == 64


def test_one_process_subdivides_without_a_group() -> None:
    store = noisy_store()
    sampler = QuadtreePixelSamplerConfig().setup()
    assert isinstance(sampler, QuadtreePixelSampler)
    sampler.observe(sampler.propose(store, 500), torch.ones(500))
    sampler.subdivide()
    assert len(sampler.memory["first_key"]) > 2 * 16
