"""The region of interest against a known ball, and the way back from nerfstudio's frame to the poses as written."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from torch import Tensor

from neus_ns.data.focus import focus_of_axes
from neus_ns.data.frame import transform_points
from neus_ns.data.region import Region, find_region, make_scene_frame
from neus_ns.data.views import Views
from neus_ns.errors import InputError
from tests.test_hull import in_single_precision, look_at, ring_views, sphere_hits, sphere_points, with_masks

TARGET = torch.tensor([0.4, -0.7, 0.2], dtype=torch.float64)
RADIUS = 0.5


def masked_views(num: int = 20) -> Views:
    return in_single_precision(with_masks(ring_views(num, TARGET, size=160, focal=170.0), sphere_hits(TARGET, RADIUS)))


def background_points(count: int, distance: float) -> Float[Tensor, "points 3"]:
    return TARGET + distance * sphere_points(count, seed=1)


def assert_covers_the_ball(region: Region) -> None:
    """Centre within a tenth of the radius, and a ball that holds the object but is not much larger."""
    offset = float((region.centre - TARGET).norm())
    assert offset < 0.1 * RADIUS
    assert RADIUS + offset <= region.radius < 1.3 * RADIUS


def test_masks_bound_a_ball_closely():
    region = find_region(masked_views(), background_points(500, 1.5), "object")
    assert_covers_the_ball(region)
    assert region.radius / RADIUS < 1.2
    assert "20 masks" in region.how


def test_large_masks_bound_the_same_ball_as_small_ones():
    found = []
    for size in (160, 1001):
        views = with_masks(ring_views(12, TARGET, size=size, focal=1.06 * size), sphere_hits(TARGET, RADIUS))
        found.append(find_region(in_single_precision(views), None, "object"))
    assert float((found[0].centre - found[1].centre).norm()) < 0.02 * RADIUS
    assert abs(found[0].radius - found[1].radius) < 0.02 * RADIUS


def test_masks_find_an_object_far_off_the_cameras_focus():
    # The cameras look past the object at a distance that the first cube, up to the nearest camera, does not reach.
    views = ring_views(20, torch.zeros(3, dtype=torch.float64), distance=3.0, size=320, focal=100.0)
    close_up = torch.cat([views.world_from_camera[:1, :, :3], 0.4 * views.world_from_camera[:1, :, 3:]], dim=-1)
    views = replace(views, world_from_camera=torch.cat([close_up, views.world_from_camera[1:]]))
    centre = torch.tensor([0.0, 1.5, 0.3], dtype=torch.float64)
    region = find_region(with_masks(views, sphere_hits(centre, 0.4)), None, "object")
    assert float((region.centre - centre).norm()) < 0.08
    assert 0.4 < region.radius < 0.5


def test_masks_and_poses_at_odds_are_refused_and_the_one_culprit_named():
    views = masked_views()
    assert views.masks is not None
    names = [f"mask_{index}.png" for index in range(20)]

    shifted = torch.zeros_like(views.masks[7])
    shifted[:6, :6] = True
    masks = [shifted if index == 7 else mask for index, mask in enumerate(views.masks)]
    with pytest.raises(InputError, match="mask_7.png contradicts"):
        find_region(replace(views, masks=masks), None, "object", names)

    masks = [torch.roll(mask, (30, -30) if index % 2 else (-30, 30), (0, 1)) for index, mask in enumerate(views.masks)]
    with pytest.raises(InputError, match="disagree with the camera poses"):
        find_region(replace(views, masks=masks), None, "object", names)

    with pytest.raises(InputError, match="invert them"):
        find_region(replace(views, masks=[~mask for mask in views.masks]), None, "object", names)


def arc_views(degrees: float, num: int = 6, size: int = 80) -> Views:
    """Cameras above the target's height on an arc around it; none looks from below."""
    views = ring_views(num, TARGET, size=size, focal=1.06 * size)
    angles = torch.linspace(-degrees / 2, degrees / 2, num).double().deg2rad()
    places = torch.stack([3.0 * angles.cos(), 3.0 * angles.sin(), torch.full_like(angles, 0.9)], dim=-1)
    return replace(views, world_from_camera=torch.stack([look_at(TARGET + place, TARGET) for place in places]))


