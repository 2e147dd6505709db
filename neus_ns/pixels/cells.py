"""Photographs cut into halves, quarters and so on: the cells of every level, and the pixels in each.

Pixels are sorted along a Z-curve. On it every cell of a quadtree, of whatever level, is one run, so pixels of a cell
are drawn without a list for each, and splitting a cell moves no pixel.
"""

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from neus_ns.pixels.pool import Pool


def interleaved(row: Int64[Tensor, " n"], col: Int64[Tensor, " n"], depth: int) -> Int64[Tensor, " n"]:
    """Where on a Z-curve through 2^depth rows and columns these lie."""
    place = torch.zeros_like(row)
    for bit in range(depth):
        place |= (((row >> bit) & 1) << (2 * bit + 1)) | (((col >> bit) & 1) << (2 * bit))
    return place


class Cells:
    """The pool's pixels along the Z-curves of their photographs, 2^depth cells to a side."""

    def __init__(self, pool: Pool, depth: int) -> None:
        self.pool, self.depth = pool, depth
        flat = pool.flat(torch.arange(pool.size, device=pool.store.device))
        key, order = torch.sort(self.key(flat), stable=True)
        # Half the memory wherever the numbers fit.
        small = pool.store.num_pixels < 2**31 and pool.num_views << (2 * depth) < 2**31
        kind = torch.int32 if small else torch.int64
        self.sorted_key, self.number = key.to(kind), order.to(kind)

    @property
    def num_keys(self) -> int:
        """The number of cells of the finest level, in all photographs."""
        return self.pool.num_views << (2 * self.depth)

    def key(self, flat: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """The finest cell in which pixels are: that of their photograph's Z-curve, photographs one after another."""
        return self.key_at(self.pool.store.locate(flat))

    def key_at(self, indices: Int64[Tensor, "n 3"]) -> Int64[Tensor, " n"]:
        """As `key`, for pixels given by view, row and column."""
        store = self.pool.store
        view, row, col = indices.unbind(-1)
        row = torch.div(row << self.depth, store.height.index_select(0, view), rounding_mode="floor")
        col = torch.div(col << self.depth, store.width.index_select(0, view), rounding_mode="floor")
        return (view << (2 * self.depth)) | interleaved(row, col, self.depth)

    def level(self, depth: int) -> Int64[Tensor, " cells"]:
        """The first keys of all cells of one level."""
        return torch.arange(0, self.num_keys, 1 << (2 * (self.depth - depth)), device=self.number.device)

    def runs(self, first_key: Int64[Tensor, " cells"]) -> Int64[Tensor, " cells_and_end"]:
        """Where each cell's pixels begin in the order; cells are given by their first keys, and cover everything."""
        begin = torch.searchsorted(self.sorted_key, first_key.to(self.sorted_key.dtype))
        return torch.cat((begin, begin.new_tensor([self.pool.size])))

    def draw(self, run: Int64[Tensor, " cells_and_end"], cell: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """One pixel of each of these cells, evenly; as a number of the pool."""
        begin, count = run.index_select(0, cell), run.diff().index_select(0, cell)
        jitter = torch.rand(cell.shape[0], dtype=torch.float64, device=cell.device)
        return self.number.index_select(0, begin + (jitter * count).long().minimum(count - 1)).long()


def cell_of(key: Integer[Tensor, " n"], first_key: Int64[Tensor, " cells"]) -> Int64[Tensor, " n"]:
    """In which of cells that cover everything, given by their first keys in ascending order, these keys are."""
    return torch.searchsorted(first_key, key, right=True) - 1


def add_errors(
    total: Float[Tensor, " cells"],
    count: Float[Tensor, " cells"],
    cell: Int64[Tensor, " n"],
    error: Float[Tensor, " n"],
) -> None:
    """Add each error to its cell, and one to the cell's count; errors that are not finite tell nothing."""
    known = torch.isfinite(error)
    total.index_add_(0, cell, torch.where(known, error, 0.0).to(total.dtype))
    count.index_add_(0, cell, known.to(count.dtype))
