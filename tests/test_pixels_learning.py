"""Samplers that learn from errors: leaves, blocks and maps do what their methods say."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch
from neus_ns.pixels.block_error import BlockErrorPixelSampler, BlockErrorPixelSamplerConfig
from neus_ns.pixels.cells import Cells, interleaved
from neus_ns.pixels.error_map import ErrorMapPixelSamplerConfig
from neus_ns.pixels.multinomial import MultinomialPixelSampler, MultinomialPixelSamplerConfig
from neus_ns.pixels.pool import Pool
from neus_ns.pixels.quadtree import QuadtreePixelSampler, QuadtreePixelSamplerConfig
from neus_ns.pixels.running_error import RunningErrorSampler
from neus_ns.pixels.textured_error import TexturedErrorPixelSamplerConfig

SIZES = [(64, 64), (40, 24)]


def store_of(sizes: list[tuple[int, int]] | None = None) -> PixelStore:
    return store_images([torch.zeros(h, w, 3).byte() for w, h in sizes or SIZES], None, "cpu")


def batch_of(store: PixelStore, flat: torch.Tensor) -> PixelBatch:
    return PixelBatch(store.locate(flat), flat, torch.ones(len(flat)))


def everything(store: PixelStore) -> PixelBatch:
    return batch_of(store, torch.arange(store.num_pixels))


def test_cells_of_every_level_are_runs_of_the_order() -> None:
    store = store_of([(7, 9), (64, 3), (1, 1)])
    cells = Cells(Pool(store), 5)
    assert torch.equal(cells.number.long().sort().values, torch.arange(store.num_pixels))
    for depth in range(6):
        run = cells.runs(cells.level(depth))
        assert len(run) == 3 * 4**depth + 1 and int(run[-1]) == store.num_pixels
        for number, (begin, end) in enumerate(zip(run[:-1].tolist(), run[1:].tolist(), strict=True)):
            view, row, col = store.locate(cells.number[begin:end].long()).unbind(-1)
            row, col = (row << depth) // store.height[view], (col << depth) // store.width[view]
            assert bool(((view << (2 * depth)) + interleaved(row, col, depth) == number).all())


def test_cell_draws_are_even_within_a_cell() -> None:
    torch.manual_seed(0)
    store = store_of([(13, 11)])
    cells = Cells(Pool(store), 2)
    run = cells.runs(cells.level(2))
    flat = cells.draw(run, torch.full((20_000,), 6))
    inside = cells.number[run[6] : run[7]].long()
    counts = torch.bincount(flat, minlength=store.num_pixels)
    assert counts.sum() == counts[inside].sum()
    assert chisquare(counts[inside].numpy()).pvalue > 1e-3


def grown_quadtree(store: PixelStore, **options) -> QuadtreePixelSampler:
    """Errors only in the upper left eighth of the first photograph."""
    sampler = QuadtreePixelSamplerConfig(interval=0.1, **options).setup()
    assert isinstance(sampler, QuadtreePixelSampler)
    sampler.propose(store, 4)
    view, row, col = everything(store).indices.unbind(-1)
    error = torch.where((view == 0) & (row < 8) & (col < 8), 1.0, 0.001)
    for step in range(1, 8):
        sampler.observe(everything(store), error)
        sampler.set_progress(0.1 * step + 1e-6)
        sampler.propose(store, 4)
    return sampler


def test_quadtree_leaves_partition_the_photographs_and_are_small_where_the_error_is() -> None:
    store = store_of()
    sampler = grown_quadtree(store, initial_depth=1)
    first_key, depth = sampler.memory["first_key"], sampler.memory["leaf_depth"]
    # Each leaf ends where the next begins.
    size = 4 ** (8 - depth)
    assert torch.equal((first_key + size)[:-1], first_key[1:]) and int(first_key[0]) == 0
    assert int(first_key[-1] + size[-1]) == sampler.cells.num_keys
    assert int(sampler.run[-1]) == store.num_pixels
    leaf = torch.searchsorted(first_key, sampler.cells.key(torch.arange(store.num_pixels)), right=True) - 1
    leaf_depth = depth[leaf]
    view, row, col = everything(store).indices.unbind(-1)
    bad = (view == 0) & (row < 8) & (col < 8)
    # At the sixth level of 64 x 64 pixels a leaf is a pixel, which is not split any further.
    assert leaf_depth[bad].unique().tolist() == [6]
    assert int(leaf_depth[(view == 0) & ((row >= 32) | (col >= 32))].max()) == 1
    assert int(leaf_depth[view == 1].max()) == 1
    assert bool(sampler.memory["settled"][leaf[~bad]].all()) and not bool(sampler.memory["settled"][leaf[bad]].any())


@pytest.mark.parametrize("context_share", [0.0, 0.6])
def test_unsettled_leaves_get_rays_by_area_and_settled_ones_ten(context_share: float) -> None:
    torch.manual_seed(0)
    store = store_of()
    sampler = grown_quadtree(store, initial_depth=1, context_share=context_share)
    pixels = sampler.run.diff()
    expected = torch.where(sampler.memory["settled"], pixels.clamp_max(10), pixels).double()
    flat = sampler.propose(store, 60_000).flat
    leaf = torch.searchsorted(sampler.memory["first_key"], sampler.cells.key(flat), right=True) - 1
    counts = torch.bincount(leaf, minlength=len(pixels))
    assert counts[expected == 0].sum() == 0
    expected = expected / expected.sum() * 60_000
    assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 1e-3


def test_the_closing_phase_is_even_and_splits_nothing() -> None:
    torch.manual_seed(0)
    store = store_of([(16, 16)])
    sampler = grown_quadtree(store)
    leaves = len(sampler.memory["first_key"])
    sampler.set_progress(0.95)
    counts = torch.bincount(sampler.propose(store, 25_600).flat, minlength=256)
    assert chisquare(counts.numpy()).pvalue > 1e-3
    assert len(sampler.memory["first_key"]) == leaves


def test_a_settled_leaf_that_gets_bad_again_is_split_and_one_without_rays_stays() -> None:
    store = store_of([(64, 64)])
    sampler = grown_quadtree(store, initial_depth=1)
    corner = batch_of(store, torch.tensor([64 * 64 - 1]))
    sampler.observe(corner, torch.ones(1))
    before = sampler.memory["leaf_depth"].clone()
    sampler.set_progress(0.85)
    sampler.propose(store, 4)
    after = sampler.memory["leaf_depth"]
    assert after[-4:].tolist() == [2] * 4 and torch.equal(after[:-4], before[:-1])


def test_blocks_get_rays_by_their_mean_error() -> None:
    torch.manual_seed(0)
    store = store_of()
    sampler = BlockErrorPixelSamplerConfig(depth=1).setup()
    assert isinstance(sampler, BlockErrorPixelSampler)
    sampler.propose(store, 1)
    view, row, col = everything(store).indices.unbind(-1)
    block = (2 * row // store.height[view]) * 2 + 2 * col // store.width[view]
    # The last block of the first photograph is never looked at: it counts as the mean of the three others.
    error = torch.tensor([[1.0, 2.0, 3.0, torch.nan], [4.0, 4.0, 0.0, 8.0]])[view, block]
    sampler.observe(everything(store), error)
    drawn = sampler.propose(store, 50_000).indices
    found_block = (2 * drawn[:, 1] // store.height[drawn[:, 0]]) * 2 + 2 * drawn[:, 2] // store.width[drawn[:, 0]]
    counts = torch.bincount(4 * drawn[:, 0] + found_block, minlength=8).numpy()
    floor = 0.05 * 4.0
    first = 64 * 64 * np.array([1.0, 2.0, 3.0, 2.0]) / 8.0
    second = 40 * 24 * np.array([4.0, 4.0, floor, 8.0]) / (16 + floor)
    expected = np.concatenate((first, second))
    assert chisquare(counts, expected / expected.sum() * 50_000).pvalue > 1e-3


def test_a_block_without_rays_keeps_what_was_known_of_it_and_new_errors_replace_old_ones() -> None:
    store = store_of([(16, 16)])
    sampler = BlockErrorPixelSamplerConfig(depth=1).setup()
    sampler.propose(store, 1)
    sampler.observe(everything(store), torch.ones(256))
    corner = batch_of(store, torch.arange(16))
    for _ in range(1000):
        sampler.observe(corner, torch.full((16,), 3.0))
    ratio = sampler.ratio(Pool(store), torch.tensor([0, 15, 240, 255]))
    torch.testing.assert_close(ratio, torch.tensor([1.5, 1.5, 0.5, 0.5]), rtol=1e-3, atol=0)


def test_error_map_draws_by_the_running_error_and_redraws_ever_more_rarely() -> None:
    store = store_of([(8, 4)])
    sampler = ErrorMapPixelSamplerConfig(uniform_share=0.2, memory_rate=0.5).setup()
    assert isinstance(sampler, RunningErrorSampler)
    sampler.propose(store, 1)
    seen = torch.arange(24)
    sampler.observe(batch_of(store, seen), seen.float())
    sampler.observe(batch_of(store, seen), 3 * seen.float())
    assert torch.equal(sampler.ratio(Pool(store), seen), torch.ones(24))
    redraws = []
    for step in range(1001):
        sampler.set_progress(step / 1000)
        before = sampler.memory["redraw_at"]
        sampler.propose(store, 1)
        if not torch.equal(before, sampler.memory["redraw_at"]):
            redraws.append(step)
    expected = 2 * torch.arange(32.0)
    expected[24:] = 2 * 11.5
    expected = 0.2 + 0.8 * expected / expected.mean()
    torch.testing.assert_close(sampler.ratio(Pool(store), torch.arange(32)), expected)
    gaps = np.diff(redraws)
    assert redraws[0] == 7 and 8 <= len(redraws) <= 11 and np.all(np.diff(gaps[:-1]) > 0)


def test_textured_errors_count_where_the_photograph_changes_and_shared_entries_by_their_mean(monkeypatch) -> None:
    """Left half plain, right half a chequerboard; errors are alike everywhere."""
    photo = torch.full((8, 16, 3), 100, dtype=torch.uint8)
    photo[:, 8:] += (40 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2))[..., None].to(torch.uint8)
    store = store_images([photo], None, "cpu")
    for entries in (8_000_000, 64):
        monkeypatch.setattr(RunningErrorSampler, "most_entries", entries)
        sampler = TexturedErrorPixelSamplerConfig(uniform_share=0.2).setup()
        assert isinstance(sampler, RunningErrorSampler)
        sampler.propose(store, 1)
        sampler.observe(everything(store), torch.ones(128))
        sampler.redraw()
        ratio = sampler.ratio(Pool(store), torch.arange(128)).view(8, 16)
        torch.testing.assert_close(ratio[:, :4], torch.full((8, 4), 0.2), atol=1e-3, rtol=0)
        assert (ratio[:, 8:] > 1.3).all() and abs(float(ratio.mean()) - 1) < 1e-5
    with pytest.raises(InputError, match="plain is 0"):
        TexturedErrorPixelSamplerConfig(plain=0.0).setup()


def test_what_shines_is_drawn_evenly_at_last_and_what_is_matt_never() -> None:
    store, every = store_of([(9, 7)]), torch.arange(63)
    sampler = ErrorMapPixelSamplerConfig(closing_if_glossy=0.5).setup()
    assert isinstance(sampler, RunningErrorSampler)
    sampler.propose(store, 1)
    sampler.observe(everything(store), torch.rand(63))
    for progress, shines, even in ((0.4, True, False), (0.6, False, False), (0.6, True, True), (0.6, False, False)):
        sampler.set_progress(progress, shines)
        sampler.propose(store, 1)
        assert torch.equal(sampler.ratio(Pool(store), every), torch.ones(63)) == even
    with pytest.raises(InputError, match="closing_if_glossy is -1"):
        ErrorMapPixelSamplerConfig(closing_if_glossy=-1.0).setup()


def test_a_closing_error_map_draws_evenly_and_goes_back_to_its_errors_if_training_is_lengthened() -> None:
    torch.manual_seed(0)
    store = store_of([(17, 6)])
    config = ErrorMapPixelSamplerConfig(uniform_share=0.2, closing=0.5)
    sampler = config.setup()
    assert isinstance(sampler, RunningErrorSampler)
    error = torch.rand(102)
    sampler.propose(store, 1)
    sampler.observe(everything(store), error)
    by_error = 0.2 + 0.8 * error / error.mean()
    every = torch.arange(102)
    sampler.set_progress(0.49)
    sampler.propose(store, 1)
    torch.testing.assert_close(sampler.ratio(Pool(store), every), by_error)
    sampler.set_progress(0.5)
    counts = torch.bincount(sampler.propose(store, 40_000).flat, minlength=102)
    assert chisquare(counts).pvalue > 1e-3
    assert torch.equal(sampler.ratio(Pool(store), every), torch.ones(102))

    resumed = config.setup()
    assert isinstance(resumed, RunningErrorSampler)
    resumed.load_state_dict(sampler.state_dict())
    resumed.set_progress(0.4)
    resumed.propose(store, 1)
    torch.testing.assert_close(resumed.ratio(Pool(store), every), by_error)
    with pytest.raises(InputError, match="closing is 1.5"):
        ErrorMapPixelSamplerConfig(closing=1.5).setup()


def test_multinomial_looks_at_every_pixel_before_it_looks_at_one_twice_and_draws_by_the_last_error() -> None:
    torch.manual_seed(0)
    store = store_of([(17, 6)])
    sampler = MultinomialPixelSamplerConfig(sweep_share=1.0).setup()
    assert isinstance(sampler, MultinomialPixelSampler)
    swept = torch.cat([sampler.propose(store, 34).flat for _ in range(3)])
    assert torch.equal(swept.sort().values, torch.arange(102))
    error = torch.rand(102)
    sampler.observe(everything(store), 2 * error)
    sampler.observe(everything(store), error)
    sampler.set_progress(0.5)
    sampler.config.sweep_share = 0.25
    flat = sampler.propose(store, 40_000).flat[10_001:]
    counts = torch.bincount(flat, minlength=102)
    expected = error.double() / error.double().sum() * len(flat)
    assert chisquare(counts, expected).pvalue > 1e-3
    torch.testing.assert_close(
        sampler.ratio(Pool(store), torch.arange(102)), 0.25 + 0.75 * error / error.mean(), rtol=1e-3, atol=1e-3
    )


def test_pixels_of_a_large_capture_share_entries_of_the_map() -> None:
    torch.manual_seed(0)
    store = store_of([(17, 6)])
    sampler = ErrorMapPixelSamplerConfig(uniform_share=0.0).setup()
    assert isinstance(sampler, RunningErrorSampler)
    # 102 pixels in 21 entries: five each, and two in the last.
    sampler.most_entries = 22
    sampler.propose(store, 1)
    assert sampler.memory["error"].shape == (21,)
    error = torch.arange(102.0) // 5
    sampler.observe(everything(store), error)
    sampler.set_progress(0.5)
    flat = sampler.propose(store, 40_000).flat
    expected = error.double() / error.double().sum()
    counts = torch.bincount(flat, minlength=102)
    assert counts[:5].sum() == 0 and chisquare(counts[5:], expected[5:] * len(flat)).pvalue > 1e-3
    torch.testing.assert_close(
        sampler.ratio(Pool(store), torch.arange(102)), error / error.mean(), rtol=1e-3, atol=1e-3
    )


def test_a_map_hears_nothing_of_errors_that_are_no_numbers():
    store = store_of()
    sampler = ErrorMapPixelSamplerConfig(memory_rate=1.0).setup()
    sampler.propose(store, 16)
    flat = torch.arange(100, 140)
    error = torch.arange(40.0)
    error[::3] = torch.nan
    assert isinstance(sampler, RunningErrorSampler)
    sampler.observe(batch_of(store, flat), error)
    number, _ = sampler.numbers_of(batch_of(store, flat))
    heard = sampler.memory["error"]
    assert torch.equal(heard[number][error.isfinite()], error[error.isfinite()])
    assert int((heard >= 0).sum()) == int(error.isfinite().sum())
    before = heard.clone()
    sampler.observe(batch_of(store, flat), torch.full((40,), torch.inf))
    sampler.observe(batch_of(store, flat[:0]), error[:0])
    assert torch.equal(heard, before)
