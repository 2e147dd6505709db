"""The scene report against scenes whose facts are known, and `neus-data check`, which writes nothing into a capture."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from rich.console import Console

from neus_ns.cli.data import Check, entrypoint
from neus_ns.data.datamanager import SurfaceDataManagerConfig
from neus_ns.data.region_masks import INVERTED_REMARK
from neus_ns.data.region_options import RegionOptions
from neus_ns.data.report.advice import assumptions, warnings
from neus_ns.data.report.angles import Angles, view_angles
from neus_ns.data.report.facts import SceneFacts, Spread, scene_facts
from neus_ns.data.report.write import scene_report
from neus_ns.data.survey import Survey, survey
from tests.scenes import Ball
from tests.source_samples import SAMPLES, Shots, take_shots, write_nerfstudio
from tests.test_neus_hash import pipeline_config, pipeline_of, tiny_config, trained


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Shots:
    return take_shots(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory, shots: Shots) -> Path:
    folder = tmp_path_factory.mktemp("capture [1]")
    write_nerfstudio(shots, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def surveyed(folder: Path, options: RegionOptions | None = None) -> tuple[SceneFacts, Survey]:
    manager = SurfaceDataManagerConfig(data=folder).setup(device="cpu", test_mode="val")
    found = survey(manager, "object", options or RegionOptions())
    return scene_facts(manager, found), found


def around(ball: Ball, factor: float = 1.5) -> RegionOptions:
    return RegionOptions(centre=ball.centre, radius=factor * ball.radius)


def test_facts_of_a_known_scene(capture: Path, shots: Shots) -> None:
    facts, found = surveyed(capture, around(shots.ball))
    np.testing.assert_allclose(facts.region_centre, shots.ball.centre, atol=1e-5)
    assert abs(facts.region_radius - 1.5 * shots.ball.radius) < 1e-5
    assert facts.photographs + facts.held_out == 9 and facts.smallest_photograph == (28, 28)
    assert facts.format.startswith("nerfstudio") and facts.masks_from == str(capture / "masks")
    pixels = [np.asarray(mask) >= 128 for mask in shots.cut()[1]]
    shares = [mask.mean() for mask in pixels]
    assert facts.mask_coverage is not None and facts.object_diameter_px is not None
    assert min(shares) <= facts.mask_coverage.least <= facts.mask_coverage.median <= max(shares)
    assert facts.object_diameter_px.most == max(mask.any(0).sum() for mask in pixels)
    assert facts.share_of_cameras_inside == 0 and facts.points == 0 and facts.share_of_points_inside is None
    # The frame leads back to where the cameras were written.
    truth = shots.poses[:, :3, 3]
    centres = found.views.moved(found.frame.world_from_parser).world_from_camera[:, :, 3].numpy()
    assert np.linalg.norm(centres[:, None] - truth, axis=-1).min(1).max() < 1e-5


def test_points_and_tracks_are_counted_and_their_share_inside_is_right(tmp_path: Path, shots: Shots) -> None:
    SAMPLES["COLMAP binary"].write(shots, tmp_path)
    facts, _ = surveyed(tmp_path, around(shots.ball, 1.2))
    assert facts.points == 60 and facts.share_of_points_inside == 1.0 and facts.format.startswith("COLMAP")
    assert 0 < facts.track_points <= 60 and facts.sightlines > 0
    x, y, z = shots.ball.centre
    facts, _ = surveyed(tmp_path, RegionOptions(centre=(x + 0.5 * shots.ball.radius, y, z), radius=shots.ball.radius))
    # A ball of the same radius, half a radius off, holds the cap of the sphere where the cosine is above a quarter.
    assert facts.share_of_points_inside is not None and abs(facts.share_of_points_inside - 0.375) < 0.15


def test_angles_of_a_ring_with_a_gap() -> None:
    degrees = np.array([0.0, 10.0, 20.0, 30.0, 100.0, 110.0])
    angles = np.radians(degrees)
    centres = 3.0 * np.stack([np.cos(angles), np.sin(angles), np.zeros(6)], axis=1)
    middle = np.array([1.0, 2.0, 3.0])
    found = view_angles(centres + middle, middle)
    assert found is not None
    np.testing.assert_allclose([found.neighbour, found.widest, found.gap], [10.0, 110.0, 70.0], atol=1e-6)
    assert view_angles(middle[None], middle) is None
    same = view_angles(np.repeat(centres[:1], 3, 0), middle)
    assert same is not None and same.widest == same.gap == 0.0


GOOD = SceneFacts(
    capture="c",
    format="nerfstudio",
    scene_type="object",
    photographs=40,
    held_out=4,
    smallest_photograph=(800, 600),
    largest_photograph=(800, 600),
    photograph_scales=(1.0, 1.0),
    masks_from="masks",
    mask_coverage=Spread(0.1, 0.2, 0.3),
    region_centre=(0.0, 0.0, 0.0),
    region_radius=1.0,
    region_how="visual hull of 40 masks",
    share_of_cameras_inside=0.0,
    points=500,
    share_of_points_inside=0.6,
    track_points=400,
    sightlines=2000,
    tracks_from="sparse/0",
    object_diameter_px=Spread(100.0, 200.0, 300.0),
    view_angles_degrees=Angles(10.0, 170.0, 20.0),
    blurred_photographs=(),
)
BAD = {
    "pixels wide": {"object_diameter_px": Spread(5.0, 19.4, 30.0)},
    "10 of 40 cameras stand inside": {"share_of_cameras_inside": 0.25},
    "mark only 4.0%": {"mask_coverage": Spread(0.0, 0.04, 0.1)},
    "only 7 photographs": {"photographs": 7},
    "within 5.0 degrees": {"view_angles_degrees": Angles(1.0, 5.0, 2.0)},
    "gap of 61 degrees": {"view_angles_degrees": Angles(10.0, 170.0, 61.0)},
    "only 200x100 pixels": {"smallest_photograph": (200, 100)},
    "blurred beside the others (a.png, b.png, c.png and 1 more)": {
        "blurred_photographs": ("a.png", "b.png", "c.png", "d.png")
    },
    "neither masks nor SfM points": {
        "points": 0,
        "masks_from": None,
        "mask_coverage": None,
        "share_of_points_inside": None,
        "region_how": "cameras alone: half way",
    },
    "white all along the photographs' edges": {"region_how": f"visual hull of 40 masks{INVERTED_REMARK}"},
    "Only 1.0% of the SfM points": {"share_of_points_inside": 0.01},
}


def test_a_good_scene_gets_no_warning() -> None:
    assert warnings(GOOD) == []


@pytest.mark.parametrize("words", BAD)
def test_each_fault_gets_its_warning_in_one_sentence_with_a_cure(words: str) -> None:
    found = warnings(replace(GOOD, **BAD[words]))
    assert len(found) == 1 and words in found[0]
    assert found[0].endswith(".") and "\n" not in found[0] and ". " not in found[0] and ("; " in found[0])


def test_a_capture_without_points_is_told_where_to_get_them() -> None:
    def cures(points: int) -> str:
        return " ".join(each.option for each in assumptions(replace(GOOD, points=points)))

    assert "neus-poses align" in cures(0) and "neus-poses align" not in cures(500)


def test_that_photographs_are_read_smaller_is_said_with_the_way_back() -> None:
    def found(least: float, most: float) -> list[str]:
        all_ = assumptions(replace(GOOD, photograph_scales=(least, most)))
        return [f"{a.what}: {a.option}" for a in all_ if "of their size" in a.what]

    assert (
        found(1.0, 1.0) == []
        and "at 40% of" in found(0.4, 0.4)[0]
        and "camera-res-scale-factor 1" in found(0.4, 0.4)[0]
    )
    assert "at 40% to 100% of" in found(0.4, 1.0)[0]


def test_dense_video_around_an_object_is_not_called_narrow() -> None:
    assert warnings(replace(GOOD, view_angles_degrees=Angles(1.0, 170.0, 3.0))) == []


def test_the_blurred_photograph_is_named_and_sharp_ones_are_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    frames = []
    for view in range(10):
        angle = 2 * math.pi * view / 10
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((256, 192), 3)
        fine = Image.fromarray(rng.integers(0, 256, (192, 256, 3), dtype=np.uint8))
        photo = Image.blend(coarse, fine, 0.2)
        if view == 3:
            photo = photo.filter(ImageFilter.GaussianBlur(3))
        photo.save(tmp_path / f"images/{view}.png")
        pose = np.eye(4)
        pose[:3, 2] = math.cos(angle), math.sin(angle), 0.0
        pose[:3, 0], pose[:3, 1] = np.cross([0.0, 0.0, 1.0], pose[:3, 2]), [0.0, 0.0, 1.0]
        pose[:3, 3] = 3 * pose[:3, 2]
        frames.append({"file_path": f"images/{view}.png", "transform_matrix": pose.tolist()})
    lens = {"fl_x": 300, "fl_y": 300, "cx": 128, "cy": 96, "w": 256, "h": 192}
    names = [frame["file_path"] for frame in frames]
    splits = {f"{split}_filenames": names for split in ("train", "val", "test")}
    (tmp_path / "transforms.json").write_text(json.dumps({**lens, **splits, "frames": frames}))
    facts, _ = surveyed(tmp_path)
    assert facts.blurred_photographs == ("3.png",)
    assert facts.view_angles_degrees is not None and abs(facts.view_angles_degrees.neighbour - 36) < 1e-3
    # A ball of half the distance, seen by a tangent cone of sine 1/2.
    assert facts.object_diameter_px is not None
    assert abs(facts.object_diameter_px.median - 2 * 300 * math.tan(math.asin(0.5))) < 0.5


@pytest.mark.parametrize("name", SAMPLES)
def test_check_reports_every_format_and_leaves_the_capture_alone(name: str, tmp_path: Path, shots: Shots) -> None:
    folder, out = tmp_path / "capture", tmp_path / "report"
    folder.mkdir()
    SAMPLES[name].write(shots, folder)
    before = contents(folder)
    report = Check(data=folder).check()
    assert contents(folder) == before and not out.exists()
    assert SAMPLES[name].recognised in report.facts.format
    assert (report.facts.masks_from is not None) == SAMPLES[name].masks
    Check(data=folder, output_dir=out).check()
    assert contents(folder) == before
    read = json.loads((out / "scene_report.json").read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(report.as_json()))
    assert read["photographs"] == report.facts.photographs and read["warnings"] == report.warnings
    picture = np.asarray(Image.open(out / "scene_report.png"))
    for colour in ((30, 130, 90), (214, 90, 40)):
        # Cameras and region are there, and neither covers the picture.
        near = (np.abs(picture.astype(int) - colour).sum(-1) < 30).mean()
        assert 1e-5 < near < 0.1


def test_a_box_is_drawn_and_the_table_takes_brackets(capture: Path, shots: Shots, capsys) -> None:
    low, high = (np.array(shots.ball.centre) + sign * shots.ball.radius for sign in (-1.0, 1.0))
    manager = SurfaceDataManagerConfig(data=capture).setup(device="cpu", test_mode="val")
    plain = scene_report(manager, survey(manager, "object", around(shots.ball, math.sqrt(3.0))))
    boxed = scene_report(manager, survey(manager, "object", RegionOptions(box=(*low.tolist(), *high.tolist()))))
    assert abs(boxed.facts.region_radius - plain.facts.region_radius) < 1e-5
    assert (np.asarray(plain.picture) != np.asarray(boxed.picture)).any()
    boxed.print(Console(width=200))
    printed = capsys.readouterr().out
    assert str(capture) in printed and "`region.box`" in printed
    assert all(warning in printed for warning in boxed.warnings)


def run_check(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["neus-data", "check", *map(str, arguments)])
    entrypoint()


def test_the_command_takes_the_region_and_warnings_leave_its_exit_code(
    capture: Path, shots: Shots, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_check(monkeypatch, capture, "--region.centre", *shots.ball.centre, "--region.radius", 0.625)
    printed = capsys.readouterr().out
    assert "radius 0.625 in the units" in printed and "Warning: " in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["CAPTURE", "--region.radius", "0"], "`region.radius` gives the radius 0"),
        (["CAPTURE", "--output-dir", "CAPTURE/report"], "lies within the capture"),
        (["CAPTURE/transforms.json", "--output-dir", "CAPTURE"], "lies within the capture"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_1(
    capture: Path,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(capture)
    with pytest.raises(SystemExit) as exit_info:
        run_check(monkeypatch, *[argument.replace("CAPTURE", str(capture)) for argument in arguments])
    printed = capsys.readouterr().err.strip()
    assert exit_info.value.code == 1
    assert sentence in printed and printed.endswith(".") and "\n" not in printed
    assert contents(capture) == before


def test_help_loads_neither_torch_nor_nerfstudio() -> None:
    code = "import sys, neus_ns.cli.data\nassert not {'torch', 'nerfstudio', 'trimesh'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]


def test_a_run_keeps_its_report_and_its_frame_and_another_run_can_take_the_frame_over(
    capture: Path, shots: Shots, tmp_path: Path
) -> None:
    first = tiny_config(capture, tmp_path / "first", 1)
    pipeline_config(first).region = RegionOptions(centre=shots.ball.centre, radius=0.625)
    frame = pipeline_of(trained(first)).surface_model.field.frame
    folder = first.get_base_dir()
    report = json.loads((folder / "scene_report.json").read_text(encoding="utf-8"))
    kept = json.loads((folder / "scene_frame.json").read_text(encoding="utf-8"))
    assert abs(report["region_radius"] - 0.625) < 1e-5 and (folder / "scene_report.png").stat().st_size > 1000
    np.testing.assert_allclose(kept["world_from_unit"], frame.world_from_unit.numpy(), atol=1e-9)
    np.testing.assert_allclose(np.array(kept["world_from_unit"])[:3, 3], shots.ball.centre, atol=1e-5)

    second = tiny_config(capture, tmp_path / "second", 1)
    pipeline_config(second).region = RegionOptions(file=folder / "scene_frame.json")
    again = pipeline_of(trained(second)).surface_model.field.frame
    np.testing.assert_allclose(again.world_from_unit.numpy(), frame.world_from_unit.numpy(), atol=1e-5)

    # A resumed run stays where it was, whatever the options say, and its file says so.
    third = tiny_config(capture, tmp_path / "third", 2)
    pipeline_config(third).region = RegionOptions(centre=shots.ball.centre, radius=0.9)
    third.load_dir = first.get_checkpoint_dir()
    resumed = pipeline_of(trained(third)).surface_model.field.frame
    np.testing.assert_allclose(resumed.world_from_unit.numpy(), frame.world_from_unit.numpy(), atol=1e-9)
    kept = json.loads((third.get_base_dir() / "scene_frame.json").read_text(encoding="utf-8"))
    assert "checkpoint" in kept["how"] and abs(kept["world_units_per_unit"] - 0.625) < 1e-5
