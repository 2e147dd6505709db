"""The one hash grid of our own kernels: a table of features, read by jets."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.fields.feature_grid import FeatureGrid
from neus_ns.kernels.backend import Backend
from neus_ns.kernels.encode import jet, stencil
from neus_ns.kernels.layout import GridLayout


class HashGrid(FeatureGrid):
    """Multi-resolution hash encoding of points in the box [-half_side, half_side]^3, with derivatives."""

    foreign_table = "encoding.params"
    foreign_sentence = (
        "This checkpoint was trained with the backend tcnn (tiny-cuda-nn), whose hash grid no other backend can read: "
        "set --pipeline.model.backend, or `backend` in the run's config.yml, to tcnn, and load it on a CUDA device "
        "with tiny-cuda-nn installed."
    )

    def __init__(self, layout: GridLayout, half_side: float, backend: Backend) -> None:
        super().__init__(layout, half_side)
        self.backend: Backend = backend
        table = torch.empty(layout.levels, layout.rows, layout.features).uniform_(-1e-4, 1e-4)
        self.table = nn.Parameter(table)

    def value(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points width"]:
        return self.jet(points, 1)[:, 0]

    def jet(self, points: Float[Tensor, "points 3"], columns: int) -> Float[Tensor, "points {columns} width"]:
        """Encoding and its derivatives with respect to the grid's own [0, 1] coordinates; see `slope_scale`."""
        return jet(self.position(points), self.table, self.layout, columns, self.active, self.backend)

    def stencil(
        self, points: Float[Tensor, "points 3"], half_width: float, taps: int
    ) -> Float[Tensor, "points {taps}+1 width"]:
        half_width *= self.slope_scale
        position = self.position(points)
        return stencil(position, half_width, taps, self.table, self.layout, self.active, self.backend)