def side_by_side(columns: int = 3, rows: int = 2) -> Views:
    """Cameras in a plane above the target that all look straight down."""
    views = ring_views(columns * rows, TARGET, size=80, focal=85.0)
    down = look_at(TARGET + torch.tensor([0.0, 0.0, 2.5], dtype=torch.float64), TARGET)
    steps = torch.cartesian_prod(torch.linspace(-0.4, 0.4, columns), torch.linspace(-0.4, 0.4, rows)).double()
    poses = down.repeat(columns * rows, 1, 1)
    poses[:, :2, 3] += steps
    return replace(views, world_from_camera=poses)


def near_side(views: Views, count: int = 600) -> Float[Tensor, "points 3"]:
    """Points of the ball's surface that more than half of the cameras see, and a few mistakes along their rays."""
    points = TARGET + RADIUS * sphere_points(count)
    to_cameras = views.world_from_camera[None, :, :, 3] - points[:, None]
    facing = (to_cameras * (points - TARGET)[:, None]).sum(-1) > 0
    seen = points[facing.double().mean(1) > 0.5]
    return torch.cat([seen, TARGET + 2.5 * (TARGET - views.world_from_camera[:3, :, 3])])


def test_inverted_masks_are_refused_though_no_camera_looks_up():
    views = with_masks(arc_views(330.0, 12), sphere_hits(TARGET, RADIUS))
    assert views.masks is not None
    region = find_region(views, None, "object")
    assert_covers_the_ball(region)
    assert region.how == "visual hull of 12 masks"
    with pytest.raises(InputError, match="invert them"):
        find_region(replace(views, masks=[~mask for mask in views.masks]), None, "object")


def test_masks_white_along_their_edges_are_believed_unless_they_cut_out_one_object():
    views = arc_views(300.0)
    passers_by = []
    for index in range(6):
        mask = torch.ones((72, 80), dtype=torch.bool)
        mask[10 * index : 10 * index + 15, 70 - 10 * index : 75 - 10 * index] = False
        passers_by.append(mask)
    assert "white all along" in find_region(replace(views, masks=passers_by), None, "object").how
    # Close-ups that the ball fills but for one corner.
    close_ups = replace(views, fx=6 * views.fx, fy=6 * views.fy, cx=views.cx + 26, cy=views.cy + 26)
    filled = with_masks(close_ups, sphere_hits(TARGET, RADIUS))
    assert filled.masks is not None and not any(mask.all() for mask in filled.masks)
    region = find_region(filled, None, "object")
    assert "white all along" in region.how and float((region.centre - TARGET).norm()) < region.radius


def test_cameras_side_by_side_find_what_their_masks_show():
    views = side_by_side()
    region = find_region(with_masks(views, sphere_hits(TARGET, RADIUS)), None, "object")
    assert float((region.centre - TARGET).norm()) + RADIUS < region.radius < 3.0
    assert "open behind" in region.how
    bounded = find_region(with_masks(views, sphere_hits(TARGET, RADIUS)), near_side(views), "object")
    assert float((bounded.centre - TARGET).norm()) + RADIUS < bounded.radius < 0.6 * region.radius


def test_cameras_side_by_side_find_the_points_they_look_at():
    region = find_region(side_by_side(), TARGET + RADIUS * sphere_points(600), "object")
    assert float((region.centre - TARGET).norm()) + RADIUS < region.radius < 1.6 * RADIUS
    # From the air no camera has more than a small part of the ground in frame.
    ground = TARGET + torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)).double() * 20 - 10
    ground[:, 2] = TARGET[2]
    views = side_by_side(10, 10)
    poses = views.world_from_camera.clone()
    poses[:, :2, 3] = TARGET[:2] + 20 * (poses[:, :2, 3] - TARGET[:2])
    region = find_region(replace(views, world_from_camera=poses), ground, "object")
    assert abs(float(region.centre[2] - TARGET[2])) < 0.1


def test_points_far_from_the_focus_are_found_too():
    # All axes meet far above the target's plane, and all points are out of reach from there.
    points = TARGET + 0.2 * sphere_points(300)
    beyond = TARGET + torch.tensor([0.0, 0.0, 60.0], dtype=torch.float64)
    places = TARGET + torch.tensor([[5 * math.cos(a), 5 * math.sin(a), -1.0] for a in range(6)], dtype=torch.float64)
    views = ring_views(6, TARGET, size=800, focal=100.0)
    views = replace(views, world_from_camera=torch.stack([look_at(place, beyond) for place in places]))
    region = find_region(views, points, "object")
    assert "SfM points" in region.how and float((region.centre - TARGET).norm()) + 0.2 < region.radius


