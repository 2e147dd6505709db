"""The region of interest as a user gives it: in world units, through nerfstudio's frame, refused when it is wrong."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from neus_ns.data.frame import SceneFrame, similarity, transform_points
from neus_ns.data.region import Region
from neus_ns.data.region_choice import chosen_region, require_in_sight
from neus_ns.data.region_options import RegionOptions
from neus_ns.data.report.facts import frame_facts
from neus_ns.errors import InputError
from tests.test_hull import ring_views, sphere_hits, sphere_points, with_masks

CENTRE, RADIUS = (3.0, -2.0, 1.0), 0.5
TURN = torch.tensor([[0.0, -1.0, 0.0], [0.6, 0.0, -0.8], [0.8, 0.0, 0.6]], dtype=torch.float64)
WORLD_FROM_PARSER = torch.eye(4, dtype=torch.float64)
WORLD_FROM_PARSER[:3, :3] = 2.5 * TURN
WORLD_FROM_PARSER[:3, 3] = torch.tensor([10.0, 20.0, 30.0])
FOUND = Region(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), 0.7, "found by a rule")


def chosen(options: RegionOptions) -> tuple[np.ndarray, float, Region]:
    """Centre and radius in the world."""
    region = chosen_region(options, lambda: FOUND, WORLD_FROM_PARSER)
    return transform_points(WORLD_FROM_PARSER, region.centre).numpy(), 2.5 * region.radius, region


def test_nothing_given_is_the_rule() -> None:
    assert chosen_region(RegionOptions(), lambda: FOUND, WORLD_FROM_PARSER) is FOUND


def test_centre_and_radius_are_in_world_units_and_ask_no_rule() -> None:
    def forbidden() -> Region:
        raise AssertionError("The rule was asked though nothing is open.")

    region = chosen_region(RegionOptions(centre=CENTRE, radius=RADIUS), forbidden, WORLD_FROM_PARSER)
    np.testing.assert_allclose(transform_points(WORLD_FROM_PARSER, region.centre).numpy(), CENTRE, atol=1e-12)
    assert abs(2.5 * region.radius - RADIUS) < 1e-12


def test_what_is_left_open_is_found() -> None:
    centre, radius, region = chosen(RegionOptions(centre=CENTRE))
    np.testing.assert_allclose(centre, CENTRE, atol=1e-12)
    assert region.radius == 0.7 and "found by a rule" in region.how
    _, radius, region = chosen(RegionOptions(radius=RADIUS))
    assert abs(radius - RADIUS) < 1e-12 and torch.equal(region.centre, FOUND.centre)


def test_a_box_is_within_its_ball() -> None:
    centre, radius, region = chosen(RegionOptions(box=(0.0, 0.0, 0.0, 2.0, 4.0, 6.0)))
    np.testing.assert_allclose(centre, (1, 2, 3), atol=1e-12)
    assert abs(radius - math.sqrt(14)) < 1e-12
    assert region.corners is not None
    corners = transform_points(WORLD_FROM_PARSER, region.corners).numpy()
    assert {tuple(corner) for corner in corners.round(9)} == {(x, y, z) for x in (0, 2) for y in (0, 4) for z in (0, 6)}


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_a_mesh_is_within_its_ball(tmp_path: Path, suffix: str) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS)
    ball.apply_translation(CENTRE)
    ball.export(tmp_path / f"mesh.{suffix}")
    centre, radius, _ = chosen(RegionOptions(file=tmp_path / f"mesh.{suffix}"))
    np.testing.assert_allclose(centre, CENTRE, atol=1e-6)
    assert RADIUS < radius < 1.1 * RADIUS


def test_a_cloud_of_points_is_as_good_as_a_mesh(tmp_path: Path) -> None:
    points = np.array(CENTRE) + RADIUS * sphere_points(500).numpy()
    trimesh.PointCloud(points).export(tmp_path / "points.ply")
    centre, radius, _ = chosen(RegionOptions(file=tmp_path / "points.ply"))
    assert np.linalg.norm(centre - CENTRE) < 0.1 * RADIUS and RADIUS < radius < 1.2 * RADIUS


def test_json_gives_a_box_a_ball_or_the_frame_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "region.json"
    path.write_text(json.dumps({"low": [0, 0, 0], "high": [2, 4, 6]}))
    box = chosen(RegionOptions(box=(0.0, 0.0, 0.0, 2.0, 4.0, 6.0)))
    np.testing.assert_allclose(chosen(RegionOptions(file=path))[0], box[0])
    path.write_text(json.dumps({"centre": CENTRE, "radius": RADIUS}))
    centre, radius, region = chosen(RegionOptions(file=path))
    np.testing.assert_allclose(centre, CENTRE, atol=1e-12)
    assert abs(radius - RADIUS) < 1e-12
    frame = SceneFrame(similarity(region.radius, region.centre), WORLD_FROM_PARSER)
    path.write_text(json.dumps(frame_facts(frame, region.how)))
    centre, radius, _ = chosen(RegionOptions(file=path))
    np.testing.assert_allclose(centre, CENTRE, atol=1e-12)
    assert abs(radius - RADIUS) < 1e-12


NAN = float("nan")
BAD: list[tuple[dict, str]] = [
    ({"radius": 0.0}, "`region.radius` gives the radius 0"),
    ({"radius": -1.0}, "`region.radius` gives the radius -1"),
    ({"radius": NAN}, "radius nan"),
    ({"centre": CENTRE, "radius": math.inf}, "radius inf"),
    ({"centre": (0.0, NAN, 0.0)}, "`region.centre` holds NaN"),
    ({"box": (0.0, 0.0, 0.0, 1.0, -1.0, 1.0)}, "from 0 to -1 along y"),
    ({"box": (0.0, 0.0, 0.0, 1.0, 1.0, 0.0)}, "from 0 to 0 along z"),
    ({"box": (0.0, 0.0, 0.0, 1.0, NAN, 1.0)}, "along y"),
    ({"radius": 1.0, "box": (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)}, "in more than one way"),
    ({"box": (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), "file": Path("x.json")}, "in more than one way"),
    ({"file": Path("nowhere.ply")}, "nowhere.ply, which `region.file` names, is no file"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_bad_option_gets_one_sentence(given: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen(RegionOptions(**given))
    message = str(caught.value)
    assert sentence in message and message.endswith(".") and "\n" not in message and ". " not in message


BAD_FILES: list[tuple[str, bytes, str]] = [
    ("region.txt", b"", "no mesh"),
    ("empty.ply", b"", "empty.ply"),
    ("cut.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\n", "cut.ply"),
    ("words.glb", b"not a mesh", "cannot be read as a mesh"),
    ("none.obj", b"# nothing\n", "none.obj"),
    ("cut.json", b'{"low": [0, 0', "cannot be read as JSON"),
    ("bytes.json", b"\xff\xfe\x00", "cannot be read as JSON"),
    ("list.json", b"[1, 2, 3]", "describes no region"),
    ("other.json", b'{"frames": []}', "describes no region"),
    ("short.json", b'{"low": [0, 0], "high": [1, 1, 1]}', "`low` is not 3 finite numbers"),
    ("words.json", b'{"centre": [0, 0, 0], "radius": "wide"}', "`radius` is not a finite number"),
    ("inverted.json", b'{"low": [0, 0, 0], "high": [1, -1, 1]}', "from 0 to -1 along y"),
    ("flat.json", b'{"centre": [0, 0, 0], "radius": 0}', "gives the radius 0"),
    ("frame.json", b'{"world_from_unit": [[1, 0], [0, 1]]}', "is not 4x4 finite numbers"),
]


@pytest.mark.parametrize(("name", "content", "sentence"), BAD_FILES, ids=[name for name, _, _ in BAD_FILES])
def test_a_bad_file_gets_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        chosen(RegionOptions(file=tmp_path / name))
    message = str(caught.value)
    assert sentence in message and name in message and message.endswith(".") and "\n" not in message


def region_at(x: float, radius: float) -> Region:
    return Region(torch.tensor([x, 0.0, 0.0], dtype=torch.float64), radius, "given")


def test_a_region_must_be_seen_and_hold_points_and_object() -> None:
    origin = torch.zeros(3, dtype=torch.float64)
    views = ring_views(12, origin, size=160, focal=170.0)
    identity = torch.eye(4, dtype=torch.float64)
    points = 0.5 * sphere_points(100)
    require_in_sight(region_at(0.0, 1.0), views, points, identity)
    require_in_sight(region_at(0.0, 1.0), views, None, identity)
    one_way = replace(views, world_from_camera=views.world_from_camera[:1].expand(12, 3, 4))
    behind = one_way.world_from_camera[0, :, 3] + 2 * one_way.world_from_camera[0, :, 2]
    with pytest.raises(InputError, match="No camera has the region"):
        require_in_sight(Region(behind, 0.1, "given"), one_way, points, identity)
    with pytest.raises(InputError, match="None of the 100 SfM points"):
        require_in_sight(region_at(0.75, 0.1), views, points, identity)
    # Too few points to say anything.
    require_in_sight(region_at(0.75, 0.1), views, points[:5], identity)
    masked = with_masks(views, sphere_hits(origin, 0.5))
    require_in_sight(region_at(0.0, 0.3), masked, None, identity)
    with pytest.raises(InputError, match="masks show no object"):
        require_in_sight(region_at(1.0, 0.1), masked, None, identity)
