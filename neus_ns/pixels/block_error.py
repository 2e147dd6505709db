"""Pixels in blocks of each photograph, the more of them the worse the block is rendered (iMAP)."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch
from neus_ns.pixels.cells import Cells, add_errors
from neus_ns.pixels.pool import Pool, draw_weighted
from neus_ns.pixels.redistribute import RedistributingConfig, RedistributingSampler

_DEEPEST = 8
# How often a batch's errors are halved in the running mean, in batches.
_HALF_LIFE = 50.0
# No block is drawn from less than this much as often as the photograph's mean.
_FLOOR = 0.05


@dataclass
class BlockErrorPixelSamplerConfig(RedistributingConfig):
    """Each photograph in 8x8 blocks; their running mean errors decide how many rays go to each."""

    _target: type = field(default_factory=lambda: BlockErrorPixelSampler)
    """Target class to instantiate."""
    depth: int = 3
    """How often a photograph is halved to get a block's width and height: 3 gives 8 x 8 blocks."""


class BlockErrorPixelSampler(RedistributingSampler):
    """A photograph is drawn as often as evenly, a block of it by its mean error times its pixels, a pixel evenly.

    Block means forget slowly, and a block that no ray fell into keeps its mean; before its first ray it counts as much
    as the mean of the photographs' other blocks.
    """

    config: BlockErrorPixelSamplerConfig
    memory_names = ("error_sum", "error_count")

    def __init__(self, config: BlockErrorPixelSamplerConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        if not 0 <= config.depth <= _DEEPEST:
            raise InputError(f"The block-error sampler's depth is {config.depth}: give a number from 0 to {_DEEPEST}.")

    def prepare(self, pool: Pool) -> None:
        self.cells = Cells(pool, self.config.depth)
        self.run = self.cells.runs(self.cells.level(self.config.depth))
        self.pixels = self.run.diff().double()
        if not self.memory:
            for name in self.memory_names:
                self.memory[name] = torch.zeros(self.cells.num_keys, dtype=torch.float64, device=pool.store.device)
        for name in self.memory_names:
            self.require_memory(name, self.cells.num_keys)
        self.block_ratio = self._block_ratio(pool)

    def observe(self, batch: PixelBatch, error_per_ray: Float[Tensor, " rays"]) -> None:
        pool = self.pool_of_last_proposal
        inside = self.numbers_of(batch)[1]
        for name in self.memory_names:
            self.memory[name] *= 0.5 ** (1 / _HALF_LIFE)
        error = torch.where(inside, error_per_ray, torch.nan)
        add_errors(self.memory["error_sum"], self.memory["error_count"], self.cells.key_at(batch.indices), error)
        self.block_ratio = self._block_ratio(pool)

    def _block_ratio(self, pool: Pool) -> Float[Tensor, " blocks"]:
        """How many times more often than evenly the pixels of each block are drawn; 0 for blocks without pixels."""
        total, count = (self.memory[name].view(pool.num_views, -1) for name in self.memory_names)
        pixels = self.pixels.view(pool.num_views, -1)
        seen = count > 0
        mean = total / torch.where(seen, count, 1.0)
        # A photograph that no ray has hit yet has blocks that are all alike.
        usual = (mean * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp_min(1)
        mean = torch.where(seen, mean, usual).clamp_min(_FLOOR * usual) + 1e-12
        of_photo = (mean * pixels).sum(-1, keepdim=True) / pixels.sum(-1, keepdim=True).clamp_min(1.0)
        return torch.where(pixels > 0, mean / of_photo.clamp_min(1e-12), 0.0).flatten()

    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        return self.cells.draw(self.run, draw_weighted((self.block_ratio * self.pixels).cumsum(0), num))

    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        return self.block_ratio.index_select(0, self.cells.key(flat)).float()