@pytest.mark.parametrize("degrees", [10.0, 30.0])
def test_points_on_the_object_bound_a_hull_that_is_open_behind(degrees: float):
    views = with_masks(arc_views(degrees), sphere_hits(TARGET, RADIUS))
    whole = find_region(views, None, "object")
    assert whole.how == "visual hull of 6 masks, open behind"
    region = find_region(views, near_side(views).float(), "object")
    assert "SfM points on the object bound it" in region.how
    assert float((region.centre - TARGET).norm()) + RADIUS <= region.radius < 0.7 * whole.radius


def test_texture_on_a_small_part_of_the_object_loses_none_of_it():
    views = with_masks(arc_views(20.0), sphere_hits(TARGET, RADIUS))
    points = near_side(views)
    patch = points[(points - points[0]).norm(dim=-1) < 0.6 * RADIUS]
    region = find_region(views, patch, "object")
    assert len(patch) >= 30 and "bound it" in region.how
    assert float((region.centre - TARGET).norm()) + RADIUS <= region.radius
    assert find_region(views, patch[:20], "object").how == "visual hull of 6 masks, open behind"


def test_points_do_not_move_a_hull_that_ends():
    views = masked_views()
    alone, beside = (find_region(views, points, "object") for points in (None, background_points(500, 0.3)))
    assert alone.radius == beside.radius and torch.equal(alone.centre, beside.centre) and alone.how == beside.how


def test_an_empty_mask_is_believed_only_where_the_object_is_out_of_frame():
    views = masked_views()
    assert views.masks is not None
    masks = [torch.zeros_like(mask) if index == 3 else mask for index, mask in enumerate(views.masks)]
    with pytest.raises(InputError, match="number 4 of the training views is empty"):
        find_region(replace(views, masks=masks), None, "object")
    poses = views.world_from_camera.clone()
    poses[3, :, 0] *= -1
    poses[3, :, 2] *= -1
    region = find_region(replace(views, masks=masks, world_from_camera=poses), None, "object")
    assert_covers_the_ball(region)


def test_points_bound_a_ball_through_strays_and_surroundings():
    points = torch.cat([TARGET + RADIUS * sphere_points(1000), background_points(300, 8.0), background_points(50, 2.6)])
    views = in_single_precision(ring_views(20, TARGET))
    region = find_region(views, points.float(), "object")
    assert_covers_the_ball(region)
    assert "SfM points" in region.how


def test_points_never_reach_out_to_the_cameras_of_an_object():
    # A close-up from just above the surface, and surroundings all over the frame.
    views = ring_views(20, TARGET)
    poses = views.world_from_camera.clone()
    poses[0, :, 3] = TARGET + 0.2 * (poses[0, :, 3] - TARGET)
    points = torch.cat([background_points(2000, 0.5 + 0.1 * k) for k in range(8)])
    region = find_region(replace(views, world_from_camera=poses), points, "object")
    nearest = float((poses[:, :, 3] - region.centre).norm(dim=-1).min())
    assert region.radius <= 0.95 * nearest + 1e-9
    assert "cut short" in region.how
    wide = find_region(replace(views, world_from_camera=poses), points, "unbounded")
    assert wide.radius > nearest


def test_cameras_alone_give_the_focus():
    views = ring_views(20, TARGET)
    for points in (None, background_points(5, 0.3)):
        region = find_region(views, points, "object")
        assert float((region.centre - TARGET).norm()) < 0.1 * RADIUS
        assert abs(region.radius - 1.5) < 0.01
    assert abs(find_region(views, None, "unbounded").radius - 3.0) < 0.01


def test_focus_survives_cameras_that_look_elsewhere():
    views = ring_views(20, TARGET)
    poses = views.world_from_camera.clone()
    for index in (2, 9, 15):
        poses[index] = look_at(poses[index, :, 3], torch.tensor([4.0, 4.0, -3.0], dtype=torch.float64))
    assert float((focus_of_axes(replace(views, world_from_camera=poses)).point - TARGET).norm()) < 0.1


