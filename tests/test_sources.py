"""Every format gives the same cameras, the same rays and the same world, says what it is, and trains."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import tyro
import yaml
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.configs.dataparser_configs import all_dataparsers
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.frame import transform_points
from neus_ns.data.region import find_region, make_scene_frame
from neus_ns.data.sources.auto import AutoDataParserConfig
from neus_ns.data.sources.blended_mvs import BlendedMVSDataParserConfig
from neus_ns.data.sources.masks import with_masks
from neus_ns.data.sources.photos import PosedPhotos, parser_from_world
from neus_ns.data.sources.projection import split_projection
from neus_ns.data.transforms_json import frame_entry, photographs
from neus_ns.data.world import world_from_parser
from neus_ns.errors import InputError
from tests.source_samples import (
    CUT,
    SAMPLES,
    SIZE,
    VIEWS,
    Shots,
    take_shots,
    write_colmap_text,
    write_dtu,
    write_nerfstudio,
)
from tests.test_neus_hash import pipeline_of, tiny_config, trained


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shots:
    return take_shots(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory, shots: Shots) -> dict[str, Path]:
    """Every sample, in a folder whose name needs care."""
    root = tmp_path_factory.mktemp("søurces of all")
    folders = {name: root / name for name in SAMPLES}
    for name, sample in SAMPLES.items():
        folders[name].mkdir()
        sample.write(shots, folders[name])
    return folders


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manager(folder: Path, test_mode: str = "val", **options) -> SurfaceDataManager:
    return SurfaceDataManagerConfig(data=folder, **options).setup(device="cpu", test_mode=test_mode)


def view_of(path: Path) -> int:
    """The number of the view that a picture shows; Polycam's and all others count from zero here."""
    return int(re.findall(r"\d+", path.name)[-1])


def world_of(data: SurfaceDataManager) -> torch.Tensor:
    outputs = data.train_dataparser_outputs
    return world_from_parser(outputs.dataparser_transform, outputs.dataparser_scale, data.nerfstudio_capture)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_source_is_recognised_and_sees_along_the_same_rays(
    captures, shots: Shots, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sample, before = SAMPLES[name], contents(captures[name])
    data = manager(captures[name])
    said = capsys.readouterr().out
    assert f"format recognised: {sample.recognised}" in said
    world = world_of(data)
    seen = []
    for dataset in (data.train_dataset, data.eval_dataset):
        for index, path in enumerate(dataset.image_filenames):
            view = view_of(path)
            seen.append(view)
            pixels = torch.tensor([[0.5, 0.5], [7.5, 20.5], [24.5, 3.5]])
            offset = torch.tensor(CUT[:2] if sample.is_cut else (0, 0), dtype=torch.float64)
            expected = expected_rays(shots, view, pixels.double() + offset)
            rays = dataset.cameras.generate_rays(
                camera_indices=torch.full((3, 1), index), coords=pixels.flip(-1), keep_shape=True
            )
            origins = transform_points(world, rays.origins.double())
            directions = torch.nn.functional.normalize(rays.directions.double() @ world[:3, :3].T, dim=-1)
            torch.testing.assert_close(origins, expected[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(directions, expected[1], atol=1e-5, rtol=0)
            size = (CUT[2] - CUT[0], CUT[3] - CUT[1]) if sample.is_cut else (SIZE, SIZE)
            photo, _ = dataset.photo_and_foreground(index)
            assert dataset.size_of(index) == size == (photo.shape[1], photo.shape[0])
    assert len(data.eval_dataset) > 0 or "nerfstudio" in sample.recognised
    assert sorted(seen) == list(range(VIEWS)) and data.has_masks == sample.masks
    assert (data.region_parser is not None) == sample.region
    assert data.train_dataset.cameras.camera_to_worlds[:, :, 3].abs().max() <= 1 + 1e-6 or name == "Blender"
    assert contents(captures[name]) == before


def expected_rays(shots: Shots, view: int, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pose = torch.from_numpy(shots.poses[view])
    x, y = ((pixels - SIZE / 2) / shots.focal).unbind(-1)
    directions = torch.stack((x, -y, -torch.ones_like(x)), dim=-1) @ pose[:3, :3].T
    return pose[:3, 3].expand(len(pixels), 3), torch.nn.functional.normalize(directions, dim=-1)


@pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name].masks])
def test_every_photograph_meets_its_own_mask(captures, shots: Shots, name: str) -> None:
    data = manager(captures[name], test_mode="inference").train_dataset
    for index, path in enumerate(data.image_filenames):
        mask = shots.masks[view_of(path)]
        expected = np.asarray(mask.crop(CUT) if SAMPLES[name].is_cut else mask) >= 128
        assert np.array_equal(data.foreground(index).numpy(), expected), path


@pytest.mark.parametrize("name", SAMPLES)
def test_a_mesh_comes_back_to_the_world_it_was_taken_from(captures, shots: Shots, name: str) -> None:
    data = manager(captures[name], test_mode="inference")
    views = data.views_parser(masks=data.has_masks)
    region = find_region(views, data.points_parser(), "object", data.train_mask_names, data.region_parser)
    outputs = data.train_dataparser_outputs
    frame = make_scene_frame(region, outputs.dataparser_transform, outputs.dataparser_scale, data.nerfstudio_capture)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=shots.ball.radius)
    world = torch.from_numpy(np.array(ball.vertices)) + torch.tensor(shots.ball.centre, dtype=torch.float64)
    # Through the views, which alone tie the unit frame to photographs, and in the precision of a mesh file.
    unit_from_parser = frame.unit_from_parser
    parser = transform_points(torch.linalg.inv(world_of(data)), world).float()
    back = transform_points(frame.world_from_unit, transform_points(unit_from_parser, parser).double())
    diagonal = 2 * shots.ball.radius * 3**0.5
    assert (back - world).norm(dim=-1).max() < 1e-5 * diagonal
    unit_views = views.moved(unit_from_parser)
    centres = transform_points(frame.world_from_unit, unit_views.world_from_camera[:, :, 3].double())
    truth = torch.from_numpy(shots.poses[[view_of(path) for path in data.train_dataset.image_filenames], :3, 3])
    assert (centres - truth).norm(dim=-1).max() < 1e-5 * diagonal
    # The object is in the unit ball; masks, points or the capture's own word bound it closely.
    assert transform_points(torch.linalg.inv(frame.world_from_unit), world).norm(dim=-1).max() < 1.0


