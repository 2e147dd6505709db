"""A stand-in for tiny-cuda-nn's `Encoding`, on nerfstudio's own torch hash grid: any device, differentiable twice.

With this folder on the import path, `import tinycudann` finds this file. It is there for the tests and for the
benchmark that times nerfstudio's neus-facto, which cannot start without tiny-cuda-nn. It offers the hash grid alone; of
nerfstudio's modules, whatever else asks for tiny-cuda-nn (its small networks) has to be told `implementation="torch"`.

What differs from the real one: the index rule and the offset of the grid (nerfstudio's), float32 throughout, parameters
in rows instead of one flat vector, and linear interpolation also where "Smoothstep" is asked for, which nerfstudio's
torch grid does not have; it is a little less work.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Encoding(nn.Module):
    """tiny-cuda-nn's constructor and call; `params` is the table."""

    def __init__(
        self,
        n_input_dims: int,
        encoding_config: dict[str, Any],
        seed: int = 1337,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        super().__init__()
        # nerfstudio asks for this module while it is itself being imported.
        from nerfstudio.field_components.encodings import HashEncoding

        if n_input_dims != 3 or encoding_config["otype"] != "HashGrid":
            raise RuntimeError(f"the stand-in has hash grids of 3 dimensions only, not {encoding_config}")
        levels, coarsest = encoding_config["n_levels"], encoding_config["base_resolution"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            grid = HashEncoding(
                num_levels=levels,
                min_res=coarsest,
                max_res=round(coarsest * encoding_config["per_level_scale"] ** (levels - 1)),
                log2_hashmap_size=encoding_config["log2_hashmap_size"],
                features_per_level=encoding_config["n_features_per_level"],
                hash_init_scale=1e-4,
                implementation="torch",
            )
        self.params = grid.hash_table
        # Kept out of the module's children, so that the table has one name, `params`, as in the real one.
        self._grid = [grid]
        self.dtype = dtype
        self.n_input_dims = n_input_dims
        self.n_output_dims = grid.get_out_dim()

    def forward(self, x: Tensor) -> Tensor:
        (grid,) = self._grid
        grid.hash_table = self.params
        return grid(x)
