"""A strategy's memory of how wrong each pixel was when a ray last went through it.

Of large captures, a few neighbouring pixels of a row share one entry: memory and the time to redraw stay bounded, and
what a ray needs to know of its surroundings is the same on the object however finely it was photographed.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch
from neus_ns.pixels.pool import Pool, draw_weighted
from neus_ns.pixels.redistribute import RedistributingConfig, RedistributingSampler

_UNSEEN = -1.0
# Entries of the map at most: 16 bytes each, and a tenth of a second to redraw them.
_MOST_ENTRIES = 8_000_000


@dataclass
class RunningErrorConfig(RedistributingConfig):
    """Options of strategies with an error for every pixel."""

    uniform_share: float = 0.1
    """Share of rays drawn evenly, so that an error that has grown is noticed."""
    memory_rate: float = 0.5
    """Weight of a new error beside the remembered one; 1 keeps only the last."""


class RunningErrorSampler(RedistributingSampler):
    """Draws by the remembered errors as they were when the map was last redrawn; unseen pixels count as the mean."""

    config: RunningErrorConfig
    memory_names = ("error", "drawn_by", "redraw_at", "redraw_interval")
    most_entries = _MOST_ENTRIES
    first_interval: float
    """Share of training until the map is redrawn for the first time."""
    interval_growth: float
    """By how much each interval between redrawings is longer than the one before."""

    def __init__(self, config: RunningErrorConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        if not 0.0 < config.memory_rate <= 1.0:
            raise InputError(
                f"The pixel sampler's memory_rate is {config.memory_rate}: give a number above 0, up to 1."
            )

    def prepare(self, pool: Pool) -> None:
        self.shared_by = -(-pool.size // self.most_entries)
        entries = -(-pool.size // self.shared_by)
        # The last entry has what is left.
        self.pixels = torch.full((entries,), float(self.shared_by), device=pool.store.device)
        self.pixels[-1] = pool.size - self.shared_by * (entries - 1)
        if not self.memory:
            unseen = torch.full((entries,), _UNSEEN, device=pool.store.device)
            self.memory = {"error": unseen, "drawn_by": torch.ones_like(unseen)}
            self.memory |= {"redraw_at": _clock(self.first_interval), "redraw_interval": _clock(self.first_interval)}
        for name in ("error", "drawn_by"):
            self.require_memory(name, entries)
        for name in ("redraw_at", "redraw_interval"):
            # Asked for every step: numbers of the clock stay where asking costs nothing.
            self.memory[name] = self.memory[name].cpu()
        self._cumulate()

    def _cumulate(self) -> None:
        self.cumulated = (self.memory["drawn_by"] * self.pixels).double().cumsum(0)

    def observe(self, batch: PixelBatch, error_per_ray: Float[Tensor, " rays"]) -> None:
        number, inside = self.numbers_of(batch)
        known = inside & torch.isfinite(error_per_ray)
        if len(known) == 0:
            return
        # Rays of which nothing is known repeat one of the others: to leave them out, the host would have to wait for
        # the device to say how many they are.
        one = known.int().argmax(0, keepdim=True)
        number = torch.where(known, number, number.index_select(0, one)) // self.shared_by
        error = torch.where(known, error_per_ray, error_per_ray.index_select(0, one)).float().clamp_min(0)
        before = self.memory["error"].index_select(0, number)
        rate = torch.where(before < 0, 1.0, self.config.memory_rate)
        after = torch.where(known.any(), before.clamp_min(0) * (1 - rate) + rate * error, before)
        # An entry that was drawn twice keeps one of its two errors.
        self.memory["error"].index_copy_(0, number, after)

    def keep_up(self) -> None:
        if self.progress >= float(self.memory["redraw_at"]):
            self.redraw()
            interval = self.memory["redraw_interval"] * self.interval_growth
            self.memory |= {"redraw_interval": interval, "redraw_at": self.progress + interval}

    def redraw(self) -> None:
        """Draw by the errors remembered now."""
        error = self.memory["error"]
        seen = error >= 0
        mean = torch.where(seen, error, 0.0).sum(dtype=torch.float64) / seen.sum().clamp_min(1)
        # The small number draws evenly where no error is left at all.
        map_ = self.counted(torch.where(seen, error, mean.float())) + 1e-12
        even = self.config.uniform_share
        self.memory["drawn_by"] = even + (1 - even) * map_ / map_.mean(dtype=torch.float64).float()
        self._cumulate()

    def counted(self, error: Float[Tensor, " entries"]) -> Float[Tensor, " entries"]:
        """How much each entry's error counts."""
        return error

    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        entry = draw_weighted(self.cumulated, num)
        if self.shared_by == 1:
            return entry
        within = torch.rand(num, device=entry.device) * self.pixels.index_select(0, entry)
        return (entry * self.shared_by + within.long()).clamp_(max=pool.size - 1)

    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        drawn_by = self.memory["drawn_by"].index_select(0, pool.numbers(flat)[0] // self.shared_by)
        return (drawn_by * (pool.size / self.cumulated[-1])).float()


def _clock(share: float) -> Float[Tensor, "1"]:
    return torch.tensor([share], dtype=torch.float64)
