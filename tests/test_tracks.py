"""Tracks land on the right views in nerfstudio's frame, whatever their source; those of other poses are noticed."""

import itertools
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from torch import Tensor

from neus_ns.data.colmap.read import read_model
from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.frame import transform_points
from neus_ns.data.pinhole_views import pinhole_views
from neus_ns.data.region import Region
from neus_ns.data.tracks.find import possible_frames, recorded_tracks
from neus_ns.data.tracks.geo_neus import read_geo_neus
from neus_ns.data.tracks.keep import agreeing, near_the_rest, on_object
from neus_ns.data.tracks.names import match_names
from neus_ns.data.tracks.placement import TracksError, aligned_cameras
from neus_ns.data.tracks.projection import photographed
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.tracks.sources import TrainingPhotos, cloud_tracks, colmap_tracks
from neus_ns.data.views import Views
from neus_ns.errors import InputError
from tests.colmap_scene import (
    CENTRE,
    LENSES,
    RADIUS,
    SIZE,
    Scene,
    ball_scene,
    image_id,
    project,
    write_binary,
    write_text,
)

LENS_KEYS = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")
# What ns-process-data does to COLMAP's axes, and a capture's own idea of scale.
APPLIED = [[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]


def write_photographs(folder: Path, scene: Scene, shrink: int = 1) -> None:
    for name in scene.names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        size = (SIZE[1] // shrink, SIZE[0] // shrink, 3)
        Image.fromarray(np.full(size, 90, np.uint8)).save(folder / "images" / name)


def write_transforms(folder: Path, scene: Scene, applied: list | None = None, scale: float = 1.0, **extra) -> Path:
    """transforms.json and photographs; the poses are moved by `applied` and `scale`, as ns-process-data would."""
    write_photographs(folder, scene)
    frames = []
    for view, pose in enumerate(scene.world_from_camera):
        if applied is not None:
            pose = np.vstack([applied, [0, 0, 0, 1]]) @ pose
        pose = pose.copy()
        pose[:3, 3] *= scale
        lens = dict(zip(LENS_KEYS, LENSES[scene.camera_of[view]][3], strict=True))
        size = {"w": SIZE[0], "h": SIZE[1]}
        frames.append({"file_path": f"images/{scene.names[view]}", "transform_matrix": pose.tolist()} | lens | size)
    (folder / "transforms.json").write_text(json.dumps({**extra, "frames": frames}))
    return folder


def photos_of(outputs: DataparserOutputs, capture: Path | None) -> TrainingPhotos:
    frames = possible_frames(outputs.dataparser_transform, outputs.dataparser_scale, capture)
    return TrainingPhotos(outputs.image_filenames, outputs.cameras, frames)


def parsed(folder: Path, **options) -> TrainingPhotos:
    config = NerfstudioDataParserConfig(data=folder, train_split_fraction=0.8, **options)
    return photos_of(config.setup().get_dataparser_outputs("train"), folder)


def tracks_at(folder: Path, photos: TrainingPhotos, ball: Region | None = None) -> SfmTracks:
    tracks = recorded_tracks(folder, None, photos, ball)
    assert tracks is not None
    return tracks


def assert_right(tracks: SfmTracks, photos: TrainingPhotos, scene: Scene, has_errors: bool = True) -> None:
    """Every pair is one that the scene has, all of them are there, and points project to their keypoints."""
    image_of_view = [scene.names.index(path.as_posix().split("images/")[1]) for path in photos.paths]
    xy, depth = photographed(photos.cameras, tracks.view, tracks.points[tracks.point])
    found = []
    for view, at in zip(tracks.view.tolist(), xy.tolist(), strict=True):
        image = image_of_view[view]
        own = scene.keypoint_points[image]
        distance = np.linalg.norm(scene.keypoints[image] - at, axis=1) + np.where(own < 0, 99, 0)
        assert distance.min() < 1e-3
        found.append((view, int(own[distance.argmin()])))
    assert (depth > 0).all() and tracks.view.tolist() == sorted(tracks.view.tolist())
    expected = [
        (view, int(point))
        for view, image in enumerate(image_of_view)
        for point in scene.keypoint_points[image]
        if point >= 0 and len(scene.tracks[point]) >= 2
    ]
    assert sorted(found) == sorted(expected)
    if has_errors:
        assert float(tracks.error_px.max()) < 1e-3
    order = {point: number for (_, point), number in zip(found, tracks.point.tolist(), strict=True)}
    for point, number in order.items():
        assert int(tracks.track_length[number]) == len(scene.tracks[point])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return ball_scene()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log says while tracks are looked for, unwrapped."""
    lines: list[str] = []
    monkeypatch.setattr("neus_ns.data.tracks.find._say", lambda line, style=None: lines.append(line))
    return lines


# Source (a): COLMAP models.


def parsed_upright(folder: Path, monkeypatch: pytest.MonkeyPatch, **options) -> TrainingPhotos:
    """The photographs as nerfstudio's "pca" orients them when it need not turn them over.

    To do that it mirrors two cameras, which the datamanager refuses; whether it must depends on the signs of
    eigenvectors, which each version of torch chooses differently.
    """
    eigh = torch.linalg.eigh
    for signs in itertools.product((1.0, -1.0), repeat=3):

        def signed(matrix: Tensor, signs: tuple[float, ...] = signs) -> tuple[Tensor, Tensor]:
            values, vectors = eigh(matrix)
            return values, vectors * torch.tensor(signs).to(vectors)

        with monkeypatch.context() as patch:
            patch.setattr(torch.linalg, "eigh", signed)
            photos = parsed(folder, **options)
        if (torch.linalg.det(photos.cameras.camera_to_worlds[:, :, :3]) > 0).all():
            return photos
    pytest.fail("nerfstudio mirrors cameras whatever the signs of the eigenvectors")


@pytest.mark.parametrize("method", ["up", "pca", "vertical", "none"])
def test_tracks_follow_nerfstudios_orientation_and_scale(
    tmp_path: Path, scene: Scene, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_transforms(tmp_path, scene)
    write_binary(scene, folder / "colmap/sparse/0")
    photos = parsed_upright(folder, monkeypatch, orientation_method=method, scale_factor=0.7)
    tracks = tracks_at(folder, photos)
    assert_right(tracks, photos, scene)
    assert "in the frame of the poses" in tracks.source


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_poses_that_were_turned_before_are_told_by_geometry(tmp_path: Path, scene: Scene, scale: float) -> None:
    """The model is what the poses came from; transforms.json says how they were turned."""
    folder = write_transforms(tmp_path, scene, APPLIED, scale, applied_transform=APPLIED, applied_scale=scale)
    write_text(scene, folder / "sparse/0")
    photos = parsed(folder)
    tracks = tracks_at(folder, photos)
    assert_right(tracks, photos, scene)
    assert "before applied_transform" in tracks.source


def test_a_model_turned_together_with_the_poses_is_told_as_well(tmp_path: Path, scene: Scene) -> None:
    folder = write_transforms(tmp_path, scene, applied_transform=APPLIED, applied_scale=2.0)
    write_text(scene, folder / "sparse")
    photos = parsed(folder)
    tracks = tracks_at(folder, photos)
    assert_right(tracks, photos, scene)
    assert "in the frame of the poses" in tracks.source


def test_where_nobody_says_how_poses_were_turned_the_cameras_do(tmp_path: Path, scene: Scene) -> None:
    tilt = [[0.0, -0.8, 0.6, 3.0], [1, 0, 0, 4], [0, 0.6, 0.8, 5]]
    folder = write_transforms(tmp_path, scene, tilt, 12.0)
    write_binary(scene, folder / "sparse/0")
    photos = parsed(folder)
    tracks = tracks_at(folder, photos)
    assert_right(tracks, photos, scene)
    assert "laid over the cameras" in tracks.source


def test_nerfstudios_colmap_parser_gets_them_too(tmp_path: Path, scene: Scene) -> None:
    write_photographs(tmp_path, scene)
    write_binary(scene, tmp_path / "sparse/0")
    config = ColmapDataParserConfig(data=tmp_path, colmap_path=Path("sparse/0"), eval_interval=4, downscale_factor=1)
    outputs = config.setup().get_dataparser_outputs("train")
    photos = photos_of(outputs, None)
    tracks = recorded_tracks(tmp_path, tmp_path / "sparse/0", photos, None)
    assert tracks is not None and len(photos.paths) == 6
    assert_right(tracks, photos, scene)
    # The parser's own points are the same ones.
    assert (tracks.points[:, None] - outputs.metadata["points3D_xyz"]).norm(dim=-1).min(dim=1).values.max() < 1e-5


def test_keypoints_of_larger_photographs_are_scaled_down(tmp_path: Path, scene: Scene) -> None:
    folder = write_transforms(tmp_path, scene)
    write_binary(scene, folder / "sparse/0")
    photos = parsed(folder)
    photos.cameras.rescale_output_resolution(0.5)
    tracks = tracks_at(folder, photos)
    xy, _ = photographed(photos.cameras, tracks.view, tracks.points[tracks.point])
    assert float(tracks.error_px.max()) < 1e-3 and float(xy.max()) < SIZE[0] / 2


def test_a_model_of_another_scene_is_left_out(tmp_path: Path, scene: Scene, log: list[str]) -> None:
    folder = write_transforms(tmp_path, scene)
    other = ball_scene(seed=3)
    # Other points under the same cameras: names, poses and counts all agree.
    write_binary(replace(other, keypoints=[at[::-1] for at in other.keypoints]), folder / "sparse/0")
    assert recorded_tracks(folder, None, parsed(folder), None) is None
    assert "belongs to other poses" in log[-1]


def test_cameras_that_moved_after_the_model_was_made_leave_it_out(tmp_path: Path, scene: Scene) -> None:
    folder = write_transforms(tmp_path, scene)
    rng = np.random.default_rng(2)
    moved = scene.cv_from_world.copy()
    moved[:, :, 3] += rng.normal(size=(len(moved), 3)) * 0.5
    model = read_model(write_binary(replace(scene, cv_from_world=moved), tmp_path / "away"))
    # Points and cameras of the model disagree with one another, but points still agree with the poses.
    photos = parsed(folder)
    assert_right(colmap_tracks(model, photos, {}), photos, scene)
    off = replace(scene, points=scene.points + 0.4)
    with pytest.raises(TracksError, match="belongs to other poses"):
        colmap_tracks(read_model(write_binary(off, tmp_path / "off")), photos, {})


def test_images_of_other_names_are_found_by_their_number_or_not_at_all(
    tmp_path: Path, scene: Scene, log: list[str]
) -> None:
    folder = write_transforms(tmp_path, scene)
    renamed = replace(scene, names=[f"{view:04d}.jpg" for view in range(len(scene.names))])
    write_binary(renamed, folder / "sparse/0")
    photos = parsed(folder)
    assert recorded_tracks(folder, None, photos, None) is None
    assert "no image with the name" in log[-1]
    flat = replace(scene, names=[f"v{view}.png" for view in range(len(scene.names))])
    folder = write_transforms(tmp_path / "numbered", flat)
    meta = json.loads((folder / "transforms.json").read_text())
    for view, frame in enumerate(meta["frames"]):
        frame["colmap_im_id"] = image_id(view)
    (folder / "transforms.json").write_text(json.dumps(meta))
    write_binary(renamed, folder / "sparse/0")
    photos = parsed(folder)
    assert_right(tracks_at(folder, photos), photos, flat)


def test_without_keypoints_the_order_of_depth_tells_the_frame(tmp_path: Path) -> None:
    many = ball_scene(points=1500)
    folder = write_transforms(tmp_path, many)
    write_text(many, folder / "sparse/0")
    path = folder / "sparse/0/images.txt"
    lines = path.read_text().split("\n")
    path.write_text("\n".join(line if number % 2 else "" for number, line in enumerate(lines)))
    photos = parsed(folder)
    assert_right(tracks_at(folder, photos), photos, many, has_errors=False)
    mirrored = replace(many, points=2 * CENTRE - many.points)
    write_text(mirrored, folder / "sparse/0")
    path.write_text("\n".join(line if number % 2 else "" for number, line in enumerate(lines)))
    assert recorded_tracks(folder, None, photos, None) is None


def test_single_wrong_observations_and_short_tracks_are_dropped(tmp_path: Path, scene: Scene) -> None:
    folder = write_transforms(tmp_path, scene)
    wrong = replace(scene, keypoints=[at.copy() for at in scene.keypoints])
    rng = np.random.default_rng(0)
    moved = set()
    for image, own in enumerate(scene.keypoint_points):
        for place in rng.choice(np.flatnonzero(own >= 0), 4, replace=False):
            wrong.keypoints[image][place] += 9.0
            moved.add((image, int(own[place])))
    write_binary(wrong, folder / "sparse/0")
    photos = parsed(folder)
    tracks = tracks_at(folder, photos)
    image_of_view = [scene.names.index(path.as_posix().split("images/")[1]) for path in photos.paths]
    world = (tracks.points.double() - photos.frames[0].parser_from_model[:3, 3]) @ torch.linalg.inv(
        photos.frames[0].parser_from_model[:3, :3]
    ).T
    number = torch.cdist(world, torch.from_numpy(scene.points)).argmin(dim=1)
    pairs = {(image_of_view[view], int(number[point])) for view, point in zip(tracks.view, tracks.point, strict=True)}
    assert not pairs & moved and (tracks.track_length >= 2).all() and float(tracks.error_px.max()) < 1e-3
    kept = set(number.tolist())
    assert all(len(scene.tracks[point]) - sum((view, point) in moved for view in image_of_view) >= 2 for point in kept)


def test_errors_far_above_the_usual_are_told_from_noise() -> None:
    error = torch.cat([torch.linspace(0.2, 0.8, 50), torch.tensor([5.0, torch.inf, torch.nan])])
    assert agreeing(error).tolist() == [True] * 50 + [False, False, True]
    assert agreeing(torch.tensor([torch.nan, torch.inf])).tolist() == [True, False]


# Names.


@pytest.mark.parametrize(
    ("photographs", "images", "expected"),
    [
        (["/d/images/a.png", "/d/images/b.png"], ["b.png", "a.png"], [1, 0]),
        (["/d/images_4/a.png"], ["cam/a.png"], [0]),
        (["/d/images/a.png"], ["a.JPG"], [0]),
        (["/d/images/a.png"], ["a.jpg", "a.png"], [1]),
        (["/d/images/cam0/a.png", "/d/images/cam1/a.png"], ["cam1/a.png", "cam0/a.png"], [1, 0]),
        (["/d/images/cam0/a.png", "/d/images/cam1/a.png"], ["cam1\\a.jpg", "cam0\\a.jpg"], [1, 0]),
        # Which of them is meant cannot be known.
        (["/d/images/a.png"], ["x/a.png", "y/a.png"], [-1]),
        (["/d/cam0/a.png", "/d/cam1/a.png"], ["a.png"], [-1, -1]),
        # One of them has more in common with the image.
        (["/d/cam0/a.png", "/d/cam1/a.png"], ["cam1/a.png"], [-1, 0]),
        (["/d/images/a.png"], [], [-1]),
        (["/d/images/ä é.png"], ["ä é.png"], [0]),
    ],
)
def test_photographs_are_matched_by_name(photographs: list[str], images: list[str], expected: list[int]) -> None:
    assert match_names([Path(name) for name in photographs], images).tolist() == expected


# Through the datamanager, as the pipeline asks.


def whole_ball(views: Views) -> Region:
    """A region around everything; its radius only matters for guessed sightlines."""
    return Region(views.world_from_camera[:, :, 3].double().mean(0), 0.3, "")


def write_masks(folder: Path, scene: Scene, sees: Callable[[np.ndarray], np.ndarray]) -> None:
    """Masks of the part of the ball where `sees` holds for its points: discs around them, hidden or not."""
    meta = json.loads((folder / "transforms.json").read_text())
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    for image, frame in enumerate(meta["frames"]):
        pose = scene.cv_from_world[image]
        local = scene.points[sees(scene.points)] @ pose[:, :3].T + pose[:, 3]
        at = project(LENSES[scene.camera_of[image]][3], local)
        near = ((columns[..., None] - at[:, 0]) ** 2 + (rows[..., None] - at[:, 1]) ** 2 < 4).any(axis=-1)
        frame["mask_path"] = frame["file_path"].replace("images", "masks")
        (folder / frame["mask_path"]).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(near.astype(np.uint8) * 255).save(folder / frame["mask_path"])
    (folder / "transforms.json").write_text(json.dumps(meta))


def manager(folder: Path, **options) -> SurfaceDataManager:
    data = SurfaceDataManagerConfig(data=folder, **options).setup(device="cpu", test_mode="inference")
    assert isinstance(data, SurfaceDataManager)
    return data


def test_the_datamanager_hands_out_recorded_tracks_of_the_object(tmp_path: Path, scene: Scene, log: list[str]) -> None:
    folder = write_transforms(tmp_path, scene)
    write_binary(scene, folder / "colmap/sparse/0")
    write_masks(folder, scene, lambda points: points[:, 2] > CENTRE[2] + 0.2)
    data = manager(folder)
    views = data.views_parser(masks=True)
    tracks, points = data.tracks_parser(views, whole_ball(views)), data.points_parser()
    # No point cloud is named, so the region is found from the tracks' points.
    assert tracks is not None and points is not None and len(points) > len(tracks) > 10
    to_world = torch.linalg.inv(possible_frames(*frame_of(data), folder)[0].parser_from_model)
    height = transform_points(to_world, tracks.points.double())[:, 2]
    assert float((height > CENTRE[2] + 0.1).double().mean()) > 0.95
    assert len(log) == 1 and "sightlines kept of 150 in" in log[0] and "median error 0.00 px" in log[0]


def frame_of(data: SurfaceDataManager) -> tuple[torch.Tensor, float]:
    outputs = data.train_dataparser_outputs
    return outputs.dataparser_transform, outputs.dataparser_scale


def test_a_colmap_folder_brings_its_tracks_along(tmp_path: Path, scene: Scene) -> None:
    write_photographs(tmp_path, scene)
    write_binary(scene, tmp_path / "colmap/sparse/0")
    data = manager(tmp_path, dataparser=ColmapDataParserConfig(eval_interval=4, downscale_factor=1))
    views = data.views_parser(masks=False)
    tracks = data.tracks_parser(views, whole_ball(views))
    assert tracks is not None
    photos = TrainingPhotos(data.train_dataset.image_filenames, data.train_dataset.cameras, [])
    assert_right(tracks, photos, scene)


def test_a_damaged_model_beside_the_photographs_stops_in_one_sentence(tmp_path: Path, scene: Scene) -> None:
    folder = write_transforms(tmp_path, scene)
    path = write_binary(scene, folder / "sparse/0") / "points3D.bin"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="points3D.bin ends after"):
        manager(folder).points_parser()


@pytest.mark.parametrize("content", [None, "# nobody has triangulated yet\n"])
def test_a_model_of_poses_alone_brings_no_tracks(tmp_path: Path, scene: Scene, content: str | None) -> None:
    folder = write_transforms(tmp_path, scene)
    path = write_text(scene, folder / "sparse/0") / "points3D.txt"
    path.unlink()
    if content is not None:
        path.write_text(content)
    data = manager(folder)
    views = data.views_parser(masks=False)
    assert data.points_parser() is None and data.tracks_parser(views, whole_ball(views)) is None


def test_tracks_of_other_poses_give_way_to_the_bare_cloud(tmp_path: Path, scene: Scene, log: list[str]) -> None:
    folder = write_transforms(tmp_path, scene, ply_file_path="[a] cloud.ply")
    trimesh.PointCloud(scene.points).export(folder / "[a] cloud.ply")
    write_binary(replace(scene, points=scene.points[::-1]), folder / "sparse/0")
    data = manager(folder)
    views = data.views_parser(masks=False)
    tracks = data.tracks_parser(views, whole_ball(views))
    assert tracks is not None and "without recorded tracks" in tracks.source and len(tracks) == len(scene.points)
    assert "belongs to other poses" in log[0] and "150 without recorded tracks" in log[1]


# Source (b): Geo-NeuS.


def write_geo_neus(folder: Path, scene: Scene, points: np.ndarray, table: bool = False) -> Path:
    out = folder / "sfm_pts"
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "points.npy", points.astype(np.float32))
    order = np.argsort(scene.names)
    lists = np.empty(len(order), dtype=object)
    for row, image in enumerate(order):
        lists[row] = np.array(sorted(int(point) for point in scene.keypoint_points[image] if point >= 0))
    if table:
        lists = np.stack([np.isin(np.arange(len(points)), seen) for seen in lists])
    np.save(out / "view_id.npy", lists, allow_pickle=True)
    return folder


@pytest.fixture(scope="module")
def flat_scene() -> Scene:
    """As Geo-NeuS wants it: all photographs in one folder, and points enough to hide one another."""
    scene = ball_scene(points=1500)
    return replace(scene, names=[f"{(7 * view) % 9:03d}.png" for view in range(9)])


@pytest.mark.parametrize("table", [False, True])
def test_geo_neus_files_say_the_same_in_the_world_and_in_the_unit_ball(
    tmp_path: Path, flat_scene: Scene, table: bool
) -> None:
    folder = write_transforms(tmp_path, flat_scene)
    photos = parsed(folder)
    write_geo_neus(folder, flat_scene, flat_scene.points, table)
    assert_right(tracks_at(folder, photos), photos, flat_scene, has_errors=False)
    # The capture's ball, not quite the object's, in nerfstudio's frame.
    centre, radius = CENTRE + 0.05, 1.2 * RADIUS
    write_geo_neus(folder, flat_scene, (flat_scene.points - centre) / radius, table)
    to_parser = photos.frames[0].parser_from_model
    scale = float(torch.linalg.det(to_parser[:3, :3])) ** (1 / 3)
    ball = Region(transform_points(to_parser, torch.from_numpy(centre)), scale * radius, "")
    tracks = tracks_at(folder, photos, ball)
    assert_right(tracks, photos, flat_scene, has_errors=False)
    assert "unit ball" in tracks.source and tracks.error_px.isnan().all()
    assert recorded_tracks(folder, None, photos, None) is None


def test_lists_for_another_number_of_photographs_are_left_out(
    tmp_path: Path, flat_scene: Scene, log: list[str]
) -> None:
    folder = write_transforms(tmp_path, flat_scene)
    write_geo_neus(folder, flat_scene, flat_scene.points)
    lists = np.load(folder / "sfm_pts/view_id.npy", allow_pickle=True)
    np.save(folder / "sfm_pts/view_id.npy", lists[:5], allow_pickle=True)
    assert recorded_tracks(folder, None, parsed(folder), None) is None
    assert "lists points for 5 photographs" in log[-1]


class Evil:
    """Would leave a file behind if its pickle were trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def ragged(*lists: object) -> np.ndarray:
    table = np.empty(len(lists), dtype=object)
    for index, entry in enumerate(lists):
        table[index] = entry
    return table


SOUND_POINTS = np.zeros((5, 3), dtype=np.float32)
BAD_FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("points.npy", lambda path: path.write_bytes(b""), "cannot be read as a numpy array"),
    ("points.npy", lambda path: path.write_bytes(path.read_bytes()[:-5]), "cannot be read as a numpy array"),
    ("points.npy", lambda path: path.write_bytes(b"PK" + path.read_bytes()), "cannot be read as a numpy array"),
    ("points.npy", lambda path: np.save(path, np.zeros((5, 2))), "three numbers each"),
    ("points.npy", lambda path: np.save(path, np.array([["a", "b", "c"]])), "three numbers each"),
    ("points.npy", lambda path: np.save(path, np.full((5, 3), np.nan)), "not finite"),
    ("view_id.npy", lambda path: path.unlink(), "but no view_id.npy"),
    ("view_id.npy", lambda path: np.save(path, np.array([[0, 5]])), "names point 5 where points.npy has 5"),
    ("view_id.npy", lambda path: np.save(path, np.array([[0, -1]])), "names point"),
    ("view_id.npy", lambda path: np.save(path, np.array([[0.5, 1.0]])), "list of whole numbers"),
    ("view_id.npy", lambda path: np.save(path, np.array(3)), "does not list"),
    ("view_id.npy", lambda path: np.save(path, ragged([1], "ab"), allow_pickle=True), "list of whole numbers"),
    ("view_id.npy", lambda path: np.save(path, ragged([1], [[1, 2]]), allow_pickle=True), "list of whole numbers"),
    ("view_id.npy", lambda path: path.write_bytes(path.read_bytes()[:-9]), "cannot be read"),
    (
        "view_id.npy",
        lambda path: np.save(path, ragged([1], Evil(path.with_name("evil")))),
        "which is no array of numbers",
    ),
]


@pytest.mark.parametrize(("name", "damage", "sentence"), BAD_FILES, ids=[f"{b[0]}: {b[2]}" for b in BAD_FILES])
def test_damaged_geo_neus_files_are_named_in_one_sentence(
    tmp_path: Path, name: str, damage: Callable[[Path], object], sentence: str
) -> None:
    np.save(tmp_path / "points.npy", SOUND_POINTS)
    np.save(tmp_path / "view_id.npy", ragged([0, 1], [], np.array([2, 4])), allow_pickle=True)
    sound = read_geo_neus(tmp_path)
    assert sound.rows == 3 and sound.row.tolist() == [0, 0, 2, 2] and sound.point.tolist() == [0, 1, 2, 4]
    damage(tmp_path / name)
    with pytest.raises(InputError, match=sentence) as caught:
        read_geo_neus(tmp_path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


def test_mutated_geo_neus_files_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    np.save(tmp_path / "points.npy", SOUND_POINTS)
    np.save(tmp_path / "view_id.npy", ragged([0, 1], np.array([2, 4]), np.array([3])), allow_pickle=True)
    path = tmp_path / "view_id.npy"
    content = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged if rng.random() < 0.7 else damaged[: rng.integers(len(damaged))])
        try:
            assert int(read_geo_neus(tmp_path).point.max()) < 5
        except InputError as error:
            assert str(error).endswith(".") and "\n" not in str(error)
    # What a pickle may hold is decided by a list of what is needed, so nothing else gets in.
    path.write_bytes(content[:128] + pickle.dumps(print))
    with pytest.raises(InputError, match="builtins.print|cannot be read"):
        read_geo_neus(tmp_path)


# Source (c): clouds.


def test_a_cloud_without_tracks_is_seen_from_its_own_sides(tmp_path: Path) -> None:
    dense = ball_scene(points=3000)
    photos = parsed(write_transforms(tmp_path, dense))
    to_parser = photos.frames[0].parser_from_model
    points = transform_points(to_parser, torch.from_numpy(dense.points)).float()
    scale = float(torch.linalg.det(to_parser[:3, :3])) ** (1 / 3)
    views = pinhole_views(photos.cameras, None)
    tracks = cloud_tracks(points, views, RADIUS * scale)
    assert "without recorded tracks" in tracks.summary() and len(tracks) == 3000
    normal = points - transform_points(to_parser, torch.from_numpy(CENTRE)).float()
    towards = views.world_from_camera[tracks.view, :, 3] - points[tracks.point]
    assert ((normal[tracks.point] * towards).sum(-1) > 0).float().mean() > 0.97
    assert torch.equal(tracks.weight, torch.ones(3000))
    with pytest.raises(TracksError, match="belong to other poses"):
        cloud_tracks(points + 50, views, RADIUS * scale)


# The record.


def some_tracks() -> SfmTracks:
    return SfmTracks(
        points=torch.arange(15.0).view(5, 3),
        track_length=torch.tensor([2, 3, 10, 2, 2]),
        error_px=torch.tensor([0.5, 0.5, 0.5, 5.0, torch.nan]),
        view=torch.tensor([0, 0, 2, 2, 2, 3]),
        point=torch.tensor([0, 2, 1, 2, 3, 4]),
        view_count=5,
        source="5 made up",
    )


def test_moving_tracks_moves_points_only() -> None:
    matrix = torch.tensor([[0, -2.0, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]], dtype=torch.float64)
    tracks = some_tracks()
    moved = tracks.moved(matrix)
    torch.testing.assert_close(moved.points, tracks.points @ matrix[:3, :3].float().T + torch.tensor([1.0, 2, 3]))
    torch.testing.assert_close(moved.moved(torch.linalg.inv(matrix)).points, tracks.points)
    assert moved.view is tracks.view and moved.point is tracks.point


def test_a_subset_renumbers_its_points() -> None:
    tracks = some_tracks()
    less = tracks.subset(torch.tensor([True, False, True, True, False]), torch.tensor([1, 1, 1, 0, 1, 1]).bool())
    assert torch.equal(less.points, tracks.points[[0, 2, 3]])
    assert less.view.tolist() == [0, 0, 2] and less.point.tolist() == [0, 1, 2]


def test_weights_prefer_long_tracks_and_small_errors_within_bounds() -> None:
    weight = some_tracks().weight
    assert weight[2] > weight[1] > weight[0] > weight[3]
    assert float(weight.min()) >= 0.1 and float(weight.max()) <= 1.0 and weight[4] == weight[0] * 1.25


def test_points_are_drawn_for_the_views_of_a_batch() -> None:
    torch.manual_seed(0)
    tracks = some_tracks()
    # View 1 and 4 see nothing; view 2 is there twice as often as view 0.
    view, point = tracks.draw_seen_by(torch.tensor([0, 2, 1, 2, 4]), 60_000)
    assert set(zip(view.tolist(), point.tolist(), strict=True)) == {(0, 0), (0, 2), (2, 1), (2, 2), (2, 3)}
    assert abs(float((view == 2).float().mean()) - 2 / 3) < 0.01
    expected = tracks.weight[[1, 2, 3]] / tracks.weight[[1, 2, 3]].sum()
    share = torch.bincount(point[view == 2], minlength=5)[[1, 2, 3]] / (view == 2).sum()
    torch.testing.assert_close(share, expected, atol=0.01, rtol=0)
    # Of a batch that sees nothing, any pairs.
    view, point = tracks.draw_seen_by(torch.tensor([1, 4]), 1000)
    assert set(zip(view.tolist(), point.tolist(), strict=True)) == set(
        zip(tracks.view.tolist(), tracks.point.tolist(), strict=True)
    )
    blind = tracks.subset(torch.zeros(5, dtype=torch.bool))
    for some, batch in ((tracks, torch.zeros(0, dtype=torch.long)), (blind, torch.tensor([1, 4]))):
        view, point = some.draw_seen_by(batch, 10)
        assert len(view) == len(point) == 0


def test_masks_keep_what_most_views_show_as_object() -> None:
    """Four cameras side by side look along -z at three points; masks show the left half."""
    pose = torch.eye(4)[:3].repeat(4, 1, 1)
    pose[:, 2, 3] = 2.0
    size = torch.full((4,), 20.0)
    half = torch.zeros(20, 20, dtype=torch.bool)
    half[:, :10] = True
    views = Views(pose, size, size, size / 2, size / 2, size, size, [half] * 4)
    points = torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.05, 0.0, 0.0]])
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    tracks = SfmTracks(points, torch.full((3,), 4), torch.zeros(3), pairs[:, 0], pairs[:, 1], 4, "")
    # The last point is half a pixel beyond the outline: it may be background as well.
    assert on_object(tracks, views).points.tolist() == points[:1].tolist()
    assert on_object(tracks, replace(views, masks=None)) is tracks
    # Found by the first two only, of which one is enough neither way; that it is off where it was not found counts too.
    seldom = SfmTracks(points[:1], torch.full((1,), 2), torch.zeros(1), torch.arange(2), torch.zeros(2).long(), 4, "")
    assert len(on_object(seldom, views)) == 1
    assert len(on_object(seldom, replace(views, masks=[half, half, half, ~half]))) == 0
    assert len(on_object(seldom, replace(views, masks=[half, ~half, half, half]))) == 0


