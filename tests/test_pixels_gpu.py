"""Samplers on a CUDA device: they stay there, keep their laws, and take up what was learnt on the CPU."""

import pytest
import torch
from scipy.stats import chisquare

from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.pixels.base import SurfacePixelSampler
from neus_ns.pixels.choice import SAMPLERS
from neus_ns.pixels.drawn import DrawnPixels
from neus_ns.pixels.redistribute import RedistributingSampler
from tests.test_pixels_strategies import SIZES, photos


def store_on(device: str, masks: bool) -> PixelStore:
    found = None
    if masks:
        found = [torch.zeros((h, w), dtype=torch.uint8) for w, h in SIZES]
        found[0][2:5, 6:9] = 255
        found[1][10:15, 22:30] = 255
    return store_images(photos(), found, device)


def step(sampler: SurfacePixelSampler, store: PixelStore, progress: float) -> torch.Tensor:
    sampler.set_progress(progress)
    batch = sampler.propose(store, 256)
    parts = (batch.flat, batch.indices, batch.weight)
    assert {part.device.type for part in parts} == {store.device.type}
    view, row, col = batch.indices.unbind(-1)
    error = 0.01 + (1 - row / store.height[view]) * (1 - col / store.width[view])
    if batch.positions is not None:
        batch.positions.grad = torch.randn_like(batch.positions) / 256
    sampler.observe(batch, error)
    return batch.flat


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_draws_on_a_device_follow_the_stated_distribution(cuda: str, name: str) -> None:
    torch.manual_seed(0)
    store = store_on("cuda", masks=True)
    sampler = SAMPLERS[name]().setup(num_rays_per_batch=256)
    for number in range(30):
        step(sampler, store, number / 40)
    assert all(value.device.type in ("cuda", "cpu") for value in sampler.state_dict().values())
    counts = torch.zeros(store.num_pixels, device="cuda")
    if isinstance(sampler, RedistributingSampler):
        pool, everything = sampler.pool_of(store), torch.arange(store.num_pixels, device="cuda")
        share = 0.05
        inside = pool.numbers(everything)[1].double()
        chance = (1 - share) * inside * sampler.ratio(pool, everything).double() / pool.size + share / store.num_pixels
        # Proposals without feedback: the distribution stays as it is.
        for _ in range(100):
            counts += torch.bincount(sampler.propose(store, 1024).flat, minlength=store.num_pixels)
        expected = (chance / chance.sum() * counts.sum().double()).cpu()
        possible = expected > 0
        assert chisquare(counts.cpu().double()[possible], expected[possible]).pvalue > 1e-3


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_memory_moves_between_devices(cuda: str, name: str) -> None:
    here, there = store_on("cpu", True), store_on("cuda", True)
    sampler = SAMPLERS[name]().setup(num_rays_per_batch=256)
    for number in range(5):
        step(sampler, here, number / 40)
    moved = SAMPLERS[name]().setup(num_rays_per_batch=256)
    moved.load_state_dict(sampler.state_dict())
    step(moved, there, 0.2)
    back = SAMPLERS[name]().setup(num_rays_per_batch=256)
    back.load_state_dict({key: value.cpu() for key, value in moved.state_dict().items()})
    step(back, here, 0.25)


def test_counts_of_rays_are_kept_on_the_device(cuda: str) -> None:
    store = store_on("cuda", True)
    drawn = DrawnPixels(store)
    drawn.note(store.locate(store.draw_anywhere(1000)))
    assert drawn.counts.device.type == "cuda" and float(drawn.counts.sum()) == 1000
    assert drawn.picture().device.type == "cpu"
