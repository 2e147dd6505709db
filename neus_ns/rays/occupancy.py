"""Which cells of the unit box can hold the surface, and how far from it each of them last was.

A cell is skipped only when the surface cannot be in it: its centre's signed distance exceeds what the cell's half
diagonal and the width of the NeuS weight around the surface can bridge. What masks rule out (cells outside their visual
hull) or the unit ball excludes is never allowed at all.

The distances are kept, because they answer a second question for nothing: roughly where along a ray the weight will be,
which is all that refinement needs to know before it spends its samples.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from neus_ns.kernels.cells import OccupiedCells, dilated, occupied_cells
from neus_ns.kernels.chunks import chunked

# exp(-_REACH) is what is left of NeuS's density this many standard deviations (1 / inv_s) in front of the surface.
_REACH = 6.0
# A learned distance grows faster than the true one in places; this much faster is still safe.
_STEEPNESS = 1.25
_CHUNK = 2**17

SdfFn = Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]]


class OccupancyGrid(nn.Module):
    """A cube of cells over the unit box, indexed [x, y, z]: `occupied` now, `allowed` at all, and their `distance`."""

    occupied: Tensor
    allowed: Tensor
    distance: Tensor
    turn: Tensor
    blocks_away: Tensor
    near_allowed: Tensor
    share: Tensor
    """Share of the box's cells that are occupied."""

    def __init__(self, resolution: int, parts: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.parts = parts
        axis = (torch.arange(resolution) + 0.5) * (2 / resolution) - 1
        from_centre = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
        allowed = from_centre <= 1 + self.half_diagonal
        self.register_buffer("allowed", allowed)
        self.register_buffer("occupied", allowed.clone())
        self.register_buffer("distance", torch.zeros(resolution, resolution, resolution))
        self.register_buffer("turn", torch.tensor(0))
        self._turn = 0
        # What follows from the cells is kept beside them: they change once in many steps, and each step marches.
        self.register_buffer("blocks_away", occupied_cells(allowed).blocks_away, persistent=False)
        self.register_buffer("near_allowed", dilated(allowed), persistent=False)
        self.register_buffer("share", allowed.float().mean(), persistent=False)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        # The plain integer spares a device synchronisation per update; it follows the buffer whenever that is loaded.
        self._turn = int(self.turn)
        self._follow_allowed()
        self._follow_occupied()

    def _follow_allowed(self) -> None:
        self.near_allowed.copy_(dilated(self.allowed))

    def _follow_occupied(self) -> None:
        self.blocks_away.copy_(occupied_cells(self.occupied).blocks_away)
        self.share.copy_(self.occupied.float().mean())

    @property
    def cells(self) -> OccupiedCells:
        """The cells that are occupied now, as a march wants them."""
        return OccupiedCells(self.occupied, self.blocks_away)

    @property
    def half_diagonal(self) -> float:
        return 3**0.5 / self.resolution

    def restrict(self, allowed: Bool[Tensor, "res res res"]) -> Float[Tensor, "res res res"]:
        """Rule cells out for good (what the masks' visual hull excludes); returns how far any point of each cell is at
        least from those that are left."""
        self.allowed &= allowed.to(self.allowed.device)
        self.occupied &= self.allowed
        self._follow_allowed()
        self._follow_occupied()
        side = 2 / self.resolution
        to_allowed = torch.from_numpy(np.asarray(distance_transform_edt(~self.allowed.cpu().numpy())) * side)
        # From a point anywhere in its cell to any point of an allowed one: a diagonal less than between their centres.
        bound = (to_allowed.to(self.distance) - 2 * self.half_diagonal).clamp_min(0)
        # The field is never asked there, and who follows a line of sight wants to get across.
        self.distance.copy_(torch.where(self.near_allowed, self.distance, bound))
        return bound

    @torch.no_grad()
    def update(self, sdf_fn: SdfFn, inv_s: Float[Tensor, ""], everything: bool) -> None:
        """Ask the field about the cells near the surface and this turn's share of the others, or about all of them.

        Distances are wanted one cell beyond what is allowed, so that interpolation is right up to the border.
        """
        wanted = self.near_allowed
        if not everything:
            share = torch.zeros_like(wanted).view(-1)
            share[self._turn :: self.parts] = True
            self._turn = (self._turn + 1) % self.parts
            self.turn.fill_(self._turn)
            wanted = wanted & (dilated(self.occupied) | share.view_as(wanted))
        cells = torch.nonzero(wanted.view(-1))[:, 0]
        self.distance.view(-1)[cells] = chunked(sdf_fn, self._centres(cells), _CHUNK)
        reach = _STEEPNESS * self.half_diagonal + _REACH / inv_s
        # A cell deep inside is skipped only if all its neighbours are as deep: where the field is negative right up to
        # a cell that is not allowed, the surface is at that border.
        deep = self.allowed & (self.distance < -reach)
        self.occupied.copy_(self.allowed & (self.distance <= reach) & dilated(~deep))
        self._follow_occupied()

    def _centres(self, cells: Int[Tensor, " cells"]) -> Float[Tensor, "cells 3"]:
        """Centres of cells given by their flat index, in the unit frame."""
        side = self.resolution
        index = torch.stack([cells // side**2, cells // side % side, cells % side], 1)
        return (index + 0.5) * (2 / side) - 1

    def remembered_sdf(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Signed distance as of the last updates, interpolated between cell centres; costs no network."""
        # grid_sample counts coordinates from the last axis; the grid is indexed [x, y, z].
        at = points.flip(-1)[None, None, None]
        return F.grid_sample(self.distance[None, None], at, align_corners=False, padding_mode="border")[0, 0, 0, 0]
