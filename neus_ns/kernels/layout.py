"""The hash grid's shape: how many levels, how fine each is, and which table row a grid corner lives in.

Every backend but tiny-cuda-nn, whose table is its own, follows this one rule, so a checkpoint written by one is read by
all.

    position in [0, 1]^3, level l of resolution r_l (cells per axis, r_l + 1 corners per axis)
    cell    = clamp(floor(x * r_l), 0, r_l - 1),  fraction = x * r_l - cell
    corner  = cell + {0, 1}^3
    row     = cx + cy (r_l + 1) + cz (r_l + 1)^2             where that fits the table ("dense" level)
            = (cx * 1) xor (cy * 2654435761) xor (cz * 805459861)  mod 2^log2_rows, in 32-bit arithmetic, elsewhere
    table   [levels, 2^log2_rows, features], contiguous
"""

from dataclasses import dataclass

PRIME_Y = 2654435761
PRIME_Z = 805459861


@dataclass(frozen=True)
class GridLayout:
    """Shape of a multi-resolution hash grid; resolutions grow geometrically from coarsest to finest."""

    levels: int
    features: int
    log2_rows: int
    coarsest: int
    finest: int

    @property
    def rows(self) -> int:
        return 2**self.log2_rows

    @property
    def resolutions(self) -> tuple[int, ...]:
        if self.levels == 1:
            return (self.coarsest,)
        growth = (self.finest / self.coarsest) ** (1 / (self.levels - 1))
        # The small constant keeps the finest level from losing a cell to rounding.
        return tuple(int(self.coarsest * growth**level + 1e-6) for level in range(self.levels))

    @property
    def dense(self) -> tuple[bool, ...]:
        """Whether a level has a row of its own for every corner (no collisions)."""
        return tuple((r + 1) ** 3 <= self.rows for r in self.resolutions)

    @property
    def width(self) -> int:
        """Number of encoded columns."""
        return self.levels * self.features
