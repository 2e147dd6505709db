"""The evaluation room: scores of known surfaces, cameras of known files, pictures of known shapes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.visual.color import ColorVisuals

from neus_ns.errors import InputError
from neus_ns.evaluation.camera import Camera, cameras_by_photo, cameras_of, training_cameras
from neus_ns.evaluation.geometry import GroundTruth, Score, score_mesh
from neus_ns.evaluation.picture import Row, caption_of, comparison, cut, square_around
from neus_ns.evaluation.raster import rasterise, renderable
from neus_ns.evaluation.shading import coloured, mesh_normals, normal_picture, shaded
from neus_ns.surface.source import Views

SAMPLES = 20_000


def look_at_origin(eye: tuple[float, float, float], size: int = 64) -> Camera:
    """A camera at `eye` that looks at the origin with a field of view in which a unit sphere at distance 4 fits."""
    back = np.array(eye, dtype=float) / np.linalg.norm(eye)
    up = np.array([0.0, 0.0, 1.0]) if abs(back[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    pose = np.stack([right, np.cross(back, right), back, np.array(eye, dtype=float)], 1)
    return Camera(pose, 1.6 * size, 1.6 * size, size / 2, size / 2, size, size)


def cameras_around(distance: float = 4.0) -> list[Camera]:
    """Six cameras on the axes, which see all of a sphere."""
    axes = np.concatenate([np.eye(3), -np.eye(3)]) * distance
    return [look_at_origin(tuple(eye.tolist())) for eye in axes]


def moved(camera: Camera, scale: float, shift: np.ndarray) -> Camera:
    pose = camera.world_from_camera.copy()
    pose[:, 3] = pose[:, 3] * scale + shift
    return Camera(pose, camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)


def truth_of(mesh: trimesh.Trimesh, count: int = 5_000) -> GroundTruth:
    sampled = trimesh.sample.sample_surface(mesh, count, seed=1)
    return GroundTruth(np.array(sampled[0]), np.array(mesh.face_normals[sampled[1]]), mesh)


def joined(*meshes: trimesh.Trimesh) -> trimesh.Trimesh:
    mesh = trimesh.util.concatenate(list(meshes))
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def sphere(radius: float = 1.0, subdivisions: int = 4) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)


def score_of(mesh: trimesh.Trimesh, truth: GroundTruth, **options: bool) -> Score:
    return score_mesh(mesh, truth, cameras_around(), samples=SAMPLES, **options)


@pytest.fixture(scope="module")
def truth() -> GroundTruth:
    return truth_of(sphere())


# Geometry


def test_the_truth_scores_zero_against_itself(truth: GroundTruth) -> None:
    score = score_of(truth.mesh, truth)
    assert score.chamfer_percent < 1e-3
    assert score.f_05 == score.f_10 == 1.0
    assert score.normals == pytest.approx(1.0, abs=1e-3)
    assert score.faces == len(truth.mesh.faces)


@pytest.mark.parametrize("growth", [-0.02, 0.005, 0.03])
def test_a_larger_sphere_scores_its_growth(truth: GroundTruth, growth: float) -> None:
    score = score_of(sphere(1 + growth), truth)
    assert score.chamfer_world == pytest.approx(abs(growth), rel=0.03)
    assert score.accuracy_world == pytest.approx(abs(growth), rel=0.03)
    assert score.chamfer_percent == pytest.approx(100 * score.chamfer_world / truth.diagonal_world)
    assert score.outside_percent == pytest.approx(100 * growth / truth.diagonal_world, rel=0.03)
    inside_out = sphere(1 + growth)
    inside_out.invert()
    assert score_of(inside_out, truth).outside_percent == pytest.approx(score.outside_percent)
    share = abs(growth) / truth.diagonal_world
    assert score.f_05 == (1.0 if share < 0.005 else 0.0)
    assert score.f_10 == (1.0 if share < 0.010 else 0.0)


def test_percent_does_not_depend_on_the_unit_or_the_origin(truth: GroundTruth) -> None:
    near = score_of(sphere(1.01), truth)
    scale, shift = 1000.0, np.array([4e6, -2e6, 5e5])
    far_mesh, far_truth = (
        mesh.copy().apply_scale(scale).apply_translation(shift) for mesh in (sphere(1.01), truth.mesh)
    )
    far_cameras = [moved(camera, scale, shift) for camera in cameras_around()]
    far = score_mesh(
        far_mesh,
        GroundTruth(truth.points_world * scale + shift, truth.normals_world, far_truth),
        far_cameras,
        samples=SAMPLES,
    )
    assert far.chamfer_percent == pytest.approx(near.chamfer_percent, rel=1e-4)
    assert far.chamfer_world == pytest.approx(scale * near.chamfer_world, rel=1e-4)
    assert far.counted_share == pytest.approx(near.counted_share, abs=1e-3)


def test_what_no_camera_sees_does_not_count_towards_accuracy(truth: GroundTruth) -> None:
    stuffed = joined(truth.mesh, sphere(0.6))
    score = score_of(stuffed, truth)
    assert score.accuracy_percent < 1e-3
    assert score.counted_share == pytest.approx(1 / (1 + 0.6**2), abs=0.02)


def test_one_camera_sees_about_the_half_that_faces_it(truth: GroundTruth) -> None:
    score = score_mesh(truth.mesh, truth, [look_at_origin((0, 0, 4))], samples=SAMPLES)
    # A cap as far as the tangent cone from distance 4 reaches: (1 - 1/4) / 2, plus the tolerated depth of a layer.
    assert 0.375 <= score.counted_share < 0.42


def test_tables_far_and_near_do_not_count(truth: GroundTruth) -> None:
    wide = trimesh.creation.box((60.0, 60.0, 0.001), transform=trimesh.transformations.translation_matrix((0, 0, -1.5)))
    assert score_of(joined(truth.mesh, wide), truth).chamfer_percent < 1e-3

    foot = trimesh.creation.box((1.0, 1.0, 0.002), transform=trimesh.transformations.translation_matrix((0, 0, -0.999)))
    footed = joined(truth.mesh, foot)
    assert score_of(footed, truth).accuracy_percent > 0.1
    assert score_of(footed, truth, stands_on_table=True).accuracy_percent < 1e-3


def test_missing_half_costs_completeness_only(truth: GroundTruth) -> None:
    half = truth.mesh.copy()
    half.update_faces(half.triangles_center[:, 2] > 0)
    score = score_of(half, truth)
    assert score.accuracy_percent < 1e-3
    # Distance of the lower half to the rim of the upper: 2 sin(angle / 2) averaged over the cap, clipped.
    angle = np.arcsin(np.linspace(0, 1, 10_001))
    clipped = np.minimum(2 * np.sin(angle / 2), 0.1 * truth.diagonal_world).mean() / 2
    assert score.completeness_world == pytest.approx(clipped, rel=0.05)


def test_scores_repeat(truth: GroundTruth) -> None:
    assert score_of(sphere(1.01, 2), truth) == score_of(sphere(1.01, 2), truth)


def test_bad_meshes_are_refused_in_words(truth: GroundTruth) -> None:
    with pytest.raises(InputError, match="no faces"):
        score_of(trimesh.Trimesh(), truth)
    with pytest.raises(InputError, match="ground truth's box"):
        score_of(sphere().apply_translation((50, 0, 0)), truth)
    with pytest.raises(InputError, match="not numbers"):
        score_of(trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]], process=False), truth)
    with pytest.raises(InputError, match="no area"):
        score_of(trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0.5, 0, 0]], [[0, 1, 2]], process=False), truth)
    away = moved(look_at_origin((0, 0, 4)), 1.0, np.array([0, 0, 50.0]))
    away.world_from_camera[:, :3] *= np.array([-1, 1, -1])
    with pytest.raises(InputError, match="No training camera"):
        score_mesh(truth.mesh, truth, [away], samples=SAMPLES)


def test_ground_truth_loads_what_it_is_given(truth: GroundTruth, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gt_points.npz"):
        GroundTruth.load(tmp_path)
    points, normals = truth.points_world.astype(np.float32), truth.normals_world.astype(np.float16)
    np.savez(tmp_path / "gt_points.npz", points=points)
    truth.mesh.export(tmp_path / "gt_mesh.ply")
    with pytest.raises(InputError, match="normals"):
        GroundTruth.load(tmp_path)
    np.savez(tmp_path / "gt_points.npz", points=points, normals=normals)
    loaded = GroundTruth.load(tmp_path)
    assert np.allclose(loaded.points_world, truth.points_world, atol=1e-6)
    assert score_of(loaded.mesh, loaded).chamfer_percent < 1e-3


# Cameras


def write_transforms(folder: Path, **extra: object) -> Path:
    pose = [*look_at_origin((0, -4, 0)).world_from_camera.tolist(), [0, 0, 0, 1]]
    frames = [{"file_path": f"images/{name}.png", "transform_matrix": pose} for name in "abc"]
    frames[1]["fl_x"] = 50.0
    meta = {"fl_x": 100.0, "fl_y": 101.0, "cx": 32.0, "cy": 31.0, "w": 64, "h": 62, "frames": frames, **extra}
    path = folder / "transforms.json"
    path.write_text(json.dumps(meta))
    return path


def test_transforms_give_the_training_split_and_intrinsics_per_frame(tmp_path: Path) -> None:
    assert len(training_cameras(write_transforms(tmp_path))) == 3
    path = write_transforms(tmp_path, train_filenames=["./images/b.png"])
    (camera,) = training_cameras(path)
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height) == (50, 101, 32, 31, 64, 62)
    assert np.allclose(camera.centre_world, (0, -4, 0))
    assert list(cameras_by_photo(path)) == ["images/a.png", "images/b.png", "images/c.png"]


def test_bad_transforms_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        training_cameras(tmp_path / "transforms.json")
    with pytest.raises(InputError, match="train_filenames"):
        training_cameras(write_transforms(tmp_path, train_filenames=["images/z.png"]))
    with pytest.raises(InputError, match="images/a.png has no fl_y"):
        training_cameras(write_transforms(tmp_path, fl_y=None))
    with pytest.raises(InputError, match="no frames"):
        training_cameras(write_transforms(tmp_path, frames=[]))
    (tmp_path / "transforms.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        training_cameras(tmp_path / "transforms.json")


def test_views_become_the_same_cameras() -> None:
    cameras = cameras_around()
    numbers = {
        name: torch.tensor([float(getattr(camera, name)) for camera in cameras], dtype=torch.float64)
        for name in ("fx", "fy", "cx", "cy", "width", "height")
    }
    poses = torch.stack([torch.from_numpy(camera.world_from_camera) for camera in cameras])
    for camera, expected in zip(cameras_of(Views(poses, **numbers, masks=None)), cameras, strict=True):
        assert np.array_equal(camera.world_from_camera, expected.world_from_camera)
        assert camera.scaled(1.0).fx == expected.fx and camera.width == expected.width


def test_cropping_and_scaling_keep_the_rays() -> None:
    camera = look_at_origin((1, 2, 3))
    window = camera.cropped(10, -5, 20, 30).rays_world()
    assert np.allclose(window[5:, :], camera.rays_world()[:25, 10:30])
    # A pixel at double resolution: four of its rays average to that of the coarse pixel.
    fine = camera.scaled(2.0).rays_world()
    assert np.allclose(fine.reshape(64, 2, 64, 2, 3).mean((1, 3)), camera.rays_world())


# Raster


def test_raster_of_a_sphere_agrees_with_the_analytic_one() -> None:
    camera = look_at_origin((3.0, -2.0, 1.5), size=96)
    centre, radius = np.array([0.1, -0.2, 0.05]), 0.9
    raster = rasterise(renderable(sphere(radius, 5).apply_translation(centre)), camera)

    rays, towards = camera.rays_world(), camera.centre_world - centre
    a, b = (rays**2).sum(-1), (rays * towards).sum(-1)
    discriminant = b**2 - a * ((towards**2).sum() - radius**2)
    depth = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    normals = (towards + rays * depth[..., None]) / radius
    # Away from the outline, where a facet's small dent becomes a large change of depth.
    inner = discriminant > 0.1 * discriminant.max()
    assert raster.hit[inner].all()
    assert (raster.hit == (discriminant > 0)).mean() > 0.99
    assert np.abs(raster.depth - depth)[inner].max() < 2e-3
    assert np.abs(raster.normals - normals)[inner].max() < 0.01
    assert np.isinf(raster.depth[~raster.hit]).all() and not raster.normals[~raster.hit].any()


def test_sharp_edges_stay_sharp_and_seams_do_not_show() -> None:
    cube = renderable(trimesh.creation.box((1, 1, 1)))
    assert np.allclose(cube.corner_normals, cube.face_normals[:, None])
    ball = sphere(1.0, 3)
    soup = trimesh.Trimesh(ball.triangles.reshape(-1, 3), np.arange(3 * len(ball.faces)).reshape(-1, 3), process=False)
    assert np.allclose(renderable(soup).corner_normals, renderable(ball).corner_normals)


def test_colours_are_interpolated_between_vertices() -> None:
    ball = sphere(1.0, 4)
    colours = np.round(255 * (ball.vertices + 1) / 2).astype(np.uint8)
    ball.visual = ColorVisuals(ball, vertex_colors=colours)
    camera = look_at_origin((0.5, -4.0, 0.7))
    raster = rasterise(renderable(ball), camera)
    assert raster.colours is not None
    points = camera.centre_world + camera.rays_world()[raster.hit] * raster.depth[raster.hit][:, None]
    assert np.abs(raster.colours[raster.hit] - (points + 1) / 2).max() < 0.5 / 255 + 1e-3
    assert raster.hit[32, 32] and np.abs(coloured(ball, camera)[32, 32] / 255 - raster.colours[32, 32]).max() < 0.02
    with pytest.raises(InputError, match="vertex colours"):
        coloured(sphere(), camera)


def test_normals_have_their_colours() -> None:
    normals = np.zeros((1, 5, 3))
    normals[0, :3] = np.eye(3)
    normals[0, 3] = (0, 0, -0.5)
    picture = normal_picture(normals)[0].tolist()
    assert picture == [[255, 128, 128], [128, 255, 128], [128, 128, 255], [191, 191, 128], [255, 255, 255]]
    # Seen from anywhere, what faces the camera is blue, what looks right is red.
    ball = mesh_normals(sphere(), look_at_origin((1, 2, -3)))
    assert np.abs(ball[32, 32].astype(int) - (128, 128, 255)).max() < 8
    assert ball[32, 56, 0] > 220 and ball[32, 7, 0] < 35 and ball[0, 0].tolist() == [255, 255, 255]


def test_clay_is_lit_from_the_upper_left_and_repeats() -> None:
    camera = look_at_origin((0, -4, 0))
    picture = shaded(sphere(1.0, 3), camera)
    assert picture[0, 0].tolist() == [255, 255, 255]
    upper_left, lower_right = picture[22, 22].mean(), picture[44, 44].mean()
    assert upper_left > lower_right + 40
    assert np.array_equal(picture, shaded(renderable(sphere(1.0, 3)), camera))


def test_the_inside_of_an_open_mesh_is_told_by_its_colour() -> None:
    flipped = sphere(1.0, 3)
    flipped.invert()
    inside, outside = (
        shaded(mesh, look_at_origin((0, -4, 0)))[32, 32].astype(int) for mesh in (flipped, sphere(1.0, 3))
    )
    assert inside[2] > inside[0] and outside[2] < outside[0]


def test_folds_are_darker_than_open_faces() -> None:
    ground = trimesh.creation.box((2, 2, 0.1))
    wall = trimesh.creation.box((0.1, 2, 1), transform=trimesh.transformations.translation_matrix((-0.5, 0, 0.5)))
    camera = look_at_origin((0, 0.01, 4), size=96)
    alone, folded = (shaded(mesh, camera) for mesh in (ground, joined(ground, wall)))
    middle = (48, 48)
    assert alone[middle].mean() > folded[middle].mean() + 2


# Comparison pictures


def test_comparison_has_the_width_asked_for_and_shows_its_panels(tmp_path: Path) -> None:
    red, blue = (np.full((40, 60, 3), colour, dtype=np.uint8) for colour in ((200, 30, 30), (30, 30, 200)))
    tall = np.full((90, 60, 3), (30, 160, 30), dtype=np.uint8)
    path = tmp_path / "deep" / "figure.png"
    rows = [Row("a", "first", [red, tall]), Row("b", "second", [blue, red], ["one", "two"])]
    comparison(rows, ["photo", "mesh"], path, width=700)
    picture = np.array(Image.open(path))
    assert picture.shape[1] == 700
    for colour in ((200, 30, 30), (30, 160, 30), (30, 30, 200)):
        assert (picture == colour).all(-1).sum() > 20_000
    with pytest.raises(InputError, match="'a'"):
        comparison(rows, ["photo"], path)


def test_windows_and_captions() -> None:
    mask = np.zeros((50, 80), dtype=bool)
    mask[0:40, 60:70] = True
    left, top, width, height = square_around(mask, margin=0.1)
    assert width == height == 50 and abs(left + width / 2 - 65) <= 1 and abs(top + height / 2 - 20) <= 1
    photo = np.arange(50 * 80 * 3, dtype=np.uint32).reshape(50, 80, 3).astype(np.uint8)
    part = cut(photo, (left, top, width, height))
    assert (part[: -top - 1] == 255).all() and np.array_equal(part[-top:, : 80 - left], photo[: 50 + top, left:])
    with pytest.raises(InputError, match="nowhere"):
        square_around(mask & ~mask)
    assert caption_of(0.1234, 190, "CPU") == "Chamfer 0.12 % · 3 min 10 s · CPU"
    assert caption_of(None, 42.4, "H200") == "42 s · H200"
    assert caption_of(1.0, 3 * 3600 + 125, "CPU") == "Chamfer 1.00 % · 3 h 02 min · CPU"