def test_outlines_that_are_off_by_a_pixel_cost_no_points_where_these_were_not_found() -> None:
    pose = torch.eye(4)[:3].repeat(3, 1, 1)
    pose[:, 2, 3] = 2.0
    size = torch.full((3,), 20.0)
    whole = torch.ones(20, 20, dtype=torch.bool)
    half = whole.clone()
    half[:, 10:] = False
    views = Views(pose, size, size, size / 2, size / 2, size, size, [whole, whole, half])
    point, two = torch.tensor([[0.05, 0.0, 0.0]]), torch.arange(2)
    tracks = SfmTracks(point, torch.full((1,), 2), torch.zeros(1), two, torch.zeros(2).long(), 3, "")
    assert len(on_object(tracks, views)) == 1
    half[:, 8:] = False
    assert len(on_object(tracks, views)) == 0


def test_points_far_out_are_mistakes() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.cat([torch.randn(200, 3, generator=generator), torch.tensor([[900.0, 0, 0]])])
    tracks = SfmTracks(
        points, torch.full((201,), 2), torch.zeros(201), torch.zeros(201).long(), torch.arange(201), 1, ""
    )
    kept = near_the_rest(tracks)
    assert len(kept) == 200 and torch.equal(kept.points, points[:200]) and kept.point.tolist() == list(range(200))


def test_cameras_laid_over_one_another_give_the_similarity_between_them() -> None:
    generator = torch.Generator().manual_seed(3)
    rotations = torch.linalg.qr(torch.randn(6, 3, 3, generator=generator, dtype=torch.float64)).Q
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    theirs = torch.cat([rotations, torch.randn(6, 3, 1, generator=generator, dtype=torch.float64)], dim=2)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = 2.5 * rotations[3].T, torch.tensor([1.0, -2.0, 7.0])
    ours = torch.cat([rotations[3].T @ theirs[:, :, :3], transform_points(matrix, theirs[:, :, 3])[..., None]], dim=2)
    found = aligned_cameras(ours, theirs)
    assert found is not None
    torch.testing.assert_close(found.parser_from_model, matrix)
    same_place = theirs.clone()
    same_place[:, :, 3] = 1.0
    assert aligned_cameras(ours, same_place) is None
