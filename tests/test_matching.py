"""Poses corrected by what photographs share: each part against its definition, and a disturbed capture end to end."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from scipy.spatial.transform import Rotation

from neus_ns.cli import poses as cli
from neus_ns.data.colmap.read import read_model
from neus_ns.data.colmap.write import SparseLens, SparseModel, write_model
from neus_ns.data.matching import bundle as bundle_module
from neus_ns.data.matching.align import align, relative, widest_degrees
from neus_ns.data.matching.bundle import Bundle, Prior, Problem, adjusted, residuals, triangulated
from neus_ns.data.matching.features import Features, find_features, undistorted
from neus_ns.data.matching.join import Sightings, join_matches
from neus_ns.data.matching.pairs import epipolar_distance
from neus_ns.data.pinhole_views import distort
from neus_ns.data.synthetic.capture import CaptureOptions, write_views
from neus_ns.data.synthetic.shapes import Shape, sphere
from neus_ns.data.synthetic.texture import fractal_noise
from neus_ns.errors import InputError
from neus_ns.evaluation.poses import pose_error

FOCAL = 500.0
PRIOR = Prior(np.radians(5), 0.05)


def ring(views: int, seed: int = 0) -> np.ndarray:
    """Cameras around the origin that look at it, OpenGL axes."""
    rng, poses = np.random.default_rng(seed), []
    for angle in np.linspace(0, 2 * np.pi, views, endpoint=False):
        eye = 3 * np.array([np.cos(angle), np.sin(angle), 0.4 + 0.3 * rng.random()])
        back = eye / np.linalg.norm(eye)
        right = np.cross([0, 0, 1.0], back)
        right /= np.linalg.norm(right)
        poses.append(np.column_stack([right, np.cross(back, right), back, eye]))
    return np.array(poses)


def disturbed(poses: np.ndarray, degrees: float, shift: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    axes, ways = (rng.normal(size=(len(poses), 3)) for _ in range(2))
    axes, ways = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (axes, ways))
    turned = Rotation.from_rotvec(np.radians(degrees) * axes).as_matrix() @ poses[:, :, :3]
    return np.concatenate([turned, (poses[:, :, 3] + shift * ways)[..., None]], 2)


def sightings(poses: np.ndarray, points: np.ndarray, share: float = 0.4, seed: int = 2) -> Sightings:
    """Exact views of a share of all pairs of cameras and points."""
    view, track = np.nonzero(np.random.default_rng(seed).random((len(poses), len(points))) < share)
    blank = Sightings(view, track, np.zeros_like(view), np.zeros((len(view), 2)), len(points))
    uv = residuals(Bundle(poses, points), blank, np.ones(len(poses)))[0]
    return Sightings(view, track, np.zeros_like(view), uv, len(points)).only(np.ones(len(view), dtype=bool))


@pytest.fixture(scope="module")
def exact() -> tuple[np.ndarray, Sightings]:
    poses = ring(12)
    return poses, sightings(poses, np.random.default_rng(3).uniform(-0.7, 0.7, size=(300, 3)))


def test_lines_of_sight_meet_at_their_point(exact):
    poses, seen = exact
    points = triangulated(poses, seen)
    assert np.abs(residuals(Bundle(poses, points), seen, np.full(12, FOCAL))[0]).max() < 1e-5
    assert (residuals(Bundle(poses, points), seen, np.full(12, FOCAL))[1][:, 2] < 0).all()
    assert widest_degrees(Bundle(poses, points), seen).min() > 5


def test_disturbed_poses_come_back(exact):
    poses, seen = exact
    given = disturbed(poses, 2.0, 0.02)
    found = align(given, seen, np.full(12, FOCAL), PRIOR)
    before, after = pose_error(given, poses), pose_error(found.bundle.poses, poses)
    # What is left is the pull of the prior, which spreads over the cameras.
    assert after.mean_rotation_degrees < 0.01 * before.mean_rotation_degrees
    assert after.mean_position < 0.02 * before.mean_position
    assert found.before_px > 5 and found.after_px < 0.01 and len(found.weakly_held) == 0


def test_mismatches_are_left_out(exact):
    poses, seen = exact
    rng = np.random.default_rng(4)
    wrong = rng.random(len(seen)) < 0.15
    uv = seen.uv + rng.normal(size=seen.uv.shape) * 0.3 / FOCAL
    uv[wrong] = rng.uniform(-0.3, 0.3, size=(int(wrong.sum()), 2))
    noisy = Sightings(seen.view, seen.track, seen.keypoint, uv, seen.track_count)
    given = disturbed(poses, 2.0, 0.02)
    found = align(given, noisy, np.full(12, FOCAL), PRIOR)
    before, after = pose_error(given, poses), pose_error(found.bundle.poses, poses)
    assert after.mean_rotation_degrees < 0.1 * before.mean_rotation_degrees
    assert after.mean_position < 0.3 * before.mean_position
    assert len(found.seen) < (~wrong).sum() + 0.2 * wrong.sum()


def test_slopes_of_the_normal_equations_are_those_of_the_cost(exact):
    poses, seen = exact
    given, focal = disturbed(poses, 2.0, 0.02), np.full(12, FOCAL)
    bundle = Bundle(disturbed(given, 0.5, 0.01, seed=7), triangulated(given, seen) + 0.01)
    problem = Problem(seen, focal, given, PRIOR)
    normal = bundle_module._normal_equations(bundle, problem, 4.0)
    rng, step = np.random.default_rng(5), 1e-6
    # The prior's slope takes rotation vectors as if they added, which is right to a few percent of a few percent.
    for _ in range(4):
        of_cameras, of_points = rng.normal(size=(12, 6)), rng.normal(size=bundle.points.shape)
        costs = [
            bundle_module._cost(
                bundle_module._moved(bundle, way * step * of_cameras, way * step * of_points), problem, 4.0
            )
            for way in (1, -1)
        ]  # fmt: skip
        expected = 2 * ((normal.camera_slope * of_cameras).sum() + (normal.point_slope * of_points).sum())
        assert (costs[0] - costs[1]) / (2 * step) == pytest.approx(expected, rel=1e-3)


def test_adjusting_never_makes_the_cost_larger(exact):
    poses, seen = exact
    given, focal = disturbed(poses, 4.0, 0.1), np.full(12, FOCAL)
    bundle = Bundle(given, triangulated(given, seen))
    problem = Problem(seen, focal, given, PRIOR)
    after = adjusted(bundle, problem, 2.0, steps=3)
    costs = [bundle_module._cost(each, problem, 2.0) for each in (bundle, after)]
    assert costs[1] < costs[0]


def test_too_few_tracks_and_contradictions_are_told_in_a_sentence(exact):
    poses, seen = exact
    with pytest.raises(InputError, match="too few to correct poses by"):
        align(poses, seen.only(seen.track < 3), np.full(12, FOCAL), PRIOR)
    uv = np.random.default_rng(6).uniform(-0.3, 0.3, size=seen.uv.shape)
    nonsense = Sightings(seen.view, seen.track, seen.keypoint, uv, seen.track_count)
    with pytest.raises(InputError, match="contradict one another"):
        align(poses, nonsense, np.full(12, FOCAL), PRIOR)


def test_true_matches_lie_on_their_epipolar_lines(exact):
    poses, seen = exact
    points = triangulated(poses, seen)
    ones = np.arange(len(points))

    def uv_in(view: int) -> np.ndarray:
        blank = Sightings(np.full(len(points), view), ones, ones, np.zeros((len(points), 2)), len(points))
        return residuals(Bundle(poses, points), blank, np.ones(12))[0]

    motion = relative(poses[0], poses[2])
    assert epipolar_distance(uv_in(0), uv_in(2), motion).max() < 1e-9
    assert np.median(epipolar_distance(uv_in(0), uv_in(2)[::-1], motion)) > 0.01


def features_at(*places: tuple[float, float]) -> Features:
    xy = np.array(places, dtype=float).reshape(-1, 2)
    return Features(xy, xy / FOCAL, np.zeros((len(xy), 128), np.float32))


def test_matches_become_tracks_and_contradictions_do_not():
    features = [
        features_at((1, 1), (50, 50), (9, 9)),
        features_at((2, 2), (60, 60), (2, 2)),
        features_at((3, 3), (70, 70)),
    ]
    chain = {(0, 1): np.array([[0, 0]]), (1, 2): np.array([[0, 0]])}
    seen = join_matches(features, chain)
    assert seen.track_count == 1 and seen.view.tolist() == [0, 1, 2]
    # The same place in view 1, once more with another orientation, is one sighting.
    seen = join_matches(features, chain | {(0, 1): np.array([[0, 0], [0, 2]])})
    assert seen.track_count == 1 and sorted(seen.view) == [0, 1, 2]
    # Two places in view 0 make nonsense of a track, and of that track only.
    seen = join_matches(features, chain | {(0, 2): np.array([[2, 0], [1, 1]])})
    assert seen.track_count == 1 and seen.view.tolist() == [0, 2] and seen.keypoint.tolist() == [1, 1]
    assert len(join_matches(features, {})) == 0


def test_lens_distortion_is_undone():
    lens = torch.tensor([[-0.1, 0.02, 0.0, 0.0, 0.001, -0.002]])
    cameras = Cameras(torch.eye(4)[None, :3], 300.0, 310.0, 160.0, 120.0, 320, 240, distortion_params=lens)
    uv = torch.rand(50, 2, dtype=torch.float64) * 0.6 - 0.3
    xy = distort(uv, lens[0].double()) * torch.tensor([300.0, 310.0]) + torch.tensor([160.0, 120.0])
    np.testing.assert_allclose(undistorted(cameras, 0, xy.numpy()), uv.numpy(), atol=1e-4)


def test_what_a_fisheye_sees_beside_and_behind_it_is_left_out():
    # Equidistant: 100 pixels a radian, so the border is at 1.6 radians, beyond a right angle.
    cameras = Cameras(torch.eye(4)[None, :3], 100.0, 100.0, 160.0, 160.0, 320, 320, camera_type=CameraType.FISHEYE)
    xy = np.array([[160.0, 160.0], [210.0, 160.0], [160.0, 60.0], [319.0, 160.0]])
    uv = undistorted(cameras, 0, xy)
    np.testing.assert_allclose(uv[:3], [[0, 0], [np.tan(0.5), 0], [0, -np.tan(1.0)]], atol=2e-5)
    assert np.isnan(uv[3]).all()
    noise = torch.randint(0, 255, (320, 320, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = find_features(noise, cameras, 0)
    assert len(features) and np.isfinite(features.uv).all()


def test_a_photograph_without_anything_on_it_has_no_keypoints():
    cameras = Cameras(torch.eye(4)[None, :3], 300.0, 300.0, 32.0, 32.0, 64, 64)
    assert len(find_features(torch.full((64, 64, 3), 128, dtype=torch.uint8), cameras, 0)) == 0


def test_a_written_model_reads_back(tmp_path, exact):
    poses, seen = exact
    points, rng = triangulated(poses, seen), np.random.default_rng(8)
    model = SparseModel(
        names=[f"a/{view}.png" for view in range(12)],
        lenses=[SparseLens("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))] * 12,
        poses=poses,
        points=points,
        colours=rng.integers(0, 255, points.shape, dtype=np.uint8),
        errors=rng.random(len(points)),
        view=seen.view,
        point=seen.track,
        xy=rng.random((len(seen), 2)) * 400,
    )
    write_model(model, tmp_path)
    back = read_model(tmp_path)
    assert back.images.names == model.names and back.cameras.models == ["PINHOLE"] * 12
    np.testing.assert_array_equal(back.points.xyz, points)
    np.testing.assert_array_equal(back.points.errors, model.errors)
    order = np.argsort(seen.track, kind="stable")
    np.testing.assert_array_equal(back.element_image, seen.view[order])
    np.testing.assert_array_equal(back.element_point, seen.track[order])
    np.testing.assert_array_equal(back.element_xy, model.xy[order])
    rotation = back.cv_from_world[:, :, :3].transpose(0, 2, 1)
    np.testing.assert_allclose(rotation @ np.diag([1.0, -1, -1]), poses[:, :, :3], atol=1e-12)
    np.testing.assert_allclose(-(rotation @ back.cv_from_world[:, :, 3:])[..., 0], poses[:, :, 3], atol=1e-12)


def speckled_ball(folder: Path) -> Path:
    """Photographs of a ball with enough on it to be found again."""

    def albedo(points: torch.Tensor) -> torch.Tensor:
        channels = [fractal_noise(points + 11.0 * k, 0.12, 2) for k in range(3)]
        return (2.5 * (torch.stack(channels, dim=1) - 0.5) + 0.5).clamp(0.02, 0.95)

    shape = Shape((3.0, -2.0, 1.0), 0.8, lambda points: sphere(points, (0.0, 0.0, 0.0), 0.7), albedo)
    write_views(folder, shape, CaptureOptions(views=16, test_views=2, size=200))
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["neus-poses", *map(str, arguments)])
    cli.entrypoint()


def poses_by_name(path: Path) -> dict[str, np.ndarray]:
    frames = json.loads(path.read_text())["frames"]
    return {Path(frame["file_path"]).name: np.array(frame["transform_matrix"])[:3] for frame in frames}


def test_a_disturbed_capture_is_aligned_from_its_photographs(tmp_path, monkeypatch, capsys):
    capture, out = tmp_path / "a capture", tmp_path / "out"
    speckled_ball(capture)
    json_path = capture / "transforms.json"
    truth = poses_by_name(json_path)
    meta = json.loads(json_path.read_text())
    given = disturbed(np.array(list(truth.values())), 2.0, 0.02)
    for frame, pose in zip(meta["frames"], given.tolist(), strict=True):
        frame["transform_matrix"][:3] = pose
    json_path.write_text(json.dumps(meta))
    before = json_path.read_bytes()
    call(monkeypatch, "align", capture, "--output-dir", out)
    said = capsys.readouterr().out
    assert "points project" in said and f"train with --data {out}" in said
    assert json_path.read_bytes() == before
    found = poses_by_name(out / "transforms.json")
    assert found.keys() == truth.keys()
    exact, after = np.array(list(truth.values())), np.array([found[name] for name in truth])
    errors = [pose_error(each, exact) for each in (given, after)]
    assert errors[1].mean_rotation_degrees < 0.4 * errors[0].mean_rotation_degrees
    assert errors[1].mean_position < 0.7 * errors[0].mean_position
    written = json.loads((out / "transforms.json").read_text())
    assert all((out / frame[key]).is_file() for frame in written["frames"] for key in ("file_path", "mask_path"))
    assert (
        written["camera_model"] == "OPENCV"
        and len(written["train_filenames"]) == 16
        and len(written["test_filenames"]) == 2
    )
    assert len(read_model(out / "colmap/sparse/0").points.ids) > 100

    with pytest.raises(SystemExit):
        call(monkeypatch, "align", capture, "--output-dir", out)
    assert "is there already and not empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        call(monkeypatch, "align", capture, "--output-dir", tmp_path / "other", "--pose-error", 0)
    assert "--pose-error is 0" in capsys.readouterr().err


def test_an_aligned_capture_is_read_with_its_tracks(tmp_path, monkeypatch, capsys):
    capture, out = tmp_path / "capture", tmp_path / "out"
    speckled_ball(capture)
    call(monkeypatch, "align", capture, "--output-dir", out)
    from neus_ns.cli.data import Check

    Check(out).check()
    said = "".join(capsys.readouterr().out.split())
    assert "16of16photographs,intheframeoftheposes" in said
