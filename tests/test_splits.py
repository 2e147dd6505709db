"""Which photographs train and which evaluate: every choice is honoured or refused in a sentence, before training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.sources.dtu import DTUDataParserConfig
from neus_ns.errors import InputError
from tests.source_samples import SAMPLES, Shots, take_shots
from tests.test_datamanager import capture, half_alpha, save


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shots:
    return take_shots(tmp_path_factory.mktemp("rendered"))


def manager(folder: Path, **options: Any) -> SurfaceDataManager:
    return SurfaceDataManagerConfig(data=folder, **options).setup(device="cpu", test_mode="val")


def names(data: SurfaceDataManager) -> tuple[list[str], list[str]]:
    return [p.name for p in data.train_dataset.image_filenames], [p.name for p in data.eval_dataset.image_filenames]


def assert_refused(folder: Path, *words: str, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        manager(folder, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and message.endswith(".") and ". " not in message, message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eval_mode": "interval", "eval_interval": 1}, ("no photograph is left for training", "--eval-interval")),
        ({"eval_mode": "interval", "eval_interval": 0}, ("--eval-interval is 0",)),
        ({"train_split_fraction": 0.1}, ("only 00.png is left for training",)),
        ({"train_split_fraction": 0.0}, ("--train-split-fraction is 0.0",)),
        ({"train_split_fraction": 1.5}, ("--train-split-fraction is 1.5",)),
        ({"eval_mode": "filename"}, ("00.png and 9 more", "neither has `train` nor `eval`")),
    ],
)
def test_splits_that_leave_nothing_to_train_on_are_refused(tmp_path: Path, options: dict, words) -> None:
    capture(tmp_path)
    assert_refused(tmp_path, *words, dataparser=NerfstudioDataParserConfig(**options))


def test_a_factor_of_two_is_two_however_it_is_written(tmp_path: Path) -> None:
    capture(tmp_path)
    for path in (tmp_path / "images").iterdir():
        for folder in ("images_2", "masks_2"):
            (tmp_path / folder).mkdir(exist_ok=True)
            source = tmp_path / folder.removesuffix("_2") / path.name
            Image.open(source).reduce(2).save(tmp_path / folder / path.name)
    # As ns-render sets it, whatever the option's type.
    parser = NerfstudioDataParserConfig()
    parser.downscale_factor = 2.0  # type: ignore[assignment]
    assert manager(tmp_path, dataparser=parser).train_dataset.size_of(0) == (12, 9)
    for factor in (0, 1.5):
        parser.downscale_factor = factor  # type: ignore[assignment]
        assert_refused(tmp_path, f"--downscale-factor is {factor:g}", dataparser=parser)


def test_our_readers_splits_are_held_to_the_same(tmp_path: Path, shots: Shots) -> None:
    SAMPLES["DTU"].write(shots, tmp_path)
    assert_refused(tmp_path, "no photograph is left", dataparser=DTUDataParserConfig(eval_interval=1))


def test_colmaps_lists_are_followed_by_whichever_name_they_have(tmp_path: Path, shots: Shots) -> None:
    SAMPLES["COLMAP binary"].write(shots, tmp_path)
    (tmp_path / "train_list.txt").write_text("002.png\n000.png\n\n005.png \n")
    for name in ("test_list.txt", "validation_list.txt", "val_list.txt"):
        (tmp_path / name).write_text("007.png\n")
        assert names(manager(tmp_path)) == (["000.png", "002.png", "005.png"], ["007.png"])
        (tmp_path / name).unlink()
    assert_refused(tmp_path, "train_list.txt is there but no val_list.txt or test_list.txt")
    (tmp_path / "val_list.txt").write_text("007.png\n")
    (tmp_path / "train_list.txt").write_text("000.png\nimages/001.png\n")
    assert_refused(tmp_path, "train_list.txt lists images/001.png", "not registered")
    (tmp_path / "train_list.txt").write_text("000.png\n")
    assert_refused(tmp_path, "only 000.png is left for training")
    (tmp_path / "train_list.txt").unlink()
    assert_refused(tmp_path, "val_list.txt is there but no train_list.txt")
    (tmp_path / "val_list.txt").unlink()
    by_name = ColmapDataParserConfig(eval_mode="filename")
    assert_refused(tmp_path, "000.png and 8 more", "neither has", dataparser=by_name)


def test_a_broken_photograph_for_evaluation_stops_nothing_half_way(tmp_path: Path) -> None:
    """Its first and last bytes are whole, so only decoding tells."""
    capture(tmp_path)
    held_out = manager(tmp_path).eval_dataset.image_filenames[0]
    content = held_out.read_bytes()
    held_out.write_bytes(content[:200] + bytes(len(content) - 400) + content[-200:])
    assert_refused(tmp_path, f"{held_out.name} cannot be read")


def test_photographs_for_evaluation_have_masks_exactly_if_those_for_training_have(tmp_path: Path) -> None:
    folder = capture(tmp_path, masks=False, alpha=half_alpha())
    path = manager(folder).eval_dataset.image_filenames[0]
    # Nothing but object, so its alpha alone would be none.
    save(path, np.full((18, 24, 4), 255, dtype=np.uint8))
    data = manager(folder)
    assert data.next_eval(0)[1]["fg_mask"].shape == (data.config.eval_num_rays_per_batch, 1)
    assert data.next_eval_image(0)[1]["fg_mask"].min() == 1
    save(path, np.zeros((18, 24, 3), dtype=np.uint8))
    assert_refused(folder, path.name, "neither a mask nor an alpha channel")
    # The other way round: one that is cut out among opaque ones.
    for image in (folder / "images").iterdir():
        if image != path:
            save(image, np.zeros((18, 24, 3), dtype=np.uint8))
    Image.fromarray(np.dstack([np.zeros((18, 24, 3), dtype=np.uint8), half_alpha()])).save(path)
    data = manager(folder)
    assert not data.has_masks and "fg_mask" not in data.next_eval(0)[1]


def test_lists_of_a_json_go_before_names(tmp_path: Path) -> None:
    capture(tmp_path)
    path = tmp_path / "transforms.json"
    lists = {"train_filenames": ["images/01.png", "images/02.png"], "val_filenames": [], "test_filenames": []}
    path.write_text(json.dumps(json.loads(path.read_text()) | lists))
    by_name = NerfstudioDataParserConfig(eval_mode="filename")
    assert names(manager(tmp_path, dataparser=by_name)) == (["01.png", "02.png"], [])
