"""Laws of the extraction: closed, outward, in place, at any resolution, and never silent when there is no surface."""

import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes

from neus_ns.errors import InputError
from neus_ns.surface import evaluate, search
from neus_ns.surface.evaluate import ChunkedField
from neus_ns.surface.extract import extract, extract_mesh
from neus_ns.surface.grid import NoSurfaceError, PermittedCells, tight_grid
from tests.surface_shapes import everywhere, source, sphere, torus, union


@pytest.mark.parametrize("resolution", [9, 64, 100, 133])
def test_a_sphere_is_closed_outward_and_within_a_twentieth_of_a_cell(resolution: int) -> None:
    """At 100 and 133 the surface crosses the borders of 64-cell blocks, and no block is whole."""
    centre, radius = (0.05, -0.02, 0.01), 0.8
    result = extract(source(sphere(centre, radius)), resolution)
    assert result.mesh.is_watertight
    assert result.mesh.euler_number == 2
    # The edges that marching cubes splits straight bend by h^2 / (8 r) at most, a twentieth of a cell from 9 cells up.
    distance = np.linalg.norm(result.mesh.vertices - centre, axis=1) - radius
    assert np.abs(distance).max() < 0.05 * result.grid.cell
    assert result.mesh.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=3 / resolution)
    assert not np.any(result.mesh.area_faces <= 0)


def test_a_torus_has_euler_number_zero() -> None:
    mesh = extract_mesh(source(torus(0.6, 0.2)), 100)
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.6 * 0.2**2, rel=0.01)


def _noise(seed: int = 3) -> np.ndarray:
    # About one cell in size, like distances near a surface.
    volume = 2 / 33 * np.random.default_rng(seed).standard_normal((34, 34, 34)).astype(np.float32)
    for axis in range(3):
        np.moveaxis(volume, axis, 0)[[0, -1]] = 1.0
    return volume


def test_noise_is_marched_like_the_whole_lattice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ambiguous cell occurs in noise: the mesh still closes over block borders, and no cell is missed."""
    monkeypatch.setattr("neus_ns.surface.extract._BLOCK", 8)
    volume = _noise()

    def sdf(points: torch.Tensor) -> torch.Tensor:
        index = torch.round((points + 1) / 2 * 33).long()
        return torch.from_numpy(volume)[index[:, 0], index[:, 1], index[:, 2]]

    mesh = extract_mesh(source(sdf, everywhere(1)), 33)
    vertices, faces, _, _ = marching_cubes(volume, 0.0, gradient_direction="descent", allow_degenerate=True)
    assert len(mesh.faces) == len(faces)
    assert len(mesh.vertices) == len(vertices)
    edges = np.sort(mesh.edges, axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()


def test_distances_of_any_slope_and_exact_zeros_give_the_same_shape() -> None:
    """A field that is ten times too steep, or one that is zero at many corners, must not lose or tear surface."""
    ball = sphere((0.0, 0.0, 0.0), 0.5)
    for sdf in (
        lambda points: 10 * ball(points),
        lambda points: 0.01 * ball(points),
        lambda points: torch.where(points[:, :1] > 0, 5.0, 0.2).squeeze(1) * ball(points),
        lambda points: points.abs().amax(dim=-1) - 0.5,
        lambda points: torch.sign(ball(points)),
    ):
        mesh = extract_mesh(source(sdf), 64)
        assert mesh.is_watertight
        assert mesh.euler_number == 2
        assert mesh.volume > 0
        assert len(np.unique(mesh.vertices.astype(np.float32), axis=0)) == len(mesh.vertices)


def test_a_surface_that_the_coarse_search_loses_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With almost no reach the search finds some cells only; following their faces brings back the whole mesh."""
    shape = source(union(torus(0.7, 0.05), sphere((0.0, 0.0, 0.0), 0.3)))
    whole = extract_mesh(shape, 96)
    monkeypatch.setattr(search, "_STEEPNESS_MARGIN", 0.02)
    followed = extract_mesh(shape, 96)
    assert followed.is_watertight
    assert len(followed.faces) == len(whole.faces)


def test_few_points_are_evaluated() -> None:
    result = extract(source(sphere((0.0, 0.0, 0.0), 0.5)), 200)
    assert result.evaluated_share < 0.08


