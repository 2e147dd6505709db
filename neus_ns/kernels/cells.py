"""The occupied cells of the unit box, with what lets a march skip emptiness: how far each block is from any of them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from torch import Tensor

# Cells along the side of a block: four are one word. The kernels divide by it with a shift of two bits.
BLOCK = 4
# As many blocks as a march may know to be empty around it; a longer look costs more to prepare than it saves.
_FARTHEST = 8


@dataclass(frozen=True)
class OccupiedCells:
    """Cells indexed [x, y, z], and for each block of 4^3 of them how many blocks away the next occupied one is.

    A block with an occupied cell is 0 away, its 26 neighbours at most 1, and so on up to a limit. A box whose side is
    no multiple of four cells ends inside its last block.
    """

    cells: Bool[Tensor, "res res res"]
    blocks_away: UInt8[Tensor, "blocks blocks blocks"]


def occupied_cells(cells: Bool[Tensor, "res res res"]) -> OccupiedCells:
    """The cells and how far blocks are from them; to be made anew whenever a cell changes."""
    cells = cells.contiguous()
    near = any_of_four(cells)
    away = torch.zeros_like(near, dtype=torch.uint8)
    for _ in range(_FARTHEST):
        away += ~near
        near = dilated(near)
    return OccupiedCells(cells, away)


def any_of_four(cells: Bool[Tensor, "fine fine fine"]) -> Bool[Tensor, "coarse coarse coarse"]:
    """Whether anything in a cube of 4^3 is occupied."""
    short = -cells.shape[0] % BLOCK
    if short:
        cells = F.pad(cells, (0, short) * 3)
    side = cells.shape[0] // BLOCK
    # Four cells are one word, and words are put together by "or": torch's reductions cost many times more.
    words = cells.contiguous().view(torch.int32).view(side, BLOCK, side, BLOCK, side)
    slabs = words[:, 0] | words[:, 1] | words[:, 2] | words[:, 3]
    return (slabs[:, :, 0] | slabs[:, :, 1] | slabs[:, :, 2] | slabs[:, :, 3]) != 0


def dilated(cells: Bool[Tensor, "res res res"]) -> Bool[Tensor, "res res res"]:
    """Cells that are in the set or touch it by a face, an edge or a corner."""
    for axis in range(3):
        grown = cells.clone()
        length = cells.shape[axis]
        grown.narrow(axis, 1, length - 1).logical_or_(cells.narrow(axis, 0, length - 1))
        grown.narrow(axis, 0, length - 1).logical_or_(cells.narrow(axis, 1, length - 1))
        cells = grown
    return cells