@pytest.mark.parametrize("name", SAMPLES)
def test_every_source_trains(captures, tmp_path: Path, name: str) -> None:
    config = tiny_config(captures[name], tmp_path, 3)
    before = contents(captures[name])
    pipeline = pipeline_of(trained(config))
    assert pipeline.surface_model.has_masks == SAMPLES[name].masks
    assert contents(captures[name]) == before


def test_lenses_of_their_own_distortion_and_a_named_cloud_train(tmp_path: Path, shots: Shots) -> None:
    write_nerfstudio(shots, tmp_path / "capture")
    path = tmp_path / "capture" / "transforms.json"
    meta = json.loads(path.read_text())
    for view, frame in enumerate(meta["frames"]):
        frame.update({name: meta[name] for name in ("cx", "cy", "w", "h")})
        frame.update({"fl_x": meta["fl_x"] + view, "fl_y": meta["fl_y"] + view, "k1": 0.01 * view, "p1": 0.001})
    trimesh.PointCloud(np.random.default_rng(0).normal(size=(50, 3))).export(tmp_path / "capture" / "cloud.ply")
    path.write_text(json.dumps({"frames": meta["frames"], "camera_model": "OPENCV", "ply_file_path": "cloud.ply"}))
    data = pipeline_of(trained(tiny_config(tmp_path / "capture", tmp_path / "runs", 3))).datamanager
    cameras = data.train_dataset.cameras
    assert cameras.distortion_params is not None and len(cameras.fx.unique()) == len(cameras)
    points = data.points_parser()
    assert points is not None and len(points) == 50


