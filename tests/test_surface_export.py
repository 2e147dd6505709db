"""From a source to a file: world units, colours, outward faces, and files that are whole or absent."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from trimesh.visual import ColorVisuals

from neus_ns.data.frame import SceneFrame, similarity, transform_points
from neus_ns.errors import InputError
from neus_ns.surface.colour import vertex_colours, vertex_normals
from neus_ns.surface.export import MeshOptions, export_surface
from neus_ns.surface.extract import extract_mesh
from neus_ns.surface.write import to_world, write_mesh
from tests.surface_shapes import position_colour, ring_of_views, source, sphere, tilted_frame, torus

CENTRE, RADIUS = (0.1, -0.2, 0.15), 0.6


def _reload(path: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(path, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def _colours(path: Path) -> np.ndarray:
    """RGB of sRGB in [0, 1] per vertex."""
    if path.suffix == ".glb":
        linear = _glb(path)[1]["COLOR_0"][:, :3] / 65535
        return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    visual = _reload(path).visual
    assert isinstance(visual, ColorVisuals)
    return np.asarray(visual.vertex_colors, np.float64)[:, :3] / 255


def _glb(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The json of a .glb and the arrays of its only primitive, read by the words of the standard."""
    data = path.read_bytes()
    magic, version, length, json_length, json_kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, length, json_kind) == (b"glTF", 2, len(data), b"JSON") and json_length % 4 == 0
    content, rest = json.loads(data[20 : 20 + json_length]), data[20 + json_length :]
    binary_length, binary_kind = struct.unpack("<I4s", rest[:8])
    assert binary_kind == b"BIN\0" and binary_length == len(rest) - 8 and binary_length % 4 == 0
    primitive = content["meshes"][0]["primitives"][0]
    arrays = {}
    for name, index in {**primitive["attributes"], "indices": primitive["indices"]}.items():
        accessor = content["accessors"][index]
        view = content["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        assert view["byteOffset"] % 4 == 0 and view["byteLength"] == accessor["count"] * width * np.dtype(kind).itemsize
        begin = 8 + view["byteOffset"]
        arrays[name] = np.frombuffer(rest[begin : begin + view["byteLength"]], kind).reshape(-1, width)
    return content, arrays


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_a_sphere_comes_back_in_world_units(tmp_path: Path, suffix: str, mirrored: bool) -> None:
    frame = tilted_frame(mirrored)
    path = tmp_path / "deep" / f"mesh{suffix}"
    shape = source(sphere(CENTRE, RADIUS), frame=frame, views=ring_of_views(frame, sphere(CENTRE, RADIUS)))
    report = export_surface(shape, MeshOptions(resolution=50), path)
    mesh = _reload(path)
    assert len(mesh.vertices) == report.vertices
    assert len(mesh.faces) == report.faces
    units = 0.3 * 40
    centre = transform_points(frame.world_from_unit, torch.tensor([CENTRE], dtype=torch.float64)).numpy()
    distance = np.linalg.norm(mesh.vertices - centre, axis=1) - RADIUS * units
    assert report.cell_world == pytest.approx(2 / 50 * units)
    assert np.abs(distance).max() < 0.5 * report.cell_world
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (RADIUS * units) ** 3, rel=0.02)
    unit = transform_points(torch.linalg.inv(frame.world_from_unit), torch.from_numpy(np.array(mesh.vertices)))
    colours = _colours(path)
    assert np.abs(colours[:, :2] - (unit[:, :2].numpy() / 2 + 0.5)).max() < 0.01
    normal_z = (unit[:, 2].numpy() - CENTRE[2]) / RADIUS
    assert np.abs(colours[:, 2] - (normal_z / 2 + 0.5)).max() < 0.03
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, "mesh.frame.json"}


