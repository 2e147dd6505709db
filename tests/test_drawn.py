"""The picture of where rays fell: counts against a loop, brightness where they are, the checkpoint and the viewer."""

import base64
import io
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement
from PIL import Image
from viser import ViserServer

from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.models.drawn_view import ViewerPicture, data_url
from neus_ns.models.pipeline import surface_pipeline
from neus_ns.pixels.drawn import DrawnPixels
from tests.scenes import tiny_capture
from tests.test_neus_hash import tiny_config

SIZES = [(40, 33), (100, 70), (5, 64)]


def store_of(sizes: list[tuple[int, int]] = SIZES) -> PixelStore:
    return store_images([torch.full((h, w, 3), 128, dtype=torch.uint8) for w, h in sizes], None, "cpu")


def test_counts_are_those_of_a_loop_and_density_has_the_mean_one() -> None:
    torch.manual_seed(0)
    store = store_of()
    drawn = DrawnPixels(store)
    expected = np.zeros((3, 32, 32))
    for _ in range(3):
        indices = store.locate(store.draw_anywhere(400))
        drawn.note(indices)
        for view, row, col in indices.tolist():
            width, height = SIZES[view]
            expected[view, row * 32 // height, col * 32 // width] += 1
    np.testing.assert_array_equal(drawn.counts.numpy(), expected)
    pixels = (store.height * store.width)[:, None, None] / 32**2
    assert float((drawn.density() * pixels).sum() / store.num_pixels) == pytest.approx(1.0, rel=1e-5)
    assert bool(torch.isfinite(DrawnPixels(store).picture()).all())


def test_old_rays_count_less() -> None:
    store = store_of()
    drawn = DrawnPixels(store)
    first, later = torch.tensor([[0, 0, 0]]), torch.tensor([[1, 69, 99]])
    drawn.note(first.expand(512, 3))
    for _ in range(1499):
        drawn.note(later)
    # Halved after 500, 1000 and 1500 batches.
    assert float(drawn.counts[0, 0, 0]) == 512 / 8 and float(drawn.counts[1, 31, 31]) < 1100


def test_the_picture_is_bright_where_rays_fell() -> None:
    store = store_of()
    drawn = DrawnPixels(store)
    row, col = torch.randint(0, 16, (2000,)), torch.randint(50, 100, (2000,))
    drawn.note(torch.stack((torch.ones_like(row), row, col), -1))
    picture = drawn.picture()
    # Three photographs in a row of three tiles; the second is 94 pixels wide and 66 high.
    assert picture.shape == (96, 288, 3) and 0 <= float(picture.min()) and float(picture.max()) <= 1
    tile = picture[:66, 96:190]
    assert float(tile[:13, 48:].mean()) > 0.7 > 0.2 > float(tile[20:].mean())
    many = DrawnPixels(store_of([(8, 8)] * 100)).picture()
    assert many.shape == (4 * 96, 6 * 96, 3)


def test_a_viewer_shows_the_picture_it_is_given() -> None:
    shown = ViewerPicture("Where rays fell")
    picture = torch.rand(6, 9, 3)
    shown.show(picture)
    assert not shown.installed
    text = SimpleNamespace(content="")
    server = MagicMock(spec=ViserServer)
    server.gui = SimpleNamespace(add_markdown=lambda *_, **__: text)
    shown.install(server)
    assert shown.installed and text.content == ""
    shown.show(picture)
    assert data_url(picture) in text.content
    inside = Image.open(io.BytesIO(base64.b64decode(data_url(picture).split(",")[1])))
    assert np.abs(np.asarray(inside) / 255.0 - picture.numpy()).max() < 0.003


def test_pipelines_count_show_and_remember(tmp_path: Path) -> None:
    tiny_capture(tmp_path / "ball", size=24, views=5)
    config = tiny_config(tmp_path / "ball", tmp_path, 4)
    pipeline = surface_pipeline(config.pipeline.setup(device="cpu", test_mode="val", world_size=1, local_rank=0))
    drawn = pipeline.drawn
    assert drawn is not None and float(drawn.counts.sum()) == 0.0
    elements = [element for _, element in parse_object(pipeline, ViewerElement, "Custom Elements")]
    assert pipeline.drawn_view in elements
    pipeline.get_train_loss_dict(0)
    assert pipeline.datamanager.last_pixels is not None
    assert float(drawn.counts.sum()) == len(pipeline.datamanager.last_pixels.flat)
    assert torch.equal(pipeline.get_eval_image_metrics_and_images(0)[1]["drawn_pixels"], drawn.picture())
    state = pipeline.state_dict()
    counts = drawn.counts.clone()
    pipeline.get_train_loss_dict(1)
    pipeline.load_state_dict(state)
    assert torch.equal(drawn.counts, counts)
    # Checkpoints from before there were counts, or of other photographs, load all the same.
    extra = pipeline.get_extra_state()
    pipeline.set_extra_state({name: extra[name] for name in ("samples_per_ray", "rays")})
    pipeline.set_extra_state(extra | {"drawn": torch.zeros(2, 32, 32)})
    assert torch.equal(drawn.counts, counts)
