"""Pixels by the full map of last errors: the costly reference that soft mining is compared with."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neus_ns.pixels.pool import Pool
from neus_ns.pixels.running_error import RunningErrorConfig, RunningErrorSampler


@dataclass
class MultinomialPixelSamplerConfig(RunningErrorConfig):
    """By the last error of every pixel; part of the rays go through all pixels in turn to keep the map full."""

    _target: type = field(default_factory=lambda: MultinomialPixelSampler)
    """Target class to instantiate."""
    uniform_share: float = 0.0
    """Share of rays, of those that follow the map, drawn evenly."""
    memory_rate: float = 1.0
    """Weight of a new error beside the remembered one; 1 keeps only the last."""
    sweep_share: float = 0.5
    """Share of rays that go through all pixels in turn. The published method renders everything instead, between
    training steps; here these rays train as well."""


class MultinomialPixelSampler(RunningErrorSampler):
    """Until a pixel's first turn its error counts as the mean of those seen."""

    config: MultinomialPixelSamplerConfig
    memory_names = (*RunningErrorSampler.memory_names, "next_turn")
    first_interval, interval_growth = 0.002, 1.0

    def prepare(self, pool: Pool) -> None:
        fresh = not self.memory
        super().prepare(pool)
        if fresh:
            # The first pixel is random, so that each is as likely in the first batch as any other.
            self.memory["next_turn"] = torch.randint(pool.size, (1,))
        self.memory["next_turn"] = self.memory["next_turn"].cpu()
        self.stride = _coprime_stride(pool.size)

    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        in_turn = int(self.config.sweep_share * num + float(torch.rand(())))
        turn = int(self.memory["next_turn"]) + torch.arange(in_turn, device=pool.store.device)
        self.memory["next_turn"] = (self.memory["next_turn"] + in_turn) % pool.size
        swept = (turn % pool.size) * self.stride % pool.size
        return torch.cat((swept, super()._draw(pool, num - in_turn)))

    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        share = self.config.sweep_share
        return share + (1.0 - share) * super()._ratio(pool, flat)


def _coprime_stride(size: int) -> int:
    """A step with which going round visits every pixel once, and neighbours in time are far apart."""
    stride = max(int(0.618 * size), 1)
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride
