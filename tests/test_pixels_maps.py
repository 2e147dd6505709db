"""Samplers that look at each photograph once: their maps against plain loops, and the strata of the Latin hypercube."""

import cv2
import numpy as np
import pytest
import torch

from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.pixels.choice import SAMPLERS
from neus_ns.pixels.context_std import context_std
from neus_ns.pixels.edges import edges_beside
from neus_ns.pixels.interest import corners
from neus_ns.pixels.interest_points import corner_map
from neus_ns.pixels.interest_regions import InterestRegionsPixelSamplerConfig
from neus_ns.pixels.latin_hypercube import LatinHypercubePixelSamplerConfig
from neus_ns.pixels.pixel_map import PixelMapSampler, ViewPixels, mean_values
from neus_ns.pixels.pool import Pool
from neus_ns.pixels.redistribute import RedistributingSampler
from neus_ns.pixels.silhouette import outline_map


def noise_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    photo[:, width // 2 :] = 40
    return photo


def view_of(photo: np.ndarray) -> ViewPixels:
    return ViewPixels(photo, None, np.ones(photo.shape[:2], dtype=bool))


@pytest.mark.parametrize("shape", [(9, 14), (1, 6), (5, 1), (1, 1)])
def test_context_prior_is_the_deviation_of_each_neighbourhood(shape: tuple[int, int]) -> None:
    photo = noise_photo(*shape)
    expected = np.zeros(shape)
    for row in range(shape[0]):
        for col in range(shape[1]):
            near = [
                photo[min(max(row + i, 0), shape[0] - 1), min(max(col + j, 0), shape[1] - 1)].astype(float)
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
            ]
            expected[row, col] = np.std(near, axis=0).mean()
    expected = np.maximum(expected, 0.01 * expected.mean())
    np.testing.assert_allclose(context_std(photo), expected, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shared_by", [1, 3, 16])
def test_mean_values_are_those_of_runs_of_the_pool(masked: bool, shared_by: int) -> None:
    photos = [
        torch.from_numpy(noise_photo(*shape, seed=seed)) for seed, shape in enumerate([(40, 31), (23, 50), (9, 8)])
    ]
    masks = [torch.zeros(photo.shape[:2], dtype=torch.uint8) for photo in photos]
    for mask in masks[:2]:
        mask[3:6, 4:8] = 255
    pool = Pool(store_images(photos, masks if masked else None, "cpu"))
    every = torch.cat([photo[..., 0].reshape(-1) for photo in photos]).double()
    of_pool = every[pool.flat(torch.arange(pool.size))]
    expected = torch.stack([run.mean() for run in of_pool.split(shared_by)])
    found = mean_values(pool, lambda view: view.photo[..., 0], shared_by)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


def test_outline_map_is_the_blurred_laplacian_of_the_mask() -> None:
    mask = np.zeros((13, 17), dtype=bool)
    mask[3:9, 4:11] = True
    mask[5, 10] = False
    mask[10:, 14:] = True
    sigma, reach = 1.2, 4
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    value = np.pad(mask.astype(float), 1, mode="edge")
    laplacian, expected = np.zeros(mask.shape), np.zeros(mask.shape)
    for row in range(13):
        for col in range(17):
            r, c = row + 1, col + 1
            around = value[r - 1, c] + value[r + 1, c] + value[r, c - 1] + value[r, c + 1]
            laplacian[row, col] = abs(around - 4 * value[r, c])
    for row in range(13):
        for col in range(17):
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if 0 <= row + i < 13 and 0 <= col + j < 17:
                        weight = kernel[i + reach] * kernel[j + reach]
                        expected[row, col] += weight * laplacian[row + i, col + j]
    np.testing.assert_allclose(outline_map(mask, sigma), expected, atol=1e-5)


def test_edges_count_where_they_are_six_to_nine_columns_away() -> None:
    photo = np.full((20, 40, 3), 20, dtype=np.uint8)
    photo[4:16, 17:] = 220
    edges = cv2.Canny(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 30, 40) > 0
    assert edges.any()
    expected = np.zeros(edges.shape)
    for row in range(20):
        for col in range(40):
            beside = [col + side * px for side in (-1, 1) for px in (6, 7, 8, 9)]
            expected[row, col] = sum(edges[row, each] for each in beside if 0 <= each < 40) / 8
    np.testing.assert_allclose(edges_beside(photo), expected, atol=1e-6)


def test_regions_grow_from_the_points_by_two_pixels_each_time() -> None:
    photo = np.full((60, 60, 3), 10, dtype=np.uint8)
    photo[20:40, 20:40] = 240
    points = corner_map(view_of(photo))
    found = corners(torch.from_numpy(photo), torch.ones(60, 60, dtype=torch.bool)).numpy()
    assert len(found) == int(points.sum()) > 0
    for iterations in (0, 1, 3):
        sampler = InterestRegionsPixelSamplerConfig(iterations=iterations).setup()
        region = sampler.importance(view_of(photo))
        rows, cols = np.mgrid[:60, :60]
        apart = np.min([np.maximum(abs(rows - r), abs(cols - c)) for r, c in found], axis=0)
        assert np.array_equal(region > 0, apart <= 2 * iterations)


def map_store() -> PixelStore:
    images = [torch.from_numpy(noise_photo(20, 30, 1)), torch.full((8, 11, 3), 9, dtype=torch.uint8)]
    masks = [torch.zeros(20, 30).byte(), torch.zeros(8, 11).byte()]
    masks[0][12:15, 3:6] = 255
    masks[1][2:4, 2:4] = 255
    return store_images(images, masks, "cpu")


@pytest.mark.parametrize("name", ["context-std", "interest-points", "interest-regions", "edges", "silhouette"])
def test_a_map_moves_rays_within_a_photograph_and_not_between_photographs(name: str) -> None:
    store = map_store()
    sampler = SAMPLERS[name]().setup()
    assert isinstance(sampler, PixelMapSampler)
    pool = sampler.pool_of(store)
    flat = pool.flat(torch.arange(pool.size))
    ratio, bounds = sampler.ratio(pool, flat), pool.view_bounds().tolist()
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        assert float(ratio[begin:end].mean()) == pytest.approx(1.0, rel=1e-4)
    assert store.fg is not None
    photo = ViewPixels(store.rgb[:600].view(20, 30, 3).numpy(), store.fg[:600].view(20, 30).numpy() > 0, _allowed(pool))
    importance = torch.from_numpy(sampler.importance(photo)).flatten()[flat[: bounds[1]]].double()
    even = sampler.even_share
    expected = even + (1 - even) * importance / importance.mean()
    torch.testing.assert_close(ratio[: bounds[1]].double(), expected, rtol=1e-4, atol=1e-6)
    if name != "silhouette":
        # Nothing to find in a photograph of a single colour.
        torch.testing.assert_close(ratio[bounds[1] :], torch.ones(bounds[2] - bounds[1]))


def _allowed(pool: Pool) -> np.ndarray:
    allowed = np.zeros(600, dtype=bool)
    allowed[pool.flat(torch.arange(pool.size))[: pool.view_bounds()[1]].numpy()] = True
    return allowed.reshape(20, 30)


def test_latin_hypercube_fills_every_stratum_of_photographs_rows_and_columns() -> None:
    torch.manual_seed(0)
    store = store_images([torch.zeros(32, 64, 3).byte() for _ in range(4)], None, "cpu")
    sampler = SAMPLERS["latin-hypercube"]().setup()
    indices = sampler.propose(store, 64).indices
    assert torch.bincount(indices[:, 0], minlength=4).tolist() == [16] * 4
    assert torch.bincount(indices[:, 1], minlength=32).tolist() == [2] * 32
    assert torch.bincount(indices[:, 2], minlength=64).tolist() == [1] * 64
    # The axes are not tied to one another.
    correlation = torch.corrcoef(indices.T.float()) - torch.eye(3)
    assert float(correlation.abs().max()) < 0.5


def test_latin_hypercube_takes_one_pixel_of_every_run_of_the_masks_surroundings() -> None:
    store = map_store()
    sampler = LatinHypercubePixelSamplerConfig(outside_share=0.0).setup()
    assert isinstance(sampler, RedistributingSampler)
    pool = sampler.pool_of(store)
    rays = pool.size // 4
    numbers, inside = pool.numbers(sampler.propose(store, rays).flat)
    assert bool(inside.all())
    stratum_end = (torch.arange(rays) + 1) * pool.size / rays
    assert bool((numbers <= stratum_end).all() and (numbers >= stratum_end - pool.size / rays - 1).all())


def test_pool_numbers_and_pixels_are_one_to_one() -> None:
    pool = Pool(map_store())
    numbers = torch.arange(pool.size)
    found, inside = pool.numbers(pool.flat(numbers))
    assert torch.equal(found, numbers) and bool(inside.all())
    everything = torch.arange(pool.store.num_pixels)
    assert int(pool.numbers(everything)[1].sum()) == pool.size
