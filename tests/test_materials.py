"""Laws of light on glossy captures: nothing is mirrored that is not there, and no more of it than arrives."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from neus_ns.data.synthetic.capture import CaptureOptions, write_capture
from neus_ns.data.synthetic.environment import studio
from neus_ns.data.synthetic.figurine import figurine_shape
from neus_ns.data.synthetic.materials import Reflecting, fresnel, lobe_directions, material_of, reflected
from neus_ns.data.synthetic.shapes import Shape, project_to_surface, sphere, surface_normals
from neus_ns.errors import InputError
from tests.directions import unit_vectors


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are small: on a busy machine a second thread only makes both wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seen_points(shape: Shape, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points of a surface, their normals, and viewing directions that come from in front of them."""
    points = project_to_surface(shape.sdf_local, 0.7 * shape.radius * unit_vectors(count, 1, torch.float32), steps=40)
    points = points[shape.sdf_local(points).abs() < 1e-4 * shape.radius]
    normals = surface_normals(shape.sdf_local, points)
    directions = unit_vectors(len(points), 2, torch.float32)
    facing = (directions * normals).sum(dim=1, keepdim=True)
    return points, normals, torch.where(facing < 0, directions, reflected(directions, normals))


def white(directions: Tensor) -> Tensor:
    return torch.ones_like(directions)


def test_a_reflection_keeps_length_and_angle_and_undoes_itself():
    directions, normals = unit_vectors(500, 3), unit_vectors(500, 4)
    mirrored = reflected(directions, normals)
    torch.testing.assert_close(mirrored.norm(dim=1), torch.ones(500, dtype=torch.float64))
    torch.testing.assert_close((mirrored * normals).sum(1), -(directions * normals).sum(1))
    # What lies in the plane of the surface passes unchanged.
    across = torch.linalg.cross(normals, directions)
    torch.testing.assert_close(torch.linalg.cross(normals, mirrored), across)
    torch.testing.assert_close(reflected(mirrored, normals), directions)


def test_fresnel_goes_from_its_value_head_on_to_everything_at_a_grazing_angle():
    facing = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    share = fresnel(facing, 0.05)
    assert float(share[-1]) == pytest.approx(0.05) and float(share[0]) == pytest.approx(1.0)
    assert bool((share.diff() < 0).all())
    assert bool((fresnel(facing, 1.0) == 1.0).all())


def test_a_mirror_of_a_constant_sky_is_constant_even_in_its_hollows():
    shape = figurine_shape()
    points, normals, directions = seen_points(shape, 4000)
    assert len(points) > 3000
    radiance = Reflecting(white, at_normal=1.0).radiance(shape, points, normals, directions)
    torch.testing.assert_close(radiance, torch.ones_like(radiance))


@pytest.mark.parametrize("material", [Reflecting(white, 0.9), Reflecting(white, 0.5, spread=0.3, rays=7)])
def test_no_more_light_leaves_a_surface_than_arrives(material: Reflecting):
    shape = figurine_shape()
    radiance = material.radiance(shape, *seen_points(shape, 1000))
    assert float(radiance.max()) <= 1.0 + 1e-6 and float(radiance.min()) >= material.at_normal**3 - 1e-6


def test_a_surface_mirrors_what_stands_in_its_way():
    """Two balls of a metal that keeps half: light that meets both is a quarter, light that meets one is half."""

    def sdf_local(points: Tensor) -> Tensor:
        return torch.minimum(sphere(points, (0.0, 0.0, 0.0), 1.0), sphere(points, (3.0, 0.0, 0.0), 1.0))

    shape = Shape((0.0, 0.0, 0.0), 5.0, sdf_local, torch.ones_like)
    points = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    radiance = Reflecting(white, at_normal=0.5).radiance(shape, points, points, -points)
    # Head on between the balls light bounces for as long as it is followed: here, three surfaces.
    torch.testing.assert_close(radiance, torch.tensor([[0.125] * 3, [0.5] * 3]))


def test_a_lobe_lies_evenly_about_its_middle_and_is_as_wide_as_it_says():
    middle = unit_vectors(50, 5)
    directions = torch.stack(lobe_directions(middle, 0.1, 400))
    torch.testing.assert_close(directions.norm(dim=2), torch.ones(400, 50, dtype=torch.float64))
    mean = directions.mean(dim=0)
    torch.testing.assert_close(torch.nn.functional.normalize(mean, dim=1), middle, atol=2e-3, rtol=0)
    # A two-dimensional Gaussian of width s has the mean squared radius 2 s^2.
    angle = (directions * middle).sum(dim=2).clamp(-1, 1).acos()
    assert float(angle.square().mean()) == pytest.approx(2 * 0.1**2, rel=0.02)
    assert torch.equal(lobe_directions(middle, 0.1, 1)[0], middle)


def test_the_studio_is_bounded_and_differs_from_side_to_side():
    light = studio(unit_vectors(20_000, 0, torch.float32))
    assert float(light.min()) > 0.0 and float(light.max()) <= 3.0 + 1e-6
    assert float(light.std(dim=0).min()) > 0.3
    quarter_turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    directions = unit_vectors(20_000, 0, torch.float32)
    assert float((studio(directions) - studio(directions @ quarter_turn)).abs().mean()) > 0.1


@pytest.mark.parametrize("name", ["mirror", "lacquer", "satin"])
def test_glossy_materials_change_with_the_view(name: str):
    shape = figurine_shape()
    points, normals, directions = seen_points(shape, 120)
    material = material_of(name, 0.0)  # pyright: ignore[reportArgumentType]
    one = material.radiance(shape, points, normals, directions)
    other = material.radiance(shape, points, normals, -normals)
    assert float((one - other).abs().mean()) > 0.02


def test_a_glossy_capture_has_the_figurines_exact_truth(tmp_path: Path):
    write_capture(tmp_path, CaptureOptions(views=5, test_views=1, size=24, material="mirror"))
    shape = figurine_shape()
    with np.load(tmp_path / "gt_points.npz") as truth:
        points = torch.from_numpy(truth["points"])
    assert len(points) > 10_000
    assert float(shape.sdf(points).abs().quantile(0.999)) < 1e-3
    mesh = trimesh.load(tmp_path / "gt_mesh.ply", process=False)
    # One body with one hole, that of the ring.
    assert isinstance(mesh, trimesh.Trimesh) and mesh.is_watertight and mesh.euler_number == 0
    assert float(np.linalg.norm(mesh.vertices - shape.centre, axis=1).max()) < shape.radius


def test_gloss_belongs_to_varnish():
    with pytest.raises(InputError, match="varnish"):
        CaptureOptions(material="mirror", gloss=0.5)
