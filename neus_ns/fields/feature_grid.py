"""What every hash grid has, whoever computes it: a layout, a box, and how many of its levels are switched on.

The number of active levels is a buffer, so it lives in the checkpoint and an exporter needs no second call to get the
levels that were trained.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.errors import InputError
from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.taps import tap_offsets


class FeatureGrid(nn.Module, ABC):
    """Features of points in the box [-half_side, half_side]^3, coarse levels first."""

    active_levels: Tensor
    foreign_table: str
    """Name of the table in the checkpoints of the other kind of grid, which this one cannot read."""
    foreign_sentence: str
    """What to tell whoever loads such a checkpoint."""

    def __init__(self, layout: GridLayout, half_side: float) -> None:
        super().__init__()
        self.layout = layout
        self.half_side = half_side
        self.register_buffer("active_levels", torch.tensor(layout.levels))
        self._active = layout.levels

    def set_active_levels(self, levels: int) -> None:
        """Switch on the coarsest `levels` levels; the rest encode to zero and receive no gradient."""
        self._active = max(1, min(levels, self.layout.levels))
        self.active_levels.fill_(self._active)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Said here because nerfstudio's loader, when names do not fit, leaves out what it cannot place.
        if prefix + self.foreign_table in state_dict:
            raise InputError(self.foreign_sentence)
        super()._load_from_state_dict(state_dict, prefix, *args)
        # The plain integer spares a device synchronisation per step; it follows the buffer whenever that is loaded.
        self._active = int(self.active_levels)

    @property
    def active(self) -> int:
        """How many levels are switched on."""
        return self._active

    @property
    def width(self) -> int:
        return self.layout.width

    @property
    def slope_scale(self) -> float:
        """Derivatives with respect to positions in the grid, times this, are derivatives with respect to points."""
        return 0.5 / self.half_side

    def position(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """The grid's own coordinates, [0, 1]^3 over the box."""
        return points * self.slope_scale + 0.5

    @abstractmethod
    def value(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points width"]:
        """The encoding of points."""

    @property
    def finest_cell(self) -> float:
        """Side of a cell of the finest level that is switched on."""
        return 2 * self.half_side / self.layout.resolutions[self.active - 1]

    def stencil(
        self, points: Float[Tensor, "points 3"], half_width: float, taps: int
    ) -> Float[Tensor, "points {taps}+1 width"]:
        """The encoding of points and of the taps around each, `half_width` away from it."""
        every = torch.cat([points[:, None], points[:, None] + tap_offsets(half_width, taps, points)], 1)
        return self.value(every.flatten(0, 1)).unflatten(0, (len(points), taps + 1))