@pytest.mark.parametrize("spread_degrees", [0.0, 0.1, -3.0])
def test_parallel_and_diverging_axes_give_a_region_ahead(spread_degrees: float):
    """A row of cameras that look along -z, side by side, toed in by nothing, a little, or outwards."""
    views = ring_views(5, torch.zeros(3, dtype=torch.float64))
    poses = []
    for index in range(5):
        angle = math.radians(spread_degrees) * (index - 2)
        rotation = torch.tensor(
            [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
        ).double()
        centre = torch.tensor([[0.2 * (index - 2)], [0.01 * index], [0.0]], dtype=torch.float64)
        poses.append(torch.cat([rotation, centre], dim=1))
    views = replace(views, world_from_camera=torch.stack(poses))
    region = find_region(views, None, "object")
    assert bool(torch.isfinite(region.centre).all()) and 0.01 < region.radius < 10
    assert float(region.centre[2]) < 0


def test_an_outward_ring_is_no_object_but_a_room():
    views = ring_views(20, TARGET, distance=1.0, focal=30.0)
    poses = views.world_from_camera.clone()
    poses[:, :, 0] *= -1
    poses[:, :, 2] *= -1
    views = replace(views, world_from_camera=poses)
    with pytest.raises(InputError, match="indoor"):
        find_region(views, None, "object")
    walls = TARGET + 2.5 * sphere_points(2000)
    region = find_region(views, torch.cat([walls, background_points(20, 60.0)]), "indoor")
    assert float((region.centre - TARGET).norm()) < 0.25
    assert 2.5 < region.radius < 3.2
    bare = find_region(views, None, "indoor")
    assert bare.radius > float((poses[:, :, 3] - bare.centre).norm(dim=-1).max())


def write_capture(folder: Path, extra: dict) -> Float[np.ndarray, "frames 3"]:
    """A capture of cameras with random orientations around a point far from the origin; returns their places."""
    generator = np.random.default_rng(0)
    frames = []
    for index in range(6):
        rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        pose = np.eye(4)
        pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
        pose[:3, 3] = [3.0, -2.0, 1.0] + generator.normal(size=3)
        Image.new("RGB", (16, 16)).save(folder / f"{index}.png")
        frames.append({"file_path": f"{index}.png", "transform_matrix": pose.tolist()})
    meta = {"fl_x": 20, "fl_y": 20, "cx": 8, "cy": 8, "w": 16, "h": 16, **extra, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(meta))
    return np.array([frame["transform_matrix"] for frame in frames])[:, :3, 3]


APPLIED = [[0.0, 0.6, 0.8, 1.0], [1.0, 0.0, 0.0, -2.0], [0.0, 0.8, -0.6, 0.5]]


@pytest.mark.parametrize(
    "extra", [{}, {"applied_transform": APPLIED}, {"applied_transform": APPLIED, "applied_scale": 0.3}]
)
@pytest.mark.parametrize("has_colmap", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
def test_world_is_the_frame_of_the_poses_as_written(tmp_path: Path, extra: dict, has_colmap: bool, as_json: bool):
    centres_json = write_capture(tmp_path, extra)
    if has_colmap:
        (tmp_path / "colmap/sparse/0").mkdir(parents=True)
    data = tmp_path / "transforms.json" if as_json else tmp_path
    outputs = NerfstudioDataParserConfig(data=data, eval_mode="all").setup().get_dataparser_outputs("train")
    region = Region(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), 0.25, "given")
    frame = make_scene_frame(region, outputs.dataparser_transform, outputs.dataparser_scale, data)

    centres_parser = outputs.cameras.camera_to_worlds[:, :, 3].double()
    centres_world = transform_points(frame.world_from_parser, centres_parser)
    np.testing.assert_allclose(centres_world.numpy(), centres_json, atol=1e-5)
    edge_parser = transform_points(frame.parser_from_unit, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))
    np.testing.assert_allclose(edge_parser.numpy(), [[0.1, 0.2, 0.55]], atol=1e-12)


def test_other_dataparsers_are_undone_as_reported(tmp_path: Path):
    write_capture(tmp_path, {"applied_transform": APPLIED})
    region = Region(torch.zeros(3, dtype=torch.float64), 1.0, "given")
    transform = torch.tensor(APPLIED)
    points = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    parser = 0.5 * (points @ transform[:, :3].double().T + transform[:, 3].double())
    world = transform_points(make_scene_frame(region, transform, 0.5, None).world_from_parser, parser)
    np.testing.assert_allclose(world.numpy(), points.numpy(), atol=1e-6)
