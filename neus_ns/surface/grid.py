"""The lattice of cubic cells that a mesh is extracted on, and which of its cells may hold surface."""

from dataclasses import dataclass

import numpy as np

from neus_ns.errors import InputError


class NoSurfaceError(InputError):
    """There is nothing to make a mesh of; the message says what was found instead."""


@dataclass(frozen=True)
class Grid:
    """Cubic cells over the part of the unit box that may hold surface."""

    origin: np.ndarray
    """Lower corner in unit coordinates, float64 [3]."""
    cell: float
    """Edge of a cell in unit coordinates."""
    cells: np.ndarray
    """Cells along x, y, z, int64 [3]; corners are one more."""

    def points(self, corners: np.ndarray) -> np.ndarray:
        """Unit coordinates of lattice positions [n, 3], whole or fractional."""
        return self.origin + corners * self.cell


def require_resolution(resolution: int) -> None:
    """Raise InputError unless a lattice can have so many cells along its longest side."""
    if resolution < 2:
        raise InputError(f"The mesh resolution is {resolution}, but it must be 2 or more; 512 suits most objects.")


def tight_grid(may_hold_surface: np.ndarray, resolution: int) -> Grid:
    """The lattice with `resolution` cells along the longest side of the box around all cells that may hold surface."""
    require_resolution(resolution)
    if not may_hold_surface.any():
        raise NoSurfaceError(
            "No cell of the scene is marked as able to hold surface, so there is nothing to export; the run has lost "
            "its object or was not trained: train it longer, or export an earlier checkpoint."
        )
    size = np.array(may_hold_surface.shape)
    low, high = np.empty(3), np.empty(3)
    for axis in range(3):
        held = np.flatnonzero(may_hold_surface.any(axis=tuple(other for other in range(3) if other != axis)))
        low[axis], high[axis] = held[0], held[-1] + 1
    low, high = 2 * low / size - 1, 2 * high / size - 1
    cell = float((high - low).max() / resolution)
    cells = np.maximum(np.ceil((high - low) / cell - 1e-6), 1).astype(np.int64)
    # Rounding up to whole cells may reach out of the unit box, where fields are not defined: push back inside.
    origin = np.clip((low + high - cells * cell) / 2, -1.0, 1.0 - cells * cell)
    return Grid(origin, cell, cells)


class PermittedCells:
    """Tells which lattice cells touch a scene cell that may hold surface, by counting over a summed-volume table."""

    def __init__(self, may_hold_surface: np.ndarray, grid: Grid) -> None:
        self._grid = grid
        self._size = np.array(may_hold_surface.shape)
        table = np.pad(may_hold_surface.astype(np.int32), ((1, 0), (1, 0), (1, 0)))
        self._table = table.cumsum(0).cumsum(1).cumsum(2)

    def __call__(self, cells: np.ndarray, stride: int) -> np.ndarray:
        """Bool [n] for cells of `stride` lattice steps, given by their lower corner [n, 3]."""
        low = self._scene_coordinates(cells)
        high = self._scene_coordinates(np.minimum(cells + stride, self._grid.cells))
        # Cells that only share a face with a scene cell do not touch it, whatever the rounding says.
        low = np.clip(np.floor(low + 1e-6).astype(np.int64), 0, self._size)
        high = np.clip(np.ceil(high - 1e-6).astype(np.int64), 0, self._size)
        (x0, y0, z0), (x1, y1, z1), table = low.T, high.T, self._table
        far = table[x1, y1, z1] - table[x1, y1, z0] - table[x1, y0, z1] + table[x1, y0, z0]
        near = table[x0, y1, z1] - table[x0, y1, z0] - table[x0, y0, z1] + table[x0, y0, z0]
        return far - near > 0

    def _scene_coordinates(self, corners: np.ndarray) -> np.ndarray:
        return (self._grid.points(corners) + 1) * (self._size / 2)
