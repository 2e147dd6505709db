"""Signed distances at lattice corners, stored sparsely so that memory grows with the surface, not with the volume."""

from collections.abc import Callable

import numpy as np

_SHIFT = 3
BRICK = 1 << _SHIFT
_CORNERS = BRICK**3


class BrickStore:
    """A value and a flag for each lattice corner, in bricks of 8x8x8 that exist only where something was asked for.

    Every corner is evaluated once and then remembered: two cells that share a corner see the same number to the last
    bit, which is what makes the mesh closed.
    """

    def __init__(self, corners_per_axis: np.ndarray, evaluate: Callable[[np.ndarray], np.ndarray]) -> None:
        self._evaluate = evaluate
        self._slots = np.full(tuple((corners_per_axis + BRICK - 1) // BRICK), -1, np.int64)
        self._bricks = np.empty((0, 3), np.int64)
        self._values = np.empty(0, np.float32)
        self._flags = np.empty(0, bool)

    def addresses(self, corners: np.ndarray) -> np.ndarray:
        """Where corners [..., 3] are stored; makes the bricks that are missing."""
        bricks, local = corners >> _SHIFT, corners & (BRICK - 1)
        x, y, z = np.moveaxis(bricks, -1, 0)
        slots = self._slots[x, y, z]
        if (slots < 0).any():
            self._allocate(bricks[slots < 0])
            slots = self._slots[x, y, z]
        lx, ly, lz = np.moveaxis(local, -1, 0)
        return (((slots << _SHIFT | lx) << _SHIFT) | ly) << _SHIFT | lz

    def values(self, addresses: np.ndarray) -> np.ndarray:
        """Values at addresses, after evaluating those that are not known yet."""
        found = self._values[addresses]
        missing = np.isnan(found)
        if missing.any():
            # A flag array instead of np.unique: most corners are asked for by eight cells, and sorting would cost more.
            pending = np.zeros(len(self._values), bool)
            pending[addresses[missing]] = True
            todo = np.flatnonzero(pending)
            self._values[todo] = self._evaluate(self._corners(todo))
            found = self._values[addresses]
        return found

    def flags(self, addresses: np.ndarray) -> np.ndarray:
        return self._flags[addresses]

    def set_flags(self, addresses: np.ndarray) -> None:
        self._flags[addresses] = True

    def _corners(self, addresses: np.ndarray) -> np.ndarray:
        bricks = self._bricks[addresses // _CORNERS]
        local = np.stack(np.unravel_index(addresses % _CORNERS, (BRICK, BRICK, BRICK)), axis=-1)
        return bricks * BRICK + local

    def _allocate(self, bricks: np.ndarray) -> None:
        flat = np.unique(np.ravel_multi_index(tuple(bricks.T), self._slots.shape))
        self._slots.reshape(-1)[flat] = len(self._bricks) + np.arange(len(flat))
        self._bricks = np.concatenate([self._bricks, np.stack(np.unravel_index(flat, self._slots.shape), axis=-1)])
        missing = len(self._bricks) * _CORNERS - len(self._values)
        if missing > 0:
            # Grow by half of what is there, so that many small additions do not copy the store each time.
            extra = max(missing, len(self._values) // 2)
            self._values = np.concatenate([self._values, np.full(extra, np.nan, np.float32)])
            self._flags = np.concatenate([self._flags, np.zeros(extra, bool)])