def test_a_finished_run_loads_from_its_config(captures, tmp_path: Path) -> None:
    """What is written is the choice of auto-data, and it recognises the capture again."""
    config = tiny_config(captures["DTU"], tmp_path, 3)
    config.save_config()
    pipeline = pipeline_of(trained(config))
    again = yaml.load((config.get_base_dir() / "config.yml").read_text(), Loader=yaml.Loader)
    assert type(again.pipeline.datamanager.dataparser) is AutoDataParserConfig
    loaded = again.pipeline.setup(device="cpu", test_mode="inference")
    loaded.load_pipeline(pipeline.state_dict(), 2)
    (frame, views), (expected, _) = ((p.surface_source().frame, p.surface_source().views) for p in (loaded, pipeline))
    assert torch.equal(frame.world_from_unit, expected.world_from_unit)
    assert views is not None and len(views.fx) == VIEWS - 2


@pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name].subcommand])
def test_every_format_can_be_named_on_the_command_line(captures, name: str) -> None:
    subcommand = SAMPLES[name].subcommand
    assert subcommand is not None
    arguments = ["--data", str(captures[name]), subcommand]
    config = tyro.cli(SurfaceDataManagerConfig, args=arguments, default=SurfaceDataManagerConfig())
    assert type(config.dataparser) is type(all_dataparsers[subcommand])
    data = config.setup(device="cpu", test_mode="inference")
    recognised = manager(captures[name], test_mode="inference")
    assert data.train_dataset.image_filenames == recognised.train_dataset.image_filenames
    assert torch.equal(data.train_dataset.cameras.camera_to_worlds, recognised.train_dataset.cameras.camera_to_worlds)


def test_the_command_line_keeps_working() -> None:
    def parse(*arguments: str) -> SurfaceDataManagerConfig:
        return tyro.cli(SurfaceDataManagerConfig, args=arguments, default=SurfaceDataManagerConfig())

    assert type(parse("--data", "x").dataparser) is AutoDataParserConfig
    reduced = parse("--data", "x", "auto-data", "--downscale-factor", "4").dataparser
    assert isinstance(reduced, AutoDataParserConfig) and reduced.downscale_factor == 4
    chosen = parse("nerfstudio-data", "--data", "x", "--downscale-factor", "2").dataparser
    assert type(chosen) is NerfstudioDataParserConfig and chosen.downscale_factor == 2


def test_points_reach_the_region_in_the_cameras_frame(captures, shots: Shots) -> None:
    data = manager(captures["COLMAP binary"], test_mode="inference")
    points = data.points_parser()
    assert points is not None and len(points) == 60
    distance = transform_points(world_of(data), points.double()) - torch.tensor(shots.ball.centre, dtype=torch.float64)
    torch.testing.assert_close(distance.norm(dim=-1), torch.full((60,), shots.ball.radius).double(), atol=1e-5, rtol=0)
    assert manager(captures["COLMAP text"], test_mode="inference").points_parser() is None


def test_the_capture_s_own_ball_is_the_region_without_masks(captures, shots: Shots) -> None:
    for name, factor in (("NeuS without masks", 1.5), ("Middlebury", 1.1 * 3**0.5)):
        data = manager(captures[name], test_mode="inference")
        region, views = data.region_parser, data.views_parser(masks=False)
        assert region is not None
        assert find_region(views, None, "object", None, region) is region
        assert find_region(views, None, "indoor", None, region) is not region
        world = world_of(data)
        scale = float(torch.linalg.det(world[:3, :3])) ** (1 / 3)
        assert region.radius * scale == pytest.approx(factor * shots.ball.radius, rel=1e-6)
        centre = torch.tensor(shots.ball.centre, dtype=torch.float64)
        torch.testing.assert_close(transform_points(world, region.centre), centre, atol=1e-5, rtol=0)


def test_projections_are_taken_apart_exactly() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation *= np.sign(np.linalg.det(rotation))
        lens = np.array([[rng.uniform(10, 4000), 0.01, 320], [0, rng.uniform(10, 4000), -40], [0, 0, 1]])
        centre = 1000 * rng.normal(size=3)
        projection = rng.uniform(0.01, 100) * lens @ rotation @ np.concatenate([np.eye(3), -centre[:, None]], axis=1)
        found = split_projection(projection)
        for truth, value in zip((lens, rotation, centre), found, strict=True):
            np.testing.assert_allclose(value, truth, rtol=1e-8, atol=1e-8)


