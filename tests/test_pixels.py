"""The pixel store and the samplers over it: exact bookkeeping, the stated region, the stated distribution."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from neus_ns.data.pixel_store import PixelStore, build_store, near_mask, store_images
from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch, SurfacePixelSampler
from neus_ns.pixels.uniform import UniformPixelSamplerConfig

SIZES = [(7, 5), (40, 30), (64, 3), (1, 9)]


def random_images(masks: bool) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    generator = torch.Generator().manual_seed(2)
    images = [torch.randint(256, (h, w, 3), generator=generator).to(torch.uint8) for w, h in SIZES]
    if not masks:
        return images, None
    found = [torch.zeros((h, w), dtype=torch.uint8) for w, h in SIZES]
    found[1][10:15, 22:25] = 255
    return images, found


def random_store(masks: bool = True) -> PixelStore:
    return store_images(*random_images(masks), device="cpu")


def test_flat_indices_and_pixels_of_differing_sizes_are_one_to_one() -> None:
    images, _ = random_images(masks=False)
    store = random_store(masks=False)
    flat = torch.arange(store.num_pixels)
    indices = store.locate(flat)
    expected = [(view, row, col) for view, (w, h) in enumerate(SIZES) for row in range(h) for col in range(w)]
    assert indices.tolist() == [list(pixel) for pixel in expected]
    assert torch.equal(store.flatten(indices), flat)
    rgb, foreground = store.gather(flat)
    assert foreground is None
    looked_up = torch.stack([images[view][row, col] for view, row, col in expected])
    torch.testing.assert_close(rgb, looked_up.float() / 255.0)


def test_areas_are_equal_parts_of_photographs_of_any_size() -> None:
    store = store_images([torch.zeros(4, 6, 3).byte(), torch.zeros(2, 2, 3).byte()], None, "cpu")
    areas = store.areas(store.locate(torch.arange(store.num_pixels)), across=2)
    first = [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2
    assert areas[:24].view(4, 6).tolist() == first and areas[24:].tolist() == [4, 5, 6, 7]


def test_masks_come_back_as_they_went_in() -> None:
    _, masks = random_images(masks=True)
    found = random_store().foreground_masks()
    assert masks is not None and found is not None
    assert all(torch.equal(a, b > 0) for a, b in zip(found, masks, strict=True))
    assert random_store(masks=False).foreground_masks() is None


@pytest.mark.parametrize("shape", [(3, 5), (70, 90)])
def test_region_is_every_pixel_within_the_stated_distance(shape: tuple[int, int]) -> None:
    mask = np.zeros((110, 130), dtype=bool)
    mask[8 : 8 + shape[0], 30 : 30 + shape[1] : 2] = True
    mask[8, 29 + shape[1]] = True
    margin = max(8.0, 0.1 * np.hypot(*shape))
    inside = np.argwhere(mask)
    pixels = np.argwhere(np.ones_like(mask))
    distance = np.array([np.sqrt(((inside - pixel) ** 2).sum(axis=-1)).min() for pixel in pixels]).reshape(mask.shape)
    clear = np.abs(distance - margin) > 1e-3
    assert np.array_equal(near_mask(mask)[clear], (distance <= margin)[clear])


def test_views_that_do_not_show_the_object_have_no_region() -> None:
    store = random_store()
    assert store.candidates is not None
    assert set(store.locate(store.candidates.long())[:, 0].tolist()) == {1}


def test_a_set_without_any_object_falls_back_to_all_pixels() -> None:
    images, masks = random_images(masks=True)
    assert masks is not None
    store = store_images(images, [torch.zeros_like(mask) for mask in masks], device="cpu")
    assert not store.shows_object
    assert set(store.locate(store.draw_candidates(2000))[:, 0].tolist()) == {0, 1, 2, 3}


def draw_counts(store: PixelStore, outside_share: float, batches: int = 200) -> np.ndarray:
    torch.manual_seed(0)
    sampler = UniformPixelSamplerConfig(outside_share=outside_share).setup(num_rays_per_batch=1024)
    counts = torch.zeros(store.num_pixels, dtype=torch.int64)
    for _ in range(batches):
        batch = sampler.propose(store, 1024)
        assert torch.equal(store.flatten(batch.indices), batch.flat)
        assert torch.equal(batch.weight, torch.ones(1024))
        counts += torch.bincount(batch.flat, minlength=store.num_pixels)
    return counts.numpy()


@pytest.mark.parametrize("outside_share", [0.0, 0.05, 1.0])
def test_draws_follow_the_stated_mixture(outside_share: float) -> None:
    store = random_store()
    assert store.candidates is not None
    stated = np.full(store.num_pixels, outside_share / store.num_pixels)
    stated[store.candidates.numpy()] += (1.0 - outside_share) / len(store.candidates)
    counts = draw_counts(store, outside_share)
    possible = stated > 0
    assert counts[~possible].sum() == 0
    assert chisquare(counts[possible], stated[possible] * counts.sum()).pvalue > 1e-3


def test_draws_without_masks_are_uniform_over_pixels_not_over_views() -> None:
    store = random_store(masks=False)
    counts = draw_counts(store, outside_share=0.05)
    assert chisquare(counts, np.full(store.num_pixels, counts.sum() / store.num_pixels)).pvalue > 1e-3


def test_nothing_is_drawn_outside_the_image_circle_of_a_fisheye() -> None:
    images, masks = random_images(masks=True)
    assert masks is not None
    store = build_store(SIZES, True, lambda view: (images[view], masks[view]), "cpu", crop_radius=12.0)
    indices = store.locate(torch.cat((store.draw_anywhere(4000), store.draw_candidates(4000))))
    size = torch.stack((store.height, store.width), dim=-1)[indices[:, 0]]
    off_centre = indices[:, 1:] + 0.5 - size / 2
    assert off_centre.norm(dim=-1).max() <= 12.0
    # Pixels of every photograph remain: the circle only cuts off the corners.
    assert set(indices[:, 0].tolist()) == {0, 1, 2, 3}


def test_train_and_eval_samplers_share_a_config_but_not_a_ray_count() -> None:
    config = UniformPixelSamplerConfig()
    before = dataclasses.replace(config)
    train, held_out = config.setup(num_rays_per_batch=64), config.setup(num_rays_per_batch=16)
    assert config == before
    train.set_num_rays_per_batch(128)
    assert (train.num_rays_per_batch, held_out.num_rays_per_batch) == (128, 16)


@pytest.mark.parametrize("as_list", [True, False])
def test_nerfstudios_own_entrance_gives_the_pixels_it_names(as_list: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    sizes = [(12, 9), (8, 20)] if as_list else [(12, 9), (12, 9)]
    images = [torch.randint(256, (h, w, 3), generator=generator) / 255.0 for w, h in sizes]
    masks = [torch.randint(2, (h, w, 1), generator=generator).float() for w, h in sizes]
    image_batch = {
        "image": images if as_list else torch.stack(images),
        "fg_mask": masks if as_list else torch.stack(masks),
        "image_idx": torch.tensor([5, 3]),
    }
    sampler = UniformPixelSamplerConfig().setup(num_rays_per_batch=33)
    for count in (33, 50):
        sampler.set_num_rays_per_batch(count)
        batch = sampler.sample(image_batch)
        assert batch["indices"].shape == (count, 3)
        slots = [[5, 3].index(view) for view in batch["indices"][:, 0].tolist()]
        at = list(zip(slots, *batch["indices"][:, 1:].T.tolist(), strict=True))
        torch.testing.assert_close(batch["image"], torch.stack([images[i][row, col] for i, row, col in at]))
        torch.testing.assert_close(batch["fg_mask"], torch.stack([masks[i][row, col] for i, row, col in at]))


def test_a_sampler_without_memory_refuses_that_of_another() -> None:
    sampler: SurfacePixelSampler = UniformPixelSamplerConfig().setup()
    assert sampler.state_dict() == {}
    sampler.load_state_dict({})
    with pytest.raises(InputError, match="another pixel sampler"):
        sampler.load_state_dict({"error_map": torch.zeros(3)})


def test_an_unlearning_sampler_may_be_told_errors() -> None:
    sampler = UniformPixelSamplerConfig().setup()
    batch = sampler.propose(random_store(), 8)
    assert isinstance(batch, PixelBatch)
    sampler.observe(batch, torch.ones(8))