def test_a_glb_shows_its_colours_as_its_standard_means_them(tmp_path: Path) -> None:
    """In linear light, on a material that is no metal, and with normals that are unit vectors and point outwards."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=RADIUS)
    colours = np.random.default_rng(0).integers(0, 256, (len(ball.vertices), 4), dtype=np.uint8)
    path = tmp_path / "mesh.glb"
    frame = tilted_frame()
    mesh = write_mesh(ball, colours, frame, path, {})
    content, arrays = _glb(path)
    assert content["materials"][0]["pbrMetallicRoughness"] == {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    np.testing.assert_allclose(_colours(path), colours[:, :3] / 255, atol=1e-3)
    np.testing.assert_allclose(arrays["COLOR_0"][:, 3] / 65535, colours[:, 3] / 255)
    np.testing.assert_allclose(arrays["POSITION"], mesh.vertices, rtol=1e-6)
    accessor = content["accessors"][0]
    np.testing.assert_array_equal(
        [accessor["min"], accessor["max"]], [arrays["POSITION"].min(0), arrays["POSITION"].max(0)]
    )
    outwards = mesh.vertices - frame.world_from_unit[:3, 3].numpy()
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert (arrays["NORMAL"] * outwards).sum(1).min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(arrays["NORMAL"], axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(arrays["indices"].reshape(-1, 3), mesh.faces)
    again = _reload(path)
    assert len(again.faces) == len(mesh.faces) and again.volume == pytest.approx(mesh.volume, rel=1e-4)
    write_mesh(ball, None, frame, path, {})
    assert "COLOR_0" not in _glb(path)[1]


@pytest.mark.parametrize("units", [1e-6, 1.0, 1e6])
def test_normals_of_a_glb_and_digits_of_an_obj_do_not_depend_on_units(tmp_path: Path, units: float) -> None:
    """On an extracted surface, whose slivers would turn means by angle about."""
    ball = extract_mesh(source(sphere((0.03, 0.01, -0.02), 0.61)), 200)
    frame = SceneFrame(similarity(units, torch.zeros(3)), torch.eye(4, dtype=torch.float64))
    write_mesh(ball, None, frame, tmp_path / "mesh.glb", {})
    outwards = np.asarray(ball.vertices) - (0.03, 0.01, -0.02)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert (_glb(tmp_path / "mesh.glb")[1]["NORMAL"] * outwards).sum(1).min() > np.cos(np.radians(2))
    write_mesh(ball, None, frame, tmp_path / "mesh.obj", {})
    edge = np.median(ball.edges_unique_length)
    np.testing.assert_allclose(_reload(tmp_path / "mesh.obj").vertices / units, ball.vertices, atol=1e-3 * edge)


@pytest.mark.parametrize("resolution", [2, 5, 8, 13])
def test_a_coarse_mesh_is_no_missing_one(tmp_path: Path, resolution: int) -> None:
    shape = source(sphere((0.0, 0.0, 0.0), 0.5))
    assert export_surface(shape, MeshOptions(resolution=resolution), tmp_path / "mesh.ply").faces > 0


def test_the_frame_file_tells_how_to_come_back(tmp_path: Path) -> None:
    frame = tilted_frame()
    export_surface(source(sphere(CENTRE, RADIUS), frame=frame), MeshOptions(resolution=30), tmp_path / "mesh.ply")
    facts = json.loads((tmp_path / "mesh.frame.json").read_text())
    assert np.allclose(facts["world_from_unit"], frame.world_from_unit.numpy())
    assert facts["world_units_per_unit"] == pytest.approx(12)
    assert facts["resolution"] == 30
    assert facts["components"]["kept"] == 1
    assert facts["components"]["dropped"] == 0


def test_a_simplified_mesh_is_coloured_anew(tmp_path: Path) -> None:
    options = MeshOptions(resolution=60, target_faces=1000)
    report = export_surface(source(torus(0.6, 0.2)), options, tmp_path / "mesh.ply")
    mesh = _reload(tmp_path / "mesh.ply")
    assert report.faces == len(mesh.faces) <= 1000
    expected = position_colour(torch.from_numpy(np.array(mesh.vertices)), torch.from_numpy(vertex_normals(mesh)))
    colours = _colours(tmp_path / "mesh.ply")
    assert np.abs(colours - expected.numpy()).max() < 0.01


def test_without_colour_none_is_asked_for(tmp_path: Path) -> None:
    shape = source(sphere(CENTRE, RADIUS))
    object.__setattr__(shape, "colour_fn", None)
    export_surface(shape, MeshOptions(resolution=30, colour=False), tmp_path / "mesh.ply")
    visual = _reload(tmp_path / "mesh.ply").visual
    assert visual is not None and visual.kind is None


def test_normals_point_away_from_a_sphere() -> None:
    mesh = extract_mesh(source(sphere(CENTRE, RADIUS)), 60)
    outward = (mesh.vertices - np.array(CENTRE)) / RADIUS
    assert (vertex_normals(mesh) * outward).sum(axis=1).min() > 0.99


def test_colours_that_are_no_numbers_are_refused() -> None:
    mesh = extract_mesh(source(sphere(CENTRE, RADIUS)), 20)
    with pytest.raises(InputError, match="colour is not a number"):
        vertex_colours(mesh, lambda points, normals: points * torch.nan, torch.device("cpu"))


def test_a_mirrored_frame_keeps_faces_outward() -> None:
    mesh = extract_mesh(source(sphere(CENTRE, RADIUS)), 20)
    assert to_world(mesh, tilted_frame(mirrored=True)).volume > 0


def test_an_unknown_suffix_is_refused_before_any_work(tmp_path: Path) -> None:
    def never(points: torch.Tensor) -> torch.Tensor:
        raise AssertionError("evaluated")

    with pytest.raises(InputError, match=r"\.ply, \.obj, \.glb"):
        export_surface(source(never), MeshOptions(), tmp_path / "mesh.stl")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mesh.ply"
    path.write_text("old")
    mesh = extract_mesh(source(sphere(CENTRE, RADIUS)), 20)

    def full_disk(source: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_mesh(mesh, None, SceneFrame.identity(), path, {})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["mesh.ply"]


def test_far_from_the_origin_the_rounding_is_told(tmp_path: Path) -> None:
    mesh = extract_mesh(source(sphere(CENTRE, RADIUS)), 20)
    far = SceneFrame(torch.eye(4, dtype=torch.float64), similarity(1.0, torch.tensor([5e6, 4e5, 100.0])))
    with pytest.warns(UserWarning, match="rounds vertices"):
        write_mesh(mesh, None, far, tmp_path / "mesh.ply", {})
