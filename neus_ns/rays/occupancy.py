"""Which cells of the unit box can hold the surface, so that marching skips the rest.

A cell is skipped only when the surface cannot be in it: its centre's signed distance exceeds what the cell's half
diagonal and the width of the NeuS weight around the surface can bridge. What masks rule out (cells outside their visual
hull) or the unit ball excludes is never allowed at all.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neus_ns.kernels.chunks import chunked

# exp(-_REACH) is what is left of NeuS's density this many standard deviations (1 / inv_s) in front of the surface.
_REACH = 6.0
# A learned distance grows faster than the true one in places; this much faster is still safe.
_STEEPNESS = 1.25
_CHUNK = 2**17


class OccupancyGrid(nn.Module):
    """A cube of cells over the unit box, indexed [x, y, z]: `occupied` now, and `allowed` at all."""

    occupied: Tensor
    allowed: Tensor
    distance: Tensor
    turn: Tensor

    def __init__(self, resolution: int, parts: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.parts = parts
        in_ball = self.centres().norm(dim=-1) <= 1 + self.half_diagonal
        allowed = in_ball.reshape(resolution, resolution, resolution)
        self.register_buffer("allowed", allowed)
        self.register_buffer("occupied", allowed.clone())
        self.register_buffer("distance", torch.zeros(resolution, resolution, resolution))
        self.register_buffer("turn", torch.tensor(0))

    @property
    def half_diagonal(self) -> float:
        return 3**0.5 / self.resolution

    def centres(self) -> Float[Tensor, "cells 3"]:
        """Cell centres in the unit frame, x slowest."""
        axis = (torch.arange(self.resolution) + 0.5) * (2 / self.resolution) - 1
        return torch.cartesian_prod(axis, axis, axis)

    def restrict(self, allowed: Bool[Tensor, "res res res"]) -> None:
        """Rule cells out for good (what the masks' visual hull excludes)."""
        self.allowed &= allowed.to(self.allowed.device)
        self.occupied &= self.allowed

    @torch.no_grad()
    def update(
        self,
        sdf_fn: Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]],
        inv_s: Float[Tensor, ""],
        everything: bool,
    ) -> None:
        """Ask the field about the allowed cells: all of them, or this turn's share (every `parts`-th cell).

        Shares take turns, so the cost per call is level and each cell is looked at once in `parts` calls.
        """
        cells = torch.nonzero(self.allowed.reshape(-1))[:, 0]
        if not everything:
            turn = int(self.turn)
            cells = cells[turn :: self.parts]
            self.turn.fill_((turn + 1) % self.parts)
        resolution = self.resolution
        index = torch.stack([cells // resolution**2, cells // resolution % resolution, cells % resolution], 1)
        points = (index + 0.5) * (2 / resolution) - 1
        reach = _STEEPNESS * self.half_diagonal + _REACH / inv_s
        self.distance.view(-1)[cells] = chunked(sdf_fn, points, _CHUNK)
        # A cell deep inside is skipped only if all its neighbours are as deep: where the field is negative right up to
        # a cell that is not allowed, the surface is at that border.
        depth = torch.where(self.allowed, self.distance, torch.inf)
        highest_around = F.max_pool3d(depth[None, None], 3, stride=1, padding=1)[0, 0]
        self.occupied.copy_(self.allowed & (self.distance <= reach) & (highest_around >= -reach))

    @property
    def share(self) -> Float[Tensor, ""]:
        """Share of the box's cells that are occupied."""
        return self.occupied.float().mean()
