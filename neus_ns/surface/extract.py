"""From a signed distance to triangles: sparse marching cubes at any resolution, in blocks that join without a seam."""

from dataclasses import dataclass

import numpy as np
import trimesh
from skimage.measure import marching_cubes

from neus_ns.surface.evaluate import ChunkedField
from neus_ns.surface.grid import Grid, PermittedCells, tight_grid
from neus_ns.surface.progress import ProgressFn, silent
from neus_ns.surface.search import CORNERS, Crossings, LatticeSdf, find_crossings
from neus_ns.surface.source import SurfaceSource

_BLOCK = 64
# Vertices keep this share of an edge away from its ends. A vertex on a lattice corner would belong to six edges at
# once: its triangles would have no area, and no key could tell the edges apart.
_END = 1e-3
# Beyond this many cells the distance is cut off for the choice of triangles, where only its sign and order matter.
_FAR = 64.0
_CENTRE = 3


@dataclass(frozen=True)
class Extraction:
    """A mesh in the unit frame, and what it took to find it."""

    mesh: trimesh.Trimesh
    grid: Grid
    evaluated: int
    """Points at which the signed distance was evaluated."""

    @property
    def evaluated_share(self) -> float:
        """Evaluated points per corner of the full lattice over the same box."""
        return self.evaluated / float(np.prod(self.grid.cells + 1))


def extract(source: SurfaceSource, resolution: int, progress: ProgressFn = silent) -> Extraction:
    """The zero level set where the source may hold surface, in the unit frame, with faces towards positive distance.

    `resolution` counts cells along the longest side of the box around all cells that may hold surface, so that none are
    spent on space that is known to be empty. The mesh is closed wherever the surface stays within those cells.
    """
    may_hold_surface = source.may_hold_surface.cpu().numpy()
    grid = tight_grid(may_hold_surface, resolution)
    sdf = LatticeSdf(ChunkedField(source.sdf_fn, source.may_hold_surface.device), grid)
    crossings = find_crossings(sdf, PermittedCells(may_hold_surface, grid), grid, progress)
    return Extraction(_triangulate(crossings, grid, progress), grid, sdf.evaluated)


def extract_mesh(source: SurfaceSource, resolution: int, progress: ProgressFn = silent) -> trimesh.Trimesh:
    """The mesh of `extract`, for callers who do not ask what it took."""
    return extract(source, resolution, progress).mesh


def _triangulate(crossings: Crossings, grid: Grid, progress: ProgressFn) -> trimesh.Trimesh:
    """March block by block, then join the vertices that lie on the same lattice edge."""
    block = tuple((crossings.cells // _BLOCK).T)
    blocks = np.asarray(np.ravel_multi_index(block, tuple(grid.cells // _BLOCK + 1)))
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    members = np.split(order, starts[1:])
    keys, positions, faces, vertices_before = [], [], [], 0
    for done, member in enumerate(members):
        corner = crossings.cells[member].min(axis=0) // _BLOCK * _BLOCK
        key, position, face = _march_block(crossings.cells[member] - corner, crossings.sdf[member], grid.cell)
        keys.append(_global_keys(key, corner, grid))
        positions.append(position + corner)
        faces.append(face + vertices_before)
        vertices_before += len(position)
        progress("Marching", (done + 1) / len(members))
    _, first, joined = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    vertices = grid.points(np.concatenate(positions)[first])
    return trimesh.Trimesh(vertices, joined[np.concatenate(faces)], process=False)


def _march_block(cells: np.ndarray, sdf: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges [n, 4] (lower corner and axis), positions [n, 3] in lattice steps and faces [m, 3] of a block's cells."""
    size = _BLOCK + 1
    values = np.ones((size, size, size), np.float32)
    corners = (cells[:, None] + CORNERS).reshape(-1, 3)
    values[tuple(corners.T)] = sdf.reshape(-1) / cell
    signs = np.where(values < 0, np.float32(-1), np.float32(1))
    # The marcher masks a cell by its upper corner.
    mask = np.zeros(values.shape, bool)
    mask[tuple((cells + 1).T)] = True
    bounded = signs * np.clip(np.abs(values), _END, _FAR)
    points, faces, _, _ = marching_cubes(
        bounded, 0.0, mask=mask, gradient_direction="descent", allow_degenerate=True, method="lewiner"
    )
    lower = np.floor(points).astype(np.int64)
    fractional = points != lower
    on_edge = fractional.sum(axis=1) == 1
    axis = np.where(on_edge, fractional.argmax(axis=1), _CENTRE)
    positions = points.astype(np.float64)
    positions[on_edge] = _on_edges(values, lower[on_edge], axis[on_edge])
    return np.concatenate([lower, axis[:, None]], axis=1), positions, faces.astype(np.int64)


def _on_edges(values: np.ndarray, lower: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Where the distance is zero along lattice edges; in float64 from stored values, hence the same in every block."""
    upper = lower.copy()
    upper[np.arange(len(axis)), axis] += 1
    at_lower, at_upper = values[tuple(lower.T)].astype(np.float64), values[tuple(upper.T)].astype(np.float64)
    positions = lower.astype(np.float64)
    positions[np.arange(len(axis)), axis] += np.clip(at_lower / (at_lower - at_upper), _END, 1 - _END)
    return positions


def _global_keys(edges: np.ndarray, corner: np.ndarray, grid: Grid) -> np.ndarray:
    """One whole number for each lattice edge, and for each cell that has a vertex amid it."""
    lower = np.ravel_multi_index(tuple((edges[:, :3] + corner).T), tuple(grid.cells + 1))
    return lower * 4 + edges[:, 3]
