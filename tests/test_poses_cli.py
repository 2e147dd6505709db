"""`neus-poses`: refined poses go out in the user's world and come back the same; a new photograph finds its place."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from neus_ns.cli import poses as cli
from neus_ns.data.se3 import moved_poses, rotation_matrix
from neus_ns.data.transforms_json import relative_name
from neus_ns.evaluation.poses import angles_degrees
from neus_ns.models.locate import LocatePlan, Photo, locate
from neus_ns.models.pipeline import SurfacePipeline
from tests.scenes import tiny_capture
from tests.test_neus_hash import pipeline_config, pipeline_of, tiny_config, trained


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ball")
    tiny_capture(folder, size=32, views=6)
    return folder


@pytest.fixture(scope="module")
def run(capture, tmp_path_factory) -> tuple[Path, SurfacePipeline]:
    """A run of two steps whose poses were then corrected by hand."""
    config = tiny_config(capture, tmp_path_factory.mktemp("runs"), 2)
    pipeline_config(config).model.cameras.optimise = True
    config.save_config()
    trainer = trained(config)
    pipeline = pipeline_of(trainer)
    poses = pipeline.surface_model.camera_poses
    assert poses is not None
    with torch.no_grad():
        poses.motion.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    trainer.save_checkpoint(1)
    return config.get_base_dir(), pipeline


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["neus-poses", *map(str, arguments)])
    cli.entrypoint()


def true_poses(capture: Path) -> dict[str, np.ndarray]:
    frames = json.loads((capture / "transforms.json").read_text())["frames"]
    return {Path(frame["file_path"]).name: np.array(frame["transform_matrix"]) for frame in frames}


def test_exported_poses_are_the_refined_ones_in_the_users_world(capture, run, tmp_path, monkeypatch, capsys):
    folder, pipeline = run
    path = tmp_path / "out" / "poses.json"
    call(monkeypatch, "export", "--load-config", folder, "--output-path", path)
    assert f"Wrote {path}" in capsys.readouterr().out
    frames = json.loads(path.read_text())["frames"]
    assert len(frames) == 6 and all((path.parent / frame["file_path"]).resolve().is_file() for frame in frames)

    # By hand: the pose as it was given, turned about the camera and shifted, in the world's axes and units.
    model, given = pipeline.surface_model, true_poses(capture)
    assert model.camera_poses is not None
    corrections, frame = model.camera_poses.corrections().detach().double(), model.field.frame
    turn_world = frame.world_from_unit[:3, :3] / frame.world_units_per_unit
    for entry, correction in zip(frames, corrections, strict=True):
        found, before = np.array(entry["transform_matrix"]), given[Path(entry["file_path"]).name]
        turn = turn_world @ rotation_matrix(correction[:3]) @ turn_world.T
        np.testing.assert_allclose(found[:3, :3], turn.numpy() @ before[:3, :3], atol=1e-6)
        shift = frame.world_from_unit[:3, :3] @ correction[3:]
        np.testing.assert_allclose(found[:3, 3], before[:3, 3] + shift.numpy(), atol=1e-5)
        assert np.abs(found - before).max() > 1e-3
        assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0, abs=1e-6)


def test_what_was_exported_trains_again_with_the_same_poses(run, tmp_path, monkeypatch):
    folder, pipeline = run
    path = tmp_path / "poses.json"
    call(monkeypatch, "export", "--load-config", folder, "--output-path", path)
    options = {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}
    parser = NerfstudioDataParserConfig(data=path, eval_mode="all", load_3D_points=False, **options).setup()
    outputs = parser.get_dataparser_outputs("train")
    before = pipeline.datamanager.train_dataset.cameras
    expected = {
        Path(name).name: pose
        for name, pose in zip(
            pipeline.datamanager.train_photo_names, pipeline.views_world(masks=False).world_from_camera, strict=True
        )
    }
    for view, name in enumerate(outputs.image_filenames):
        torch.testing.assert_close(
            outputs.cameras.camera_to_worlds[view], expected[name.name].float(), atol=1e-5, rtol=0
        )
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        torch.testing.assert_close(getattr(outputs.cameras, name), getattr(before, name))


def test_what_is_exported_of_reduced_photographs_fits_their_files(capture, tmp_path):
    config = tiny_config(capture, tmp_path, 1)
    pipeline_config(config).datamanager.camera_res_scale_factor = 0.43
    pipeline = pipeline_config(config).setup(device="cpu", test_mode="val")
    assert pipeline.datamanager.train_dataset.size_of(0) == (13, 13)
    lens = json.loads((capture / "transforms.json").read_text())
    for entry in cli.pose_frames(pipeline, tmp_path):
        assert (entry["w"], entry["h"]) == (32, 32)
        for name in ("fl_x", "fl_y", "cx", "cy"):
            assert entry[name] == pytest.approx(lens[name])


def test_what_is_on_another_drive_is_named_in_full(tmp_path, monkeypatch):
    def other_drive(path, start):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    assert relative_name(tmp_path / "a" / "b.png", tmp_path / "c") == "../a/b.png"
    monkeypatch.setattr(os.path, "relpath", other_drive)
    assert relative_name(tmp_path / "b.png", tmp_path) == (tmp_path / "b.png").as_posix()


def test_exporters_see_the_refined_views(run):
    views = run[1].surface_source().views
    assert views is not None and views.masks is not None
    torch.testing.assert_close(views.world_from_camera, run[1].views_world(masks=False).world_from_camera)


def test_a_photograph_is_located_from_a_named_start(capture, run, tmp_path, monkeypatch, capsys):
    name = json.loads((capture / "transforms.json").read_text())["frames"][-1]["file_path"]
    path = tmp_path / "pose.json"
    arguments = ["locate", "--load-config", run[0], "--image", capture / name, "--output-path", path, "--steps", 2]
    initial = ["--initial", "images/train_001.png", "--limit", 9]
    call(monkeypatch, *arguments, "--rays", 64, *initial)
    assert "photometric error" in capsys.readouterr().out
    (frame,) = json.loads(path.read_text())["frames"]
    assert (path.parent / frame["file_path"]).resolve() == (capture / name).resolve() and frame["fl_x"] > 0
    assert np.linalg.det(np.array(frame["transform_matrix"])[:3, :3]) == pytest.approx(1.0, abs=1e-5)

    for changed, words in (
        (["--initial", "nowhere.png"], "names no training photograph"),
        (["--limit", 1e-9], "did not converge"),
        (["--steps", 0], "--steps is 0"),
    ):
        with pytest.raises(SystemExit) as stop:
            call(monkeypatch, *arguments, "--rays", 64, *changed)
        said = capsys.readouterr().err
        assert stop.value.code == 1 and words in said and said.count("\n") == 1


def test_a_photograph_of_another_shape_needs_a_focal_length(capture, run, tmp_path, monkeypatch, capsys):
    image = tmp_path / "wide.png"
    Image.new("RGB", (60, 20), (90, 120, 40)).save(image)
    arguments = ["locate", "--load-config", run[0], "--image", image, "--output-path", tmp_path / "pose.json"]
    with pytest.raises(SystemExit):
        call(monkeypatch, *arguments, "--steps", 1)
    assert "give its focal length" in capsys.readouterr().err
    call(monkeypatch, *arguments, "--steps", 1, "--rays", 16, "--fl-x", 50, "--limit", 9)
    (frame,) = json.loads((tmp_path / "pose.json").read_text())["frames"]
    assert (frame["fl_x"], frame["fl_y"], frame["cx"], frame["cy"]) == (50, 50, 30, 10)


@pytest.mark.slow
@pytest.mark.parametrize("pixels", ["random", "points", "regions"])
def test_a_held_out_photograph_is_found_from_ten_degrees_off(good_run, pixels):
    """Turned about the scene by ten degrees in any direction, the pose comes back to within one."""
    capture, pipeline = good_run
    frame = json.loads((capture / "transforms.json").read_text())["frames"][-1]
    rgb, _ = cli.read_photo(capture / frame["file_path"], None)
    mask = cli.read_photo(capture / frame["file_path"], capture / frame["mask_path"])[1]
    photo = Photo(rgb, mask, cli.lens_of(pipeline, rgb.shape[:2], cli.Lens()))
    truth = torch.tensor(frame["transform_matrix"], dtype=torch.float64)[:3]
    scene = pipeline.surface_model.field.frame
    unit = torch.linalg.inv(scene.world_from_unit)
    axes, centre = unit[:3, :3] * scene.world_units_per_unit @ truth[:, :3], unit[:3, :3] @ truth[:, 3] + unit[:3, 3]
    true_unit = torch.cat([axes, centre[:, None]], 1)
    axis = torch.nn.functional.normalize(torch.randn(3, generator=torch.Generator().manual_seed(5)), dim=0)
    motion = torch.cat([axis * np.radians(10), torch.zeros(3)])
    start = moved_poses(true_unit.float(), motion)
    found = locate(pipeline.surface_model, photo, start[None], LocatePlan(pixels, 300, 1024, 0.01, 0))
    off = float(angles_degrees(found.pose_unit[None, :, :3].double().numpy(), true_unit[None, :, :3].numpy())[0])
    assert off < 1.0, (off, found.error)
    assert float((found.pose_unit[:, 3] - true_unit[:, 3]).norm()) < 0.1


@pytest.fixture(scope="module")
def good_run(tmp_path_factory) -> tuple[Path, SurfacePipeline]:
    """A run that knows its scene well enough for a photograph to be found in it."""
    capture = tmp_path_factory.mktemp("photographed")
    tiny_capture(capture, size=64, views=16)
    config = tiny_config(capture, tmp_path_factory.mktemp("runs"), 1000)
    pipeline_config(config).model.sdf_field.finest = 128
    pipeline_config(config).samples_per_step = 4000
    return capture, pipeline_of(trained(config))
