"""Where photographs are plain, and how far around."""

import pytest
import torch

from neus_ns.data.contrast import contrast_around, plain_all_around
from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.models.photographed import Photographed
from neus_ns.pixels.base import PixelBatch


def every_pixel(store: PixelStore) -> PixelBatch:
    flat = torch.arange(store.num_pixels)
    return PixelBatch(store.locate(flat), flat, torch.ones(len(flat)))


def test_contrast_is_the_spread_of_grey_around_a_pixel_and_stops_at_the_border():
    generator = torch.Generator().manual_seed(0)
    photo = torch.randint(0, 256, (7, 9, 3), generator=generator, dtype=torch.uint8)
    store = store_images([torch.full((4, 5, 3), 80, dtype=torch.uint8), photo], None, "cpu")
    found = contrast_around(store, every_pixel(store))
    assert not found[:20].any()
    grey = photo.double().mean(-1)
    for row, col in ((0, 0), (3, 4), (6, 7)):
        rows, cols = ([min(max(at + d, 0), size - 1) for d in (-2, 0, 2)] for at, size in ((row, 7), (col, 9)))
        expected = grey[rows][:, cols].std(correction=0)
        assert float(found[20 + 9 * row + col]) == pytest.approx(float(expected), rel=1e-5)


def test_plainness_is_that_of_the_most_telling_neighbourhood_within_a_share_of_the_photograph():
    generator = torch.Generator().manual_seed(1)
    photos = [torch.randint(90, 120, (60, 200, 3), generator=generator, dtype=torch.uint8) for _ in range(2)]
    store = store_images([photos[0][:9, :11].contiguous(), photos[1]], None, "cpu")
    found = plain_all_around(store, every_pixel(store), 4.0)[99:].view(60, 200)
    grey = photos[1].double().mean(-1)
    # 200 pixels wide: two grid points 1.5, rounded to 2, pixels apart to either side.
    for row, column in ((30, 100), (0, 0), (59, 3), (7, 199)):
        rows = [min(max(row + 2 * d, 0), 59) for d in range(-2, 3)]
        columns = [min(max(column + 2 * d, 0), 199) for d in range(-2, 3)]
        grid = grey[rows][:, columns]
        most = max(float(grid[i : i + 3, j : j + 3].var(correction=0)) for i in range(3) for j in range(3))
        assert float(found[row, column]) == pytest.approx(256 / (most**2 + 256), rel=1e-4)


def test_what_is_even_is_plain_up_to_its_edge_and_texture_is_not():
    photo = torch.full((80, 160, 3), 60, dtype=torch.uint8)
    photo[:, 80:] = 75
    generator = torch.Generator().manual_seed(0)
    photo[40:, :80] = torch.randint(30, 90, (40, 80, 1), generator=generator, dtype=torch.uint8)
    store = store_images([photo], None, "cpu")
    plain = plain_all_around(store, every_pixel(store), 4.0).view(80, 160)
    assert (plain[:36, :76] == 1).all() and (plain[:, 84:] == 1).all()
    assert (plain[:, 79:81] < 0.5).all() and (plain[44:, :76] < 0.15).all()
    strict = plain_all_around(store, every_pixel(store), 1e-9).view(80, 160)
    assert (strict[:36, :76] == 1).all() and (strict[44:, :76] == 0).all()


def test_the_colour_of_what_is_plain_counts_as_much_as_asked_for():
    image = torch.rand(3, 3, generator=torch.Generator().manual_seed(2))
    drawn = torch.tensor([1.0, 2.0, 3.0])
    plain = torch.tensor([0.0, 0.5, 1.0])
    for black in (None, 0.1):
        batch = {"image": image, "pixel_weight": drawn[:, None]}
        unknown = Photographed.of(batch, False, torch.device("cpu")).counting(black, 0.2)
        counting = Photographed.of(batch | {"plain": plain}, False, torch.device("cpu")).counting(black, 0.2)
        torch.testing.assert_close(counting, unknown * torch.tensor([1.0, 0.6, 0.2]))
