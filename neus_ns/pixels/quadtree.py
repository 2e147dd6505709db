"""Pixels in the leaves of quadtrees that grow where photographs are rendered badly ("Shooting Much Fewer Rays")."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch
from neus_ns.pixels.cells import Cells, add_errors, cell_of
from neus_ns.pixels.context_std import context_std
from neus_ns.pixels.pixel_map import pixel_ratios
from neus_ns.pixels.pool import Pool, draw_weighted
from neus_ns.pixels.ranks import summed_over_ranks
from neus_ns.pixels.redistribute import RedistributingConfig, RedistributingSampler

_DEEPEST = 8


@dataclass
class QuadtreePixelSamplerConfig(RedistributingConfig):
    """Each photograph in a quadtree that is subdivided where the error is; settled leaves get few rays."""

    _target: type = field(default_factory=lambda: QuadtreePixelSampler)
    """Target class to instantiate."""
    threshold: float = 0.05
    """Mean error (absolute, summed over channels) up to which a leaf is settled; above it is split into four."""
    initial_depth: int = 2
    """How often photographs are subdivided before training."""
    interval: float = 0.1
    """Share of training between subdivisions."""
    settled_rays: float = 10.0
    """A settled leaf gets as many rays as this many pixels of a leaf that is not settled."""
    closing: float = 0.1
    """Last share of training, in which all pixels are drawn evenly, so that settled leaves are not forgotten."""
    context_share: float = 0.0
    """Share of the rays that fall within their leaf by the context prior instead of evenly."""


class QuadtreePixelSampler(RedistributingSampler):
    """A leaf counts as many pixels as it has, or `settled_rays` of them once it is settled.

    Errors are those of training rays since the last subdivision. Leaves that no ray fell into stay what they are. A
    leaf that was settled and has become bad again is split like any other.
    """

    config: QuadtreePixelSamplerConfig
    memory_names = ("first_key", "leaf_depth", "settled", "error_sum", "error_count", "subdivided_at")

    def __init__(self, config: QuadtreePixelSamplerConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        if not 0 <= config.initial_depth <= _DEEPEST:
            raise InputError(f"The quadtree's initial_depth is {config.initial_depth}: give 0 to {_DEEPEST}.")
        if config.interval <= 0.0 or config.settled_rays <= 0.0:
            raise InputError("The quadtree's interval and settled_rays have to be above 0.")

    def prepare(self, pool: Pool) -> None:
        self.cells = Cells(pool, _DEEPEST)
        if not self.memory:
            first_key = self.cells.level(self.config.initial_depth)
            self._plant(first_key, torch.full_like(first_key, self.config.initial_depth))
            self.memory["subdivided_at"] = torch.tensor([0.0], dtype=torch.float64)
        # One number of the clock, which is asked for every step: it stays where asking costs nothing.
        self.memory["subdivided_at"] = self.memory["subdivided_at"].cpu()
        self.prior = None
        if self.config.context_share > 0.0:
            self.importance = pixel_ratios(pool, lambda view: context_std(view.photo), 0.0)
            ordered = self.importance.index_select(0, self.cells.number)
            self.prior = torch.cat(
                (torch.zeros(1, dtype=torch.float64, device=ordered.device), ordered.double().cumsum(0))
            )
        self._measure()

    def _plant(self, first_key: Int64[Tensor, " leaves"], depth: Int64[Tensor, " leaves"]) -> None:
        """Leaves of which nothing is known yet."""
        zeros = torch.zeros(len(first_key), dtype=torch.float64, device=first_key.device)
        self.memory |= {
            "first_key": first_key,
            "leaf_depth": depth,
            "settled": torch.zeros_like(first_key, dtype=torch.bool),
        }
        self.memory |= {"error_sum": zeros, "error_count": zeros.clone()}

    def _measure(self) -> None:
        """What drawing needs to know of the leaves."""
        first_key = self.memory["first_key"]
        if int(first_key[-1]) >= self.cells.num_keys or int(self.memory["leaf_depth"].max()) > _DEEPEST:
            raise InputError(
                "The checkpoint's quadtrees are of other photographs; resume with those the run was started with."
            )
        self.run = self.cells.runs(first_key)
        pixels = self.run.diff().double()
        weight = torch.where(self.memory["settled"], pixels.clamp_max(self.config.settled_rays), pixels)
        self.cumulated = weight.cumsum(0)
        self.leaf_ratio = (weight / pixels.clamp_min(1.0) * (pixels.sum() / weight.sum())).float()

    def keep_up(self) -> None:
        if self._intervals(self.progress) > self._intervals(float(self.memory["subdivided_at"])):
            self.subdivide()

    def _intervals(self, progress: float) -> int:
        """How many intervals of training are over; the small number is for shares that are rounded down."""
        return int(progress / self.config.interval + 1e-9)

    def observe(self, batch: PixelBatch, error_per_ray: Float[Tensor, " rays"]) -> None:
        inside = self.numbers_of(batch)[1]
        leaf = cell_of(self.cells.key_at(batch.indices), self.memory["first_key"])
        error = torch.where(inside, error_per_ray, torch.nan)
        add_errors(self.memory["error_sum"], self.memory["error_count"], leaf, error)

    def subdivide(self) -> None:
        """Split every leaf whose mean error is above the threshold, down to pixels, and settle those whose is not."""
        self.memory["subdivided_at"] = torch.tensor([self.progress], dtype=torch.float64)
        # All processes of a distributed training grow the same trees, from all their rays.
        total, count = (summed_over_ranks(self.memory[name]) for name in ("error_sum", "error_count"))
        depth = self.memory["leaf_depth"]
        seen = count > 0
        bad = seen & (total > self.config.threshold * count)
        settled = torch.where(seen, ~bad, self.memory["settled"])
        self._split(bad & (depth < _DEEPEST) & (self.run.diff() > 1), settled)
        self._measure()

    def _split(self, split: Bool[Tensor, " leaves"], settled: Bool[Tensor, " leaves"]) -> None:
        first_key, depth = self.memory["first_key"], self.memory["leaf_depth"]
        child = torch.arange(4, device=first_key.device)
        quarter = torch.ones_like(depth[split]) << (2 * (_DEEPEST - depth[split] - 1))
        children = (first_key[split][:, None] + child * quarter[:, None]).flatten()
        keys = torch.cat((first_key[~split], children))
        depths = torch.cat((depth[~split], (depth[split] + 1).repeat_interleave(4)))
        calm = torch.cat((settled[~split], settled.new_zeros(len(children))))
        order = torch.argsort(keys)
        self._plant(keys[order], depths[order])
        self.memory["settled"] = calm[order]

    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        leaf = draw_weighted(self.cumulated, num)
        drawn = self.cells.draw(self.run, leaf)
        if self.prior is None:
            return drawn
        begin, end = self.prior[self.run[leaf]], self.prior[self.run[leaf + 1]]
        target = begin + torch.rand_like(begin) * (end - begin)
        place = torch.searchsorted(self.prior, target, right=True) - 1
        place = place.maximum(self.run[leaf]).minimum(self.run[leaf + 1] - 1)
        by_prior = torch.rand(num, device=leaf.device) < self.config.context_share
        return torch.where(by_prior, self.cells.number.index_select(0, place).long(), drawn)

    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        leaf = cell_of(self.cells.key(flat), self.memory["first_key"])
        ratio = self.leaf_ratio.index_select(0, leaf)
        if self.prior is None:
            return ratio
        pixels = self.run.diff().double().index_select(0, leaf)
        importance = self.importance.index_select(0, pool.numbers(flat)[0])
        of_leaf = (self.prior[self.run[leaf + 1]] - self.prior[self.run[leaf]]).clamp_min(1e-12) / pixels
        share = self.config.context_share
        return ratio * (1.0 - share + share * importance / of_leaf).float()