def test_the_parser_frame_is_upright_and_of_order_one() -> None:
    rng = np.random.default_rng(1)
    up = np.array([0.3, -0.8, 0.5]) / np.linalg.norm([0.3, -0.8, 0.5])
    poses = np.tile(np.eye(4), (5, 1, 1))
    for pose in poses:
        side = np.cross(up, rng.normal(size=3))
        side /= np.linalg.norm(side)
        pose[:3, :3] = np.stack([side, up, np.cross(side, up)], axis=1)
        pose[:3, 3] = [4e5, 0, 9] + 30 * rng.normal(size=3)
    ones = np.ones(5)
    photos = PosedPhotos([Path()] * 5, poses, ones, ones, ones, ones)
    motion, scale = parser_from_world(photos)
    np.testing.assert_allclose(motion[:, :3] @ up, [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(motion[:, :3] @ motion[:, :3].T, np.eye(3), atol=1e-6)
    moved = scale * (poses[:, :3, 3] @ motion[:, :3].T + motion[:, 3])
    assert np.abs(moved).max() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["nerfstudio", "nerfstudio, masks beside", "DTU", "COLMAP binary", "OmniObject3D"])
@pytest.mark.parametrize("copies", [False, True])
def test_reduced_photographs_keep_masks_and_intrinsics_together(
    tmp_path: Path, shots: Shots, name: str, copies: bool
) -> None:
    """At factor 1, 2 and 4, with and without reduced copies of the photographs, and never of the masks."""
    SAMPLES[name].write(shots, tmp_path)
    folder = next(path for path in (tmp_path / "images", tmp_path / "image") if path.is_dir())
    if copies or name.startswith("nerfstudio"):
        for factor in (2, 4):
            for path in folder.rglob("*.png"):
                reduced = tmp_path / f"{folder.name}_{factor}" / path.relative_to(folder)
                reduced.parent.mkdir(exist_ok=True, parents=True)
                with Image.open(path) as picture:
                    picture.resize((picture.width // factor, picture.height // factor), Image.Resampling.BOX).save(
                        reduced
                    )
    before = contents(tmp_path)
    full = manager(tmp_path).train_dataset
    for factor in (1, 2, 4):
        data = manager(tmp_path, dataparser=AutoDataParserConfig(downscale_factor=factor)).train_dataset
        for view in range(len(data)):
            photo, mask = data.photo_and_foreground(view)
            whole_photo, whole_mask = full.photo_and_foreground(view)
            assert mask is not None and whole_mask is not None
            width, height = data.size_of(view)
            assert photo.shape == (height, width, 3) and mask.shape == (height, width)
            assert (width, height) == tuple(side // factor for side in full.size_of(view))
            for key in ("fx", "fy", "cx", "cy"):
                expected = getattr(full.cameras, key)[view] / factor
                torch.testing.assert_close(getattr(data.cameras, key)[view], expected)
            for small, large in ((photo, whole_photo), (mask[..., None], whole_mask[..., None])):
                blocks = large.reshape(height, factor, width, factor, -1).double().mean((1, 3))
                # Pictures are reduced along one axis after the other, and rounded each time.
                assert (small.double() - blocks).abs().max() <= 1.0 + 1e-6
    assert contents(tmp_path) == before


def test_blender_captures_need_no_evaluation_photographs(captures, tmp_path: Path, shots: Shots) -> None:
    SAMPLES["Blender"].write(shots, tmp_path)
    (tmp_path / "transforms_val.json").rename(tmp_path / "transforms_test.json")
    assert len(manager(tmp_path).eval_dataset) == 1
    (tmp_path / "transforms_test.json").unlink()
    data = manager(tmp_path)
    assert len(data.eval_dataset) == 0
    with pytest.raises(InputError, match="set apart for evaluation"):
        data.next_eval(0)


def test_what_a_json_of_angles_says_besides_is_read(tmp_path: Path, shots: Shots) -> None:
    """`camera_angle_y`, a centre, a lens of a frame's own, and masks by name."""
    SAMPLES["OmniObject3D"].write(shots, tmp_path)
    (tmp_path / "masks").rename(tmp_path / "cutouts")
    path = tmp_path / "transforms.json"
    meta = json.loads(path.read_text())
    meta |= {"camera_angle_y": 2 * math.atan(SIZE / 2 / 31.0), "cx": 12.5, "cy": 15.25, "w": SIZE, "h": SIZE, "k1": 0.0}
    for frame in meta["frames"]:
        frame["mask_path"] = f"cutouts/{frame['file_path']}.png"
    meta["frames"][3] |= {"camera_angle_x": 2 * math.atan(SIZE / 2 / 50.0), "fl_y": 51.0, "cx": 14.0}
    path.write_text(json.dumps(meta))
    data = manager(tmp_path)
    assert data.has_masks
    for index, file in enumerate(data.train_dataset.image_filenames):
        view, cameras = view_of(file), data.train_dataset.cameras
        lens = [float(value[index]) for value in (cameras.fx, cameras.fy, cameras.cx, cameras.cy)]
        assert lens == pytest.approx([50.0, 51.0, 14.0, 15.25] if view == 3 else [shots.focal, 31.0, 12.5, 15.25])
        assert np.array_equal(data.train_dataset.foreground(index).numpy(), np.asarray(shots.masks[view]) >= 128)


def test_blended_mvs_can_train_on_its_masked_pictures(captures) -> None:
    parser = BlendedMVSDataParserConfig(masked=True)
    data = manager(captures["BlendedMVS"], dataparser=parser).train_dataset
    assert all(path.stem.endswith("_masked") for path in data.image_filenames)


def test_the_number_of_views_kept_for_evaluation_is_a_choice(captures) -> None:
    parser = all_dataparsers["dtu-data"]
    for interval, held_out in ((8, [0, 8]), (3, [0, 3, 6]), (0, []), (20, [])):
        data = manager(captures["DTU"], dataparser=dataclasses.replace(parser, eval_interval=interval))
        assert [view_of(path) for path in data.eval_dataset.image_filenames] == held_out


def test_an_empty_folder_of_masks_is_none(tmp_path: Path, shots: Shots) -> None:
    write_nerfstudio(shots, tmp_path, mask_path=False)
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    assert not manager(tmp_path).has_masks


def test_a_json_may_be_named_instead_of_its_folder(captures) -> None:
    for name in ("nerfstudio, masks beside", "OmniObject3D"):
        data = manager(captures[name] / "transforms.json")
        assert data.has_masks and len(data.train_dataset) > 0


def test_turned_and_reordered_photographs_do_not_pass_as_others(tmp_path: Path, shots: Shots) -> None:
    write_dtu(shots, tmp_path)
    (tmp_path / "mask/004.png").rename(tmp_path / "mask/104.png")
    with pytest.raises(InputError, match="no mask for 000000"):
        manager(tmp_path)


def test_colmaps_fisheye_keeps_all_its_terms(shots, tmp_path):
    write_colmap_text(shots, tmp_path)
    listed = tmp_path / "sparse" / "0" / "cameras.txt"
    lens = "OPENCV_FISHEYE 28 28 40 40 14 14 0.01 0.002 0.001 {k4}"
    listed.write_text(f"1 {lens.format(k4=0.0005)}\n2 {lens.format(k4=0.0005)}\n")
    cameras = manager(tmp_path).train_dataset.cameras
    assert cameras.distortion_params is not None
    expected = torch.tensor([0.01, 0.002, 0.001, 0.0005, 0.0, 0.0])
    torch.testing.assert_close(cameras.distortion_params, expected.expand_as(cameras.distortion_params))
    assert (cameras.camera_type == CameraType.FISHEYE.value).all()
    listed.write_text(f"1 {lens.format(k4=0.0005)}\n2 {lens.format(k4=0.001)}\n")
    with pytest.raises(InputError, match="fisheye lenses of different k4"):
        manager(tmp_path)


def test_a_fisheye_is_written_as_it_is_read(tmp_path):
    cameras = Cameras(torch.eye(4)[None, :3], 40.0, 40.0, 14.0, 14.0, 28, 28, camera_type=CameraType.FISHEYE)
    frames = [frame_entry(tmp_path / "a.png", cameras, 0, torch.eye(4)[:3], tmp_path)]
    # nerfstudio looks for it at the top of the file alone.
    assert photographs(frames, 12.0) == {
        "camera_model": "OPENCV_FISHEYE",
        "fisheye_crop_radius": 12.0,
        "frames": frames,
    }
    assert "fisheye_crop_radius" not in photographs(frames, None)


def test_a_fisheye_s_image_circle_shrinks_with_its_photographs(tmp_path: Path, shots: Shots) -> None:
    write_nerfstudio(shots, tmp_path)
    path = tmp_path / "transforms.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"camera_model": "OPENCV_FISHEYE", "fisheye_crop_radius": 12})
    )
    (tmp_path / "images_2").mkdir()
    for picture in (tmp_path / "images").iterdir():
        Image.open(picture).reduce(2).save(tmp_path / "images_2" / picture.name)
    for factor, smaller in ((1, 1.0), (2, 1.0), (1, 0.5), (2, 0.5)):
        parser = NerfstudioDataParserConfig(downscale_factor=factor)
        data = manager(tmp_path, dataparser=parser, camera_res_scale_factor=smaller)
        lit, (width, height) = data.train_store.lit, data.train_dataset.size_of(0)
        row, col = np.indices((height, width)) + 0.5
        expected = (np.hypot(row - height / 2, col - width / 2) <= 12 / factor * smaller).sum()
        assert lit is not None and len(lit) == len(data.train_dataset) * expected


def test_an_empty_model_folder_does_not_hide_a_good_one(tmp_path: Path, shots: Shots) -> None:
    write_colmap_text(shots, tmp_path)
    (tmp_path / "colmap" / "sparse" / "0").mkdir(parents=True)
    assert len(manager(tmp_path).train_dataset) > 0


@pytest.mark.parametrize("appended", [False, True])
def test_colmaps_masks_may_keep_the_suffix_of_their_photographs(tmp_path: Path, shots: Shots, appended: bool) -> None:
    SAMPLES["COLMAP binary"].write(shots, tmp_path)
    (tmp_path / "masks").rename(tmp_path / "cutouts")
    for mask in list((tmp_path / "cutouts").iterdir()) if appended else []:
        mask.rename(mask.with_name(f"{mask.name}.png"))
    data = manager(tmp_path, dataparser=ColmapDataParserConfig(masks_path=Path("cutouts"))).train_dataset
    for index, path in enumerate(data.image_filenames):
        assert np.array_equal(data.foreground(index).numpy(), np.asarray(shots.masks[view_of(path)].crop(CUT)) >= 128)


@pytest.mark.parametrize("rounding", ["floor", "round", "ceil"])
def test_colmaps_photographs_shrink_however_sizes_are_rounded(tmp_path: Path, shots: Shots, rounding) -> None:
    SAMPLES["COLMAP binary"].write(shots, tmp_path)
    data = manager(tmp_path, dataparser=ColmapDataParserConfig(downscale_factor=3, downscale_rounding_mode=rounding))
    assert data.train_dataset[0]["image"].shape[:2] == data.train_dataset.size_of(0)[::-1] == (9, 9)


@pytest.mark.parametrize(
    ("capture", "photographs_in", "masks_in"),
    [
        ("input/scan", "", "masks"),
        ("rgb/scan", "photos", "masks"),
        ("scan", "photos", "masks/photos"),
        ("scan", "images/rgb", "masks/rgb"),
        ("scan", "images/rgb", "images/masks"),
    ],
)
def test_masks_are_found_whatever_folders_are_called(tmp_path, capture: str, photographs_in: str, masks_in: str):
    folder, names = tmp_path / capture, ["000.png", "001.png"]
    for name in names:
        for place, picture in ((photographs_in, Image.new("RGB", (4, 4))), (masks_in, Image.new("L", (4, 4), 255))):
            (folder / place).mkdir(parents=True, exist_ok=True)
            picture.save(folder / place / name)
    # What lies above the capture is somebody else's.
    (tmp_path / capture.partition("/")[0] / "masks").mkdir(parents=True, exist_ok=True)
    if "/" in capture:
        Image.new("L", (4, 4)).save(folder.parent / "masks" / "foreign.png")
    images = [folder / photographs_in / name for name in names]
    cameras = Cameras(torch.eye(4)[None, :3].repeat(2, 1, 1), 4.0, 4.0, 2.0, 2.0, 4, 4)
    found = with_masks(DataparserOutputs(images, cameras), folder).mask_filenames
    assert found == [folder / masks_in / name for name in names]