def test_nothing_is_made_where_no_surface_may_be_held() -> None:
    """A half-space of the scene is ruled out: no vertex lies there, beyond the one cell that a border can cut."""
    allowed = everywhere(20)
    allowed[10:] = False
    result = extract(source(sphere((0.0, 0.0, 0.0), 0.5), allowed), 70)
    assert result.mesh.vertices[:, 0].max() <= result.grid.cell
    assert result.mesh.vertices[:, 0].min() == pytest.approx(-0.5, abs=0.01)


def test_the_grid_is_tight_and_resolution_counts_its_longest_side() -> None:
    allowed = torch.zeros(10, 10, 10, dtype=torch.bool)
    allowed[1:9, 4:7, 9] = True
    grid = tight_grid(allowed.numpy(), 133)
    assert grid.cells.tolist() == [133, 50, 17]
    assert grid.cell == pytest.approx(1.6 / 133)
    low, high = grid.points(np.zeros(3)), grid.points(grid.cells)
    assert (low <= np.array([-0.8, -0.2, 0.8]) + 1e-9).all()
    assert (high >= np.array([0.8, 0.4, 1.0]) - 1e-9).all()
    assert (np.abs(np.concatenate([low, high])) <= 1 + 1e-12).all()


def test_permitted_cells_match_a_slow_overlap_test() -> None:
    generator = torch.Generator().manual_seed(0)
    allowed = (torch.rand(7, 7, 7, generator=generator) < 0.1).numpy()
    grid = tight_grid(allowed, 19)
    cells = np.stack(np.unravel_index(np.arange(grid.cells.prod()), tuple(grid.cells)), axis=-1)
    low, high = grid.points(cells), grid.points(cells + 1)
    expected = np.zeros(len(cells), bool)
    for index in np.argwhere(allowed):
        scene_low, scene_high = 2 * index / 7 - 1, 2 * (index + 1) / 7 - 1
        expected |= ((low < scene_high - 1e-6) & (high > scene_low + 1e-6)).all(axis=1)
    assert (PermittedCells(allowed, grid)(cells, 1) == expected).all()


def test_chunks_halve_when_memory_runs_out_and_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def cramped(points: torch.Tensor) -> torch.Tensor:
        sizes.append(len(points))
        if len(points) > 3000:
            raise RuntimeError("CUDA error: out of memory")
        return points[:, 0]

    field = ChunkedField(cramped, torch.device("cpu"), chunk_points=10_000)
    points = np.random.default_rng(0).random((12_000, 3))
    assert np.allclose(field(points), points[:, 0])
    assert sizes[:3] == [10_000, 5000, 2500]
    assert max(sizes[3:]) == 2500

    def broken(points: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        ChunkedField(broken, torch.device("cpu"))(points)
    monkeypatch.setattr(evaluate, "_SMALLEST_CHUNK", 4000)
    with pytest.raises(RuntimeError, match="out of memory"):
        ChunkedField(cramped, torch.device("cpu"), chunk_points=4000)(points)


def test_no_surface_is_a_sentence_with_the_range_of_distances() -> None:
    with pytest.raises(NoSurfaceError, match=r"runs from 0\.\d+ to .* outside the object"):
        extract_mesh(source(sphere((0.0, 0.0, 0.0), -0.1)), 40)
    with pytest.raises(NoSurfaceError, match="inside the object"):
        extract_mesh(source(sphere((0.0, 0.0, 0.0), 3.0)), 40)


def test_no_permitted_cell_is_a_sentence() -> None:
    with pytest.raises(NoSurfaceError, match="able to hold surface"):
        extract_mesh(source(sphere((0.0, 0.0, 0.0), 0.5), ~everywhere()), 40)


def test_values_that_are_no_numbers_are_refused_with_their_share() -> None:
    def torn(points: torch.Tensor) -> torch.Tensor:
        return torch.where(points[:, 0] > 0.5, torch.nan, points.norm(dim=-1) - 0.5)

    with pytest.raises(InputError, match=r"not a number at \d+\.\d\d% of"):
        extract_mesh(source(torn), 40)


def test_a_resolution_below_two_is_refused() -> None:
    with pytest.raises(InputError, match="resolution is 1"):
        extract_mesh(source(sphere((0.0, 0.0, 0.0), 0.5)), 1)
