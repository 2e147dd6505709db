"""The data path as nerfstudio sees it: what items and batches hold, what is refused, what is never read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image

from neus_ns.data import photograph_scale
from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.dataset import SurfaceDataset
from neus_ns.data.decode import mask_coverage
from neus_ns.data.region_options import RegionOptions
from neus_ns.data.survey import survey
from neus_ns.errors import InputError
from neus_ns.pixels.uniform import UniformPixelSampler

SIZE = (24, 18)


def save(path: Path, pixels: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return str(path.relative_to(path.parents[1]))


def capture(folder: Path, masks: bool = True, views: int = 10, alpha: np.ndarray | None = None, **extra) -> Path:
    """Noise photographs on a ring around the origin, looking inwards; every mask shows a box off the centre."""
    rng = np.random.default_rng(4)
    width, height = SIZE
    frames = []
    for view in range(views):
        angle = 2 * np.pi * view / views
        back = np.array([np.cos(angle), np.sin(angle), 0.2])
        back /= np.linalg.norm(back)
        right = np.cross([0.0, 0.0, 1.0], back)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack((right, np.cross(back, right), back, 3 * back), axis=-1)
        photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if alpha is not None:
            photo = np.concatenate((photo, alpha[..., None]), axis=-1)
        frame = {"file_path": save(folder / f"images/{view:02d}.png", photo), "transform_matrix": pose.tolist()}
        if masks:
            mask = np.zeros((height, width), dtype=np.uint8)
            mask[4:9, 3:11] = 255
            frame["mask_path"] = save(folder / f"masks/{view:02d}.png", mask)
        frames.append(frame)
    lens = {"fl_x": 30.0, "fl_y": 31.0, "cx": 12.5, "cy": 8.5, "w": width, "h": height}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "transforms.json").write_text(json.dumps({**lens, **extra, "frames": frames}))
    return folder


def manager(folder: Path, test_mode: str = "val", **options) -> SurfaceDataManager:
    return SurfaceDataManagerConfig(data=folder, **options).setup(device="cpu", test_mode=test_mode)


def test_an_item_calls_its_mask_foreground_and_never_forbids_sampling(tmp_path: Path) -> None:
    data = manager(capture(tmp_path), test_mode="inference").train_dataset
    assert type(data) is SurfaceDataset and data.has_masks
    item = data[2]
    assert set(item) == {"image", "fg_mask", "image_idx"}
    truth = np.asarray(Image.open(data.image_filenames[2]))
    torch.testing.assert_close(item["image"], torch.from_numpy(truth / np.float32(255)))
    expected = torch.zeros(18, 24, 1)
    expected[4:9, 3:11] = 1.0
    assert torch.equal(item["fg_mask"], expected)


def half_alpha() -> np.ndarray:
    alpha = np.zeros((18, 24), dtype=np.uint8)
    alpha[:, 10:] = 255
    alpha[:, 9] = 100
    return alpha


def test_alpha_is_the_mask_unless_opaque_everywhere(tmp_path: Path) -> None:
    cut = manager(capture(tmp_path / "cut", masks=False, alpha=half_alpha()), test_mode="inference").train_dataset
    assert cut.has_masks
    torch.testing.assert_close(cut[0]["fg_mask"][..., 0], torch.from_numpy(half_alpha() / np.float32(255)))
    assert cut[0]["image"][:, :9].max() == 0 and cut[0]["image"][:, 10:].max() > 0
    opaque = np.full((18, 24), 255, dtype=np.uint8)
    whole = manager(capture(tmp_path / "whole", masks=False, alpha=opaque), test_mode="inference").train_dataset
    assert not whole.has_masks
    assert set(whole[0]) == {"image", "image_idx"} and whole[0]["image"].shape == (18, 24, 3)


def test_transparent_photographs_are_laid_over_alpha_color_as_nerfstudio_does(tmp_path: Path) -> None:
    outputs = manager(capture(tmp_path, masks=False, alpha=half_alpha()), "inference").train_dataparser_outputs
    outputs.alpha_color = torch.tensor([0.2, 0.9, 1.0])
    ours, theirs = SurfaceDataset(outputs), InputDataset(outputs)
    torch.testing.assert_close(ours[1]["image"], theirs[1]["image"], atol=0.5 / 255 + 1e-6, rtol=0)


def test_photographs_partly_without_alpha_are_refused(tmp_path: Path) -> None:
    folder = capture(tmp_path, masks=False, alpha=half_alpha())
    save(folder / "images/04.png", np.zeros((18, 24, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="04.png"):
        manager(folder)


GREY = np.arange(18 * 24, dtype=np.uint16).reshape(18, 24) * 150
COLOUR = np.stack([GREY // 257, GREY % 256, 255 - GREY // 300], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [
        ("grey16.png", Image.fromarray(GREY), np.repeat(np.round(GREY / 257)[..., None], 3, axis=-1)),
        ("grey.png", Image.fromarray((GREY // 257).astype(np.uint8)), np.repeat(GREY[..., None] // 257, 3, axis=-1)),
        ("bits.png", Image.fromarray(GREY > 30000), np.repeat((GREY > 30000)[..., None] * 255, 3, axis=-1)),
        (
            "cmyk.tif",
            Image.fromarray(COLOUR).convert("CMYK"),
            COLOUR,
        ),
        (
            "grey_alpha.png",
            Image.merge("LA", (Image.fromarray(COLOUR[..., 0]), Image.new("L", (24, 18), 255))),
            np.repeat(COLOUR[..., :1], 3, axis=-1),
        ),
        ("rgba.png", Image.fromarray(COLOUR).convert("RGBA"), COLOUR),
        (
            "palette.png",
            Image.fromarray((GREY % 7 == 0).astype(np.uint8)).convert("P"),
            np.repeat((GREY % 7 == 0)[..., None] * 1, 3, axis=-1),
        ),
    ],
)
def test_every_kind_of_picture_becomes_8_bit_rgb(tmp_path: Path, name: str, picture, expected: np.ndarray) -> None:
    folder = capture(tmp_path, masks=False)
    picture.save(tmp_path / name)
    (folder / "images/00.png").write_bytes((tmp_path / name).read_bytes())
    found = manager(folder, test_mode="inference").train_dataset.get_image_uint8(0)
    assert np.array_equal(found.numpy(), expected)


def test_colours_of_16_bits_keep_their_upper_8(tmp_path: Path) -> None:
    folder = capture(tmp_path, masks=False)
    colours = np.stack([GREY, GREY[::-1], 65535 - GREY], axis=-1)
    cv2.imwrite(str(folder / "images/00.png"), colours[..., ::-1])
    found = manager(folder, test_mode="inference").train_dataset.get_image_uint8(0).numpy()
    assert np.abs(found - colours / 257).max() <= 1.0


def test_mask_files_of_every_kind_mean_the_same(tmp_path: Path) -> None:
    is_object = np.zeros((18, 24), dtype=bool)
    is_object[3:9, 5:20] = True
    labels = is_object.astype(np.uint8)
    coloured = Image.fromarray(labels, mode="P")
    coloured.putpalette([0, 0, 0, 128, 0, 0])
    cut_out = np.full((18, 24, 4), 200, dtype=np.uint8)
    cut_out[..., 3] = labels * 255
    kinds = {
        "white": Image.fromarray(labels * 255),
        "bits": Image.fromarray(is_object),
        "labels": Image.fromarray(labels),
        "instances": Image.fromarray(labels * 3),
        "rgb": Image.fromarray(labels * 255).convert("RGB"),
        "16 bit": Image.fromarray(labels.astype(np.uint16) * 65535),
        "labels in 16 bit": Image.fromarray(labels.astype(np.uint16)),
        "8 bit in 16": Image.fromarray(labels.astype(np.uint16) * 255),
        "palette": coloured,
        "cut-out": Image.fromarray(cut_out),
        "opaque RGBA": Image.fromarray(labels * 255).convert("RGBA"),
    }
    for kind, picture in kinds.items():
        picture.save(tmp_path / "mask.png")
        assert np.array_equal(mask_coverage(tmp_path / "mask.png"), is_object * 255), kind


def test_scaled_photographs_have_the_size_of_their_scaled_cameras(tmp_path: Path) -> None:
    data = manager(capture(tmp_path), test_mode="inference", camera_res_scale_factor=0.29).train_dataset
    assert data[0]["image"].shape[:2] == data[0]["fg_mask"].shape[:2] == (5, 6) == data.size_of(0)[::-1]


def test_photographs_are_read_no_larger_than_what_a_training_sees(tmp_path: Path) -> None:
    folder = capture(tmp_path)
    data = manager(folder, longest_side=12)
    for dataset in (data.train_dataset, data.eval_dataset):
        assert dataset.size_of(0) == (12, 9) and dataset[0]["image"].shape == (9, 12, 3)
        # Half of the size: every pixel is the mean of four.
        whole = torch.from_numpy(np.asarray(Image.open(dataset.image_filenames[0])) / 255.0)
        expected = whole.view(9, 2, 12, 2, 3).mean((1, 3))
        assert (dataset[0]["image"] - expected).abs().mean() < 0.04
    assert data.train_store.num_pixels == len(data.train_dataset) * 12 * 9
    assert manager(folder, camera_res_scale_factor=1.0).train_dataset.size_of(0) == SIZE
    assert manager(folder, camera_res_scale_factor=1.0, longest_side=12).train_dataset.size_of(0) == SIZE
    assert manager(folder, longest_side=24).train_dataset.size_of(0) == SIZE
    assert manager(folder).train_dataset.size_of(0) == SIZE


def test_each_photograph_is_made_as_much_smaller_as_it_is_too_large(tmp_path: Path) -> None:
    folder = capture(tmp_path, masks=False)
    meta = json.loads((folder / "transforms.json").read_text())
    lens = {name: meta.pop(name) for name in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    for number, frame in enumerate(meta["frames"]):
        # Every second one was taken by another camera, three times as large.
        factor = 3 if number % 2 else 1
        frame |= {name: value * factor for name, value in lens.items()}
        path = folder / frame["file_path"]
        Image.open(path).resize((SIZE[0] * factor, SIZE[1] * factor), Image.Resampling.NEAREST).save(path)
    (folder / "transforms.json").write_text(json.dumps(meta))
    data = manager(folder, longest_side=SIZE[0])
    assert {data.train_dataset.size_of(view) for view in range(len(data.train_dataset))} == {SIZE}
    for name, given in (("fx", "fl_x"), ("fy", "fl_y"), ("cx", "cx"), ("cy", "cy")):
        values = getattr(data.train_dataset.cameras, name)
        torch.testing.assert_close(values, torch.full_like(values, lens[given]), rtol=1e-3, atol=0)
    sizes = {int(width) for width in data.train_dataset.cameras_of_files().width}
    assert sizes == {SIZE[0], 3 * SIZE[0]}


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.21, 0.1])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_decoded_smaller_is_the_mean_of_its_pixels(tmp_path: Path, scale: float, mode: str) -> None:
    """Smooth, since JPEG itself is exact of nothing else; of sides that no reduction divides."""
    width, height = 203, 157
    row, col = np.mgrid[:height, :width]
    levels = 127 + 100 * np.sin(col / 17) * np.cos(row / 23 + 0.3)
    picture = Image.fromarray(levels.round().astype(np.uint8)).convert(mode)
    folder = capture(tmp_path, masks=False)
    meta = json.loads((folder / "transforms.json").read_text()) | {"w": width, "h": height}
    for number, frame in enumerate(meta["frames"]):
        frame["file_path"] = f"images/{number}.jpg"
        picture.save(folder / frame["file_path"], quality=98)
    (folder / "transforms.json").write_text(json.dumps(meta))
    dataset = manager(folder, test_mode="inference", camera_res_scale_factor=scale).train_dataset
    across, down = dataset.size_of(0)
    assert (across, down) == (int(width * scale), int(height * scale))
    # Where the middle of each of our pixels lies in the file.
    row, col = (np.mgrid[:down, :across] + 0.5) / scale - 0.5
    expected = 127 + 100 * np.sin(col / 17) * np.cos(row / 23 + 0.3)
    found = dataset.get_image_uint8(0).numpy()[..., 1]
    inside = np.s_[1:-1, 1:-1]
    assert np.abs(found - expected)[inside].max() < (2 if scale > 0.3 else 6)


def test_photographs_that_are_in_memory_are_not_read_again(tmp_path: Path) -> None:
    folder = capture(tmp_path)
    data, files = manager(folder), manager(folder, test_mode="inference").train_dataset
    expected = [files[view] for view in range(len(files))]
    for path in [*(folder / "images").iterdir(), *(folder / "masks").iterdir()]:
        path.unlink()
    for view, item in enumerate(expected):
        found = data.train_dataset[view]
        assert found.keys() == item.keys()
        assert torch.equal(found["image"], item["image"]) and torch.equal(found["fg_mask"], item["fg_mask"])
        # A copy: whoever writes on it does not write on what is trained on.
        data.train_dataset.get_image_uint8(view).zero_()
    assert data.train_store.rgb.any()


def test_pixels_are_as_many_as_the_finest_cells_need() -> None:
    sides = {cells: photograph_scale.longest_side(cells) for cells in (None, 64, 512, 1024, 2048)}
    assert sides == {None: 1600, 64: 400, 512: 800, 1024: 1600, 2048: 1600}


@pytest.mark.parametrize("size", [(4032, 3024), (1080, 1920), (5472, 3648), (1601, 900), (3464, 3464), (1600, 1200)])
def test_the_longer_side_of_large_photographs_comes_out_at_1600(size: tuple[int, int]) -> None:
    width, height = size
    cameras = Cameras(torch.eye(4)[None, :3].repeat(2, 1, 1), 500.0, 500.0, width / 2, height / 2, width, height)
    scales = photograph_scale.suited_scales(cameras, 1600)
    cameras.rescale_output_resolution(scales.float())
    found = (int(cameras.width[0]), int(cameras.height[0]))
    assert max(found) == 1600 and min(found) == pytest.approx(1600 * min(size) / max(size), abs=1)
    assert bool((scales == 1.0).all()) == (max(size) == 1600)


def test_a_photograph_of_another_size_than_its_camera_is_refused(tmp_path: Path) -> None:
    folder = capture(tmp_path)
    save(folder / "images/03.png", np.zeros((36, 48, 3), dtype=np.uint8))
    data = manager(folder, test_mode="inference").train_dataset
    with pytest.raises(InputError, match="03.png is 48x36 pixels but its camera says 24x18"):
        data[3]


def test_a_damaged_photograph_is_named(tmp_path: Path) -> None:
    folder = capture(tmp_path)
    path = folder / "images/03.png"
    path.write_bytes(path.read_bytes()[:200] + b"\0" * 40)
    with pytest.raises(InputError, match="03.png"):
        manager(folder)
    with pytest.raises(InputError, match="03.png cannot be read"):
        manager(folder, test_mode="inference").train_dataset[3]


@pytest.mark.parametrize("masks", [True, False])
def test_train_and_eval_batches_show_the_pixels_their_rays_go_through(tmp_path: Path, masks: bool) -> None:
    data = manager(capture(tmp_path, masks), train_num_rays_per_batch=200, eval_num_rays_per_batch=100)
    assert data.has_masks == masks
    for (rays, batch), dataset, count in (
        (data.next_train(0), data.train_dataset, 200),
        (data.next_eval(0), data.eval_dataset, 100),
    ):
        assert set(batch) == {"image", "indices", "pixel_weight"} | ({"fg_mask"} if masks else set())
        assert rays.camera_indices is not None
        view, row, col = batch["indices"].unbind(-1)
        items = [dataset[index] for index in range(len(dataset))]
        for key in ("image", "fg_mask") if masks else ("image",):
            torch.testing.assert_close(batch[key], torch.stack([item[key] for item in items])[view, row, col])
        assert batch["pixel_weight"].shape == (count, 1)
        assert torch.equal(rays.camera_indices[:, 0], view)
        torch.testing.assert_close(rays.origins, dataset.cameras.camera_to_worlds[view, :, 3])


def test_the_ray_count_can_change_between_steps(tmp_path: Path) -> None:
    data = manager(capture(tmp_path), train_num_rays_per_batch=64)
    assert data.train_pixel_sampler is not None
    data.train_pixel_sampler.num_rays_per_batch = 16
    assert len(data.next_train(0)[0]) == 16 == data.get_train_rays_per_batch()
    data.train_pixel_sampler.set_num_rays_per_batch(48)
    assert len(data.next_train(1)[0]) == 48


def test_inference_reads_no_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = capture(tmp_path)
    for path in (*folder.glob("images/*"), *folder.glob("masks/*")):
        path.unlink()
    data = manager(folder, test_mode="inference")
    assert len(data.train_dataset) == 9 and len(data.eval_dataset) == 1
    assert data.has_masks and data.views_parser(masks=False).masks is None
    assert "cameras alone" not in capsys.readouterr().out
    assert data.views_parser(masks=True).masks is None
    assert "cameras alone" in capsys.readouterr().out
    assert not manager(folder, test_mode="inference", masks=False).has_masks


def test_views_hold_the_training_cameras_and_masks(tmp_path: Path) -> None:
    folder = capture(tmp_path)
    loaded, at_inference = manager(folder).views_parser(True), manager(folder, "inference").views_parser(True)
    cameras = manager(folder, "inference").train_dataset.cameras
    assert torch.equal(loaded.world_from_camera, cameras.camera_to_worlds)
    assert loaded.fx.tolist() == [30.0] * 9 and loaded.height.tolist() == [18.0] * 9
    assert loaded.masks is not None and at_inference.masks is not None
    for a, b in zip(loaded.masks, at_inference.masks, strict=True):
        assert torch.equal(a, b) and a.sum() == 5 * 8


def test_a_bad_mask_is_called_by_its_own_name(tmp_path: Path) -> None:
    data = manager(capture(tmp_path / "files"))
    assert [Path(name).parent.name for name in data.train_mask_names] == ["masks"] * 9
    alike = zip(data.train_mask_names, data.train_photo_names, strict=True)
    assert all(Path(mask).name == Path(photograph).name for mask, photograph in alike)
    in_alpha = manager(capture(tmp_path / "alpha", masks=False, alpha=half_alpha()))
    assert in_alpha.has_masks and in_alpha.train_mask_names == in_alpha.train_photo_names
    middle = np.zeros((18, 24), dtype=np.uint8)
    middle[6:12, 9:15] = 255
    for path in (tmp_path / "files/masks").glob("*"):
        save(path, 0 * middle if path.name == "03.png" else middle)
    with pytest.raises(InputError, match="files/masks/03.png is empty"):
        survey(manager(tmp_path / "files"), "object", RegionOptions())


def test_a_capture_without_evaluation_photographs_trains(tmp_path: Path) -> None:
    parser = NerfstudioDataParserConfig(train_split_fraction=1.0)
    data = manager(capture(tmp_path), dataparser=parser)
    assert not data.eval_dataset
    assert len(data.next_train(0)[0]) == 1024
    for ask in (data.next_eval, data.next_eval_image, lambda step: data.fixed_indices_eval_dataloader):
        with pytest.raises(InputError, match="set apart for evaluation"):
            ask(0)


def test_whole_evaluation_photographs_come_as_nerfstudios_pipeline_wants_them(tmp_path: Path) -> None:
    data = manager(capture(tmp_path), dataparser=NerfstudioDataParserConfig(train_split_fraction=0.7))
    camera, batch = data.next_eval_image(0)
    assert camera.shape == (1,) and batch["image"].shape == (18, 24, 3) and batch["fg_mask"].shape == (18, 24, 1)
    assert [batch["image_idx"] for _, batch in data.fixed_indices_eval_dataloader] == [0, 1, 2]
    assert len(data.fixed_indices_eval_dataloader) == 3


def test_masks_without_an_object_are_refused(tmp_path: Path) -> None:
    folder = capture(tmp_path)
    for path in folder.glob("masks/*"):
        save(path, np.zeros((18, 24), dtype=np.uint8))
    with pytest.raises(InputError, match="mask"):
        manager(folder)


@pytest.mark.parametrize("names_file", [True, False])
def test_absent_points_neither_prompt_nor_fail(tmp_path: Path, names_file: bool) -> None:
    extra: dict = {"ply_file_path": "sparse_pc.ply"} if names_file else {}
    folder = capture(tmp_path, **extra)
    # nerfstudio asks on the terminal whether to convert a COLMAP model that it finds here.
    (folder / "colmap/sparse/0").mkdir(parents=True)
    data = manager(folder, test_mode="inference")
    assert data.points_parser() is None


@pytest.mark.parametrize("name", ["nowhere [1].ply", "images", "", None])
def test_a_named_cloud_that_is_absent_is_told_of_once(tmp_path: Path, monkeypatch, name: str | None) -> None:
    told: list[str] = []
    monkeypatch.setattr(CONSOLE, "log", lambda line, **_: told.append(line))
    folder = capture(tmp_path, ply_file_path=name)
    assert manager(folder).points_parser() is None
    lines = [line for line in told if "ply_file_path" in line]
    assert len(lines) == (1 if name else 0) and all(str(folder / str(name)) in line for line in lines)
    # A finished run has no more use for the points.
    manager(folder, test_mode="inference")
    assert len([line for line in told if "ply_file_path" in line]) == len(lines)


def test_present_points_follow_the_cameras_into_the_parser_frame(tmp_path: Path) -> None:
    import trimesh

    folder = capture(tmp_path, ply_file_path="sparse_pc.ply")
    poses = [frame["transform_matrix"] for frame in json.loads((folder / "transforms.json").read_text())["frames"]]
    centres = np.array(poses)[:, :3, 3]
    trimesh.PointCloud(centres).export(folder / "sparse_pc.ply")
    data = manager(folder, test_mode="inference")
    points = data.points_parser()
    assert points is not None
    # The training views are all but one of the ten, in order.
    to_camera = torch.cdist(data.train_dataset.cameras.camera_to_worlds[:, :, 3], points)
    assert to_camera.min(dim=1).values.max() < 1e-5


class RememberingSampler(UniformPixelSampler):
    """Keeps the last errors it was told."""

    errors = torch.zeros(0)

    def observe(self, batch, error_per_ray) -> None:
        self.errors = error_per_ray

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"errors": self.errors}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.errors = state["errors"]


def test_the_sampler_hears_errors_and_its_memory_lives_in_the_checkpoint(tmp_path: Path) -> None:
    from neus_ns.pixels.uniform import UniformPixelSamplerConfig

    folder = capture(tmp_path / "capture")
    config = UniformPixelSamplerConfig(_target=RememberingSampler)
    first = manager(folder, pixel_sampler=config, train_num_rays_per_batch=4)
    with pytest.raises(RuntimeError):
        first.observe(torch.ones(4))
    first.next_train(0)
    first.observe(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    torch.save(first.state_dict(), tmp_path / "state.ckpt")
    state = torch.load(tmp_path / "state.ckpt", weights_only=True)
    second = manager(folder, pixel_sampler=config)
    second.load_state_dict(state)
    assert second.train_pixel_sampler is not None
    assert second.train_pixel_sampler.state_dict()["errors"].tolist() == [1.0, 2.0, 3.0, 4.0]
    manager(folder, "inference", pixel_sampler=config).load_state_dict(state)


def test_help_shows_only_options_that_do_something(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(SurfaceDataManagerConfig, args=["--help"], default=SurfaceDataManagerConfig())
    text = capsys.readouterr().out
    for shown in ("train-num-rays-per-batch", "images-on-gpu", "outside-share", "camera-res-scale-factor"):
        assert shown in text
    for hidden in ("collate", "patch-size", "images-to-sample", "rejection", "masks-on-gpu", "fisheye", "ignore-mask"):
        assert hidden not in text
