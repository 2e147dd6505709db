"""Finds the lattice cells that the surface crosses, while evaluating little more than a shell around it.

Cells of eight steps are looked at first and split in halves as long as the surface may be near, judged by how fast the
distance has been seen to change. That is a guess where a learned distance is steep, so the crossing cells found are
then followed over their faces until the surface closes or leaves the cells that may hold it: only a separate part that
every coarse corner calls far can be missed.
"""

from dataclasses import dataclass

import numpy as np

from neus_ns.errors import InputError
from neus_ns.surface.bricks import BrickStore
from neus_ns.surface.evaluate import ChunkedField
from neus_ns.surface.grid import Grid, NoSurfaceError, PermittedCells
from neus_ns.surface.progress import ProgressFn

_COARSEST = 8
# Coarse cells along the longest side of the lattice up to which all of them are looked into.
_TOO_FEW = 4
# How much steeper than nearly all of the coarse lattice the distance may become between its corners.
_STEEPNESS_MARGIN = 1.5
_CELLS_AT_ONCE = 2**15

# Corner b of a cell sits at (b >> 2 & 1, b >> 1 & 1, b & 1).
CORNERS = np.array([[b >> 2 & 1, b >> 1 & 1, b & 1] for b in range(8)])
_FACES = [(axis, side) for axis in range(3) for side in (0, 1)]


@dataclass(frozen=True)
class Crossings:
    """The cells that the surface crosses, with the signed distance at their eight corners."""

    cells: np.ndarray
    """Lower corners, int64 [cells, 3]."""
    sdf: np.ndarray
    """float32 [cells, 8], in the order of CORNERS."""


class LatticeSdf:
    """The signed distance at lattice corners, refusing values that are no numbers, and remembering what it saw."""

    def __init__(self, field: ChunkedField, grid: Grid) -> None:
        self._field = field
        self._grid = grid
        self.evaluated = 0
        self.lowest, self.highest = np.inf, -np.inf

    def __call__(self, corners: np.ndarray) -> np.ndarray:
        sdf = self._field(self._grid.points(corners)).reshape(-1)
        bad = 1 - np.isfinite(sdf).mean()
        if bad > 0:
            raise InputError(
                f"The signed distance is not a number at {bad:.2%} of {len(sdf)} points, so no mesh can be trusted; "
                "the training diverged: export an earlier checkpoint or train again with a lower learning rate."
            )
        self.evaluated += len(sdf)
        self.lowest, self.highest = min(self.lowest, float(sdf.min())), max(self.highest, float(sdf.max()))
        return sdf


def find_crossings(sdf: LatticeSdf, permitted: PermittedCells, grid: Grid, progress: ProgressFn) -> Crossings:
    """All permitted cells with both signs at their corners, sorted by nothing in particular; at least one."""
    cells, slope = _coarse_pass(sdf, permitted, grid)
    store = BrickStore(grid.cells + 1, sdf)
    kept_values = []
    stride = _COARSEST
    while stride > 1:
        stride //= 2
        reach = _reach(slope, stride, grid)
        batches = _batches(cells)
        kept = []
        for done, batch in enumerate(batches):
            children = _split(batch, stride, permitted, grid)
            values = store.values(store.addresses(_corners(children, stride, grid)))
            near = _crosses(values)
            if stride == 1:
                store.set_flags(store.addresses(children))
                kept_values.append(values[near])
            else:
                near |= np.abs(values.mean(axis=1)) <= reach
            kept.append(children[near])
            progress(f"Searching in steps of {stride}", (done + 1) / len(batches))
        cells = np.concatenate(kept)
    if len(cells) == 0:
        raise NoSurfaceError(_no_surface(sdf))
    return _follow(Crossings(cells, np.concatenate(kept_values)), store, permitted, grid, progress)


