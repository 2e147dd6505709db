"""The one hash grid: a table of features, its layout, and how many of its levels are switched on.

Every consumer (values, analytic normals, extraction) goes through `jet`. The number of active levels is a buffer, so it
lives in the checkpoint and an exporter needs no second call to get the levels that were trained.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.kernels.backend import Backend
from neus_ns.kernels.encode import jet
from neus_ns.kernels.layout import GridLayout


class HashGrid(nn.Module):
    """Multi-resolution hash encoding of points in the box [-half_side, half_side]^3."""

    active_levels: Tensor

    def __init__(self, layout: GridLayout, half_side: float, backend: Backend) -> None:
        super().__init__()
        self.layout = layout
        self.half_side = half_side
        self.backend: Backend = backend
        table = torch.empty(layout.levels, layout.rows, layout.features).uniform_(-1e-4, 1e-4)
        self.table = nn.Parameter(table)
        self.register_buffer("active_levels", torch.tensor(layout.levels))
        self._active = layout.levels

    def set_active_levels(self, levels: int) -> None:
        """Switch on the coarsest `levels` levels; the rest encode to zero and receive no gradient."""
        self._active = max(1, min(levels, self.layout.levels))
        self.active_levels.fill_(self._active)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        # The plain integer spares a device synchronisation per step; it follows the buffer whenever that is loaded.
        self._active = int(self.active_levels)

    @property
    def width(self) -> int:
        return self.layout.width

    @property
    def slope_scale(self) -> float:
        """First derivatives of a jet times this are derivatives with respect to points of the box."""
        return 0.5 / self.half_side

    def jet(self, points: Float[Tensor, "points 3"], columns: int) -> Float[Tensor, "points {columns} width"]:
        """Encoding and its derivatives with respect to the grid's own [0, 1] coordinates; see `slope_scale`."""
        position = points * self.slope_scale + 0.5
        return jet(position, self.table, self.layout, columns, self._active, self.backend)
