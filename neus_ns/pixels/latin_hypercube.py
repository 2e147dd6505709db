"""Pixels spread evenly: one in each of as many strata as there are rays (Latin hypercube sampling)."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neus_ns.pixels.pool import Pool, strata
from neus_ns.pixels.redistribute import RedistributingConfig, RedistributingSampler


@dataclass
class LatinHypercubePixelSamplerConfig(RedistributingConfig):
    """Evenly, like uniform, but each batch is stratified over photographs, rows and columns."""

    _target: type = field(default_factory=lambda: LatinHypercubePixelSampler)
    """Target class to instantiate."""


class LatinHypercubePixelSampler(RedistributingSampler):
    """Each of n rays takes its own n-th of the photographs (by pixels), of the rows and of the columns.

    Such a grid of strata cannot be laid over the ragged region around masks. There the strata are n equal runs of the
    list of its pixels, which goes by photograph, row and column.
    """

    config: LatinHypercubePixelSamplerConfig

    def prepare(self, pool: Pool) -> None:
        del pool

    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        store = pool.store
        if num == 0 or store.candidates is not None:
            place = (strata(num, store.device) * pool.size).long().clamp_(max=pool.size - 1)
            return place
        among = (strata(num, store.device) * pool.size).long().clamp_(max=pool.size - 1)
        view = store.locate(among)[:, 0]
        height, width = store.height.index_select(0, view), store.width.index_select(0, view)
        row = (_shuffled_strata(num, store.device) * height).long().minimum(height - 1)
        col = (_shuffled_strata(num, store.device) * width).long().minimum(width - 1)
        return store.flatten(torch.stack((view, row, col), dim=-1))

    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        return torch.ones(flat.shape[0], device=flat.device)


def _shuffled_strata(num: int, device: torch.device) -> Float[Tensor, " num"]:
    return strata(num, device).index_select(0, torch.randperm(num, device=device))
