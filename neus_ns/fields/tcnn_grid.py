"""The hash grid of tiny-cuda-nn in place of our own: values only, CUDA only, tables of its own."""

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from neus_ns.fields.feature_grid import FeatureGrid
from neus_ns.kernels.layout import GridLayout


def encoding_config(layout: GridLayout) -> dict[str, Any]:
    """The layout in tiny-cuda-nn's terms; its levels have one cell less, shifted by half a cell."""
    levels = layout.levels
    return {
        "otype": "HashGrid",
        "n_levels": levels,
        "n_features_per_level": layout.features,
        "log2_hashmap_size": layout.log2_rows,
        "base_resolution": layout.coarsest,
        "per_level_scale": (layout.finest / layout.coarsest) ** (1 / (levels - 1)) if levels > 1 else 1.0,
        "interpolation": "Linear",
    }


class TcnnGrid(FeatureGrid):
    """tiny-cuda-nn's multi-resolution hash encoding of points in the box [-half_side, half_side]^3.

    Its derivatives with respect to the points come from torch's autograd, twice if need be.
    """

    foreign_table = "table"
    foreign_sentence = (
        "This checkpoint was trained with the backend warp or torch, whose hash grid tiny-cuda-nn cannot read: set "
        "--pipeline.model.backend, or `backend` in the run's config.yml, to warp or torch."
    )

    def __init__(self, layout: GridLayout, half_side: float) -> None:
        super().__init__(layout, half_side)
        # By default it draws the same table whatever the run's seed; and its half precision suits slopes badly.
        seed = int(torch.randint(2**31 - 1, ()))
        self.encoding = importlib.import_module("tinycudann").Encoding(
            n_input_dims=3, encoding_config=encoding_config(layout), seed=seed, dtype=torch.float32
        )

    def value(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points width"]:
        if len(points) == 0:
            return points.new_zeros(0, self.width)
        # Its table lies on the CUDA device from the start, the rest of the model only once that is built.
        encoded = self.encoding(self.position(points)).to(points)
        kept = self.active * self.layout.features
        return F.pad(encoded[:, :kept], (0, self.width - kept))
