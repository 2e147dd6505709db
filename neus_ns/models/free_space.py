"""What the masks' visual hull says of empty space: points surely outside, and how far from the object at least.

The object lies inside its hull, so the distance to the hull bounds the distance to the object from below. Rendering
never samples outside the hull; without this bound the field could be negative right up to the hull and beyond.
"""

import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn


class FreeSpace(nn.Module):
    """Points outside the allowed cells of the unit box, with a lower bound of their distance to the object."""

    cells: Tensor
    bound: Tensor

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        # Derived from the occupancy grid's `allowed`, so kept out of the checkpoint.
        self.register_buffer("cells", torch.zeros(0, dtype=torch.long), persistent=False)
        self.register_buffer("bound", torch.zeros(resolution**3), persistent=False)

    def learn_hull(self, allowed: Bool[Tensor, "res res res"]) -> None:
        """Take in which cells may hold object."""
        side = 2 / self.resolution
        to_hull = distance_transform_edt(~allowed.cpu().numpy()) * side
        # From a point anywhere in its cell to the nearest point of an allowed cell: a diagonal less than between
        # centres.
        bound = torch.from_numpy(to_hull).float() - 3**0.5 * side
        self.bound.copy_(bound.reshape(-1))
        self.cells = torch.nonzero(bound.reshape(-1) > 0)[:, 0].to(self.cells.device)

    def draw(self, count: int) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"]]:
        """Random points of free space, uniform over its cells, and the bounds of their distances."""
        if len(self.cells) == 0:
            return self.bound.new_zeros(0, 3), self.bound.new_zeros(0)
        cell = self.cells[torch.randint(len(self.cells), (count,), device=self.cells.device)]
        res = self.resolution
        index = torch.stack([cell // res**2, cell // res % res, cell % res], 1)
        points = (index + torch.rand(count, 3, device=cell.device)) * (2 / res) - 1
        return points, self.bound[cell]
