"""What is kept of a mesh: loose parts of the object, and nothing that the photographs do not support."""

import numpy as np
import pytest
import torch
import trimesh

from neus_ns.data.frame import SceneFrame
from neus_ns.errors import InputError
from neus_ns.surface.clean import clean_mesh
from neus_ns.surface.components import sample_components, split_components
from neus_ns.surface.extract import extract_mesh
from neus_ns.surface.simplify import simplify_mesh
from neus_ns.surface.witnesses import Witnesses
from tests.surface_shapes import ring_of_views, source, sphere, tilted_frame, torus, union, without

BODY = without(sphere((-0.2, 0.0, 0.0), 0.4), sphere((-0.2, 0.0, 0.05), 0.15))
LOOSE = sphere((0.45, 0.1, 0.0), 0.08)
FLOATERS = union(sphere((0.0, 0.75, 0.1), 0.12), sphere((0.3, -0.6, -0.4), 0.06))


@pytest.fixture(scope="module")
def littered() -> trimesh.Trimesh:
    """Two parts of an object, two floaters, and a bubble within the larger part; in the unit frame."""
    mesh = extract_mesh(source(union(BODY, LOOSE, FLOATERS)), 90)
    assert len(split_components(mesh).areas) == 5
    return mesh


def _centres(mesh: trimesh.Trimesh) -> list[list[float]]:
    parts = split_components(mesh)
    centres = [mesh.triangles_center[parts.of_face == part].mean(axis=0) for part in range(len(parts.areas))]
    return sorted(np.round(centres, 1).tolist())


def test_masks_keep_loose_parts_and_drop_floaters_and_bubbles(littered: trimesh.Trimesh) -> None:
    frame = tilted_frame()
    views = ring_of_views(frame, union(BODY, LOOSE))
    mesh, report = clean_mesh(littered, "supported", views, frame.world_from_unit)
    assert _centres(mesh) == [[-0.2, 0.0, 0.0], [0.4, 0.1, 0.0]]
    assert (report.kept, report.dropped_outside_masks, report.dropped_out_of_sight) == (2, 2, 1)
    assert report.dropped == 3
    assert mesh.is_watertight


def test_without_masks_small_and_hidden_parts_go(littered: trimesh.Trimesh) -> None:
    """The large floater cannot be told from an object without masks; the bubble is large too, but no camera sees it."""
    frame = tilted_frame()
    mesh, report = clean_mesh(littered, "supported", ring_of_views(frame, None), frame.world_from_unit)
    assert np.allclose(_centres(mesh), [[-0.2, 0.0, 0.0], [0.0, 0.75, 0.1]], atol=0.06)
    assert (report.kept, report.dropped_small, report.dropped_out_of_sight) == (2, 2, 1)


def test_largest_and_all_do_what_they_say(littered: trimesh.Trimesh) -> None:
    world = torch.eye(4, dtype=torch.float64)
    mesh, report = clean_mesh(littered, "largest", None, world)
    assert _centres(mesh) == [[-0.2, 0.0, 0.0]]
    assert (report.kept, report.dropped_not_largest) == (1, 4)
    mesh, report = clean_mesh(littered, "all", None, world)
    assert len(mesh.faces) == len(littered.faces)
    assert (report.kept, report.dropped) == (5, 0)


def test_masks_that_support_nothing_are_a_sentence(littered: trimesh.Trimesh) -> None:
    frame = SceneFrame.identity()
    views = ring_of_views(frame, sphere((0.0, 0.0, 0.9), 0.05))
    with pytest.raises(InputError, match="None of the 5 parts"):
        clean_mesh(littered, "supported", views, frame.world_from_unit)


@pytest.mark.parametrize("mirrored", [False, True])
def test_cameras_project_as_the_masks_were_drawn(mirrored: bool) -> None:
    """Points within a small ball fall in its mask in every view, points beside it do not, in a turned frame as well."""
    frame = tilted_frame(mirrored)
    ball = sphere((0.3, -0.2, 0.4), 0.15)
    witnesses = Witnesses(ring_of_views(frame, ball), frame.world_from_unit.numpy())
    offsets = np.random.default_rng(1).standard_normal((200, 3))
    offsets /= np.linalg.norm(offsets, axis=1, keepdims=True)
    for view in range(len(witnesses)):
        pixels, in_frame = witnesses.pixels(view, np.array([0.3, -0.2, 0.4]) + 0.13 * offsets)
        assert in_frame.all()
        assert witnesses.in_mask(view, pixels).all()
        pixels, _ = witnesses.pixels(view, np.array([[0.3, -0.2, 0.8], [-0.3, 0.3, 0.0]]))
        assert not witnesses.in_mask(view, pixels).any()
        distance = np.linalg.norm(witnesses.camera_unit(view))
        assert 2.9 < distance < 3.5
        behind = 1.5 * witnesses.camera_unit(view)[None]
        assert not witnesses.pixels(view, behind)[1].any()


def test_samples_are_drawn_evenly_over_parts(littered: trimesh.Trimesh) -> None:
    parts = split_components(littered)
    among = np.array([True, False, True, True, False])
    samples = sample_components(parts, among, 100)
    assert np.bincount(samples.of_part, minlength=5).tolist() == [100, 0, 100, 100, 0]
    assert len(np.unique(samples.points, axis=0)) == 300


def test_simplification_keeps_topology_and_place() -> None:
    mesh = extract_mesh(source(torus(0.6, 0.2)), 80)
    simple = simplify_mesh(mesh, 3000)
    assert len(simple.faces) <= 3000
    assert simple.is_watertight
    assert simple.euler_number == 0
    assert simple.volume == pytest.approx(mesh.volume, rel=0.01)
    assert simplify_mesh(simple, 10_000) is simple
    with pytest.raises(InputError, match="3 faces"):
        simplify_mesh(mesh, 3)