def _batches(cells: np.ndarray) -> list[np.ndarray]:
    """Runs of cells, few enough that their corners fit into memory several times; at least one run."""
    return np.array_split(cells, len(cells) // _CELLS_AT_ONCE + 1)


def _no_surface(sdf: LatticeSdf) -> str:
    side = "outside" if sdf.lowest >= 0 else "inside"
    return (
        f"There is no surface in the region of interest: the signed distance runs from {sdf.lowest:.4g} to "
        f"{sdf.highest:.4g} over the {sdf.evaluated} points evaluated, so all of them are {side} the object; train "
        "longer, check that the object lies within the scene bounds, or export an earlier checkpoint."
    )


def _reach(slope: float, stride: int, grid: Grid) -> float:
    """How far from zero the distance amid a cell can be with the surface still in the cell: half its diagonal away."""
    return _STEEPNESS_MARGIN * slope * stride * grid.cell * 3**0.5 / 2


def _crosses(values: np.ndarray) -> np.ndarray:
    inside = values < 0
    return inside.any(axis=1) & ~inside.all(axis=1)


def _corners(cells: np.ndarray, stride: int, grid: Grid) -> np.ndarray:
    """Corners [n, 8, 3] of cells; those of the last, incomplete coarse cells are drawn in to the lattice's end."""
    return np.minimum(cells[:, None] + stride * CORNERS, grid.cells)


def _split(cells: np.ndarray, stride: int, permitted: PermittedCells, grid: Grid) -> np.ndarray:
    """The permitted cells of `stride` steps that make up cells of twice as many."""
    children = (cells[:, None] + stride * CORNERS).reshape(-1, 3)
    children = children[(children < grid.cells).all(axis=1)]
    return children[permitted(children, stride)]


def _coarse_pass(sdf: LatticeSdf, permitted: PermittedCells, grid: Grid) -> tuple[np.ndarray, float]:
    """Coarse cells that may hold surface, and the steepest change per unit of length among nearly all of them."""
    coarse = -(-grid.cells // _COARSEST)
    cells = _COARSEST * np.stack(np.unravel_index(np.arange(coarse.prod()), tuple(coarse)), axis=-1)
    cells = cells[permitted(cells, _COARSEST)]
    corners = (cells[:, None] // _COARSEST + CORNERS).reshape(-1, 3)
    wanted = np.zeros(tuple(coarse + 1), bool)
    wanted[tuple(corners.T)] = True
    values = np.full(wanted.shape, np.nan, np.float32)
    values[wanted] = sdf(np.minimum(_COARSEST * np.argwhere(wanted), grid.cells))
    slopes = []
    for axis in range(3):
        position = np.minimum(_COARSEST * np.arange(coarse[axis] + 1), grid.cells[axis])
        lengths = np.diff(position).reshape([-1 if other == axis else 1 for other in range(3)]) * grid.cell
        change = np.abs(np.diff(values, axis=axis)) / lengths
        slopes.append(change[np.isfinite(change)])
    # So few corners know too little of how fast the distance changes: then it is looked for everywhere.
    slope = float(np.quantile(np.concatenate(slopes), 0.99)) if coarse.max() > _TOO_FEW else np.inf
    at_corners = values[tuple(corners.T)].reshape(-1, 8)
    near = _crosses(at_corners) | (np.abs(at_corners.mean(axis=1)) <= _reach(slope, _COARSEST, grid))
    return cells[near], slope


def _follow(
    crossings: Crossings, store: BrickStore, permitted: PermittedCells, grid: Grid, progress: ProgressFn
) -> Crossings:
    """Add the cells on the other side of every crossed face, until there are no new ones."""
    found, values = [crossings.cells], [crossings.sdf]
    while len(found[-1]) > 0:
        beyond = []
        for cells, sdf in zip(_batches(found[-1]), _batches(values[-1]), strict=True):
            cells = _beyond_crossed_faces(cells, sdf, grid)
            cells = cells[~store.flags(store.addresses(cells))]
            beyond.append(cells[permitted(cells, 1)])
        cells = np.unique(np.concatenate(beyond), axis=0)
        store.set_flags(store.addresses(cells))
        at_corners = store.values(store.addresses(_corners(cells, 1, grid)))
        crossing = _crosses(at_corners)
        found.append(cells[crossing])
        values.append(at_corners[crossing])
        progress("Following the surface", 1 / len(found))
    progress("Following the surface", 1.0)
    return Crossings(np.concatenate(found), np.concatenate(values))


def _beyond_crossed_faces(cells: np.ndarray, values: np.ndarray, grid: Grid) -> np.ndarray:
    neighbours = []
    for axis, side in _FACES:
        on_face = np.flatnonzero(CORNERS[:, axis] == side)
        step = np.zeros(3, np.int64)
        step[axis] = 2 * side - 1
        neighbours.append(cells[_crosses(values[:, on_face])] + step)
    cells = np.concatenate(neighbours)
    return cells[((cells >= 0) & (cells < grid.cells)).all(axis=1)]
