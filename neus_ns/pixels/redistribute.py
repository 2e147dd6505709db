"""What strategies share that draw some pixels of the object's surroundings more often than others."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neus_ns.data.pixel_store import PixelStore
from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch, SurfacePixelSampler, SurfacePixelSamplerConfig
from neus_ns.pixels.pool import Pool


@dataclass
class RedistributingConfig(SurfacePixelSamplerConfig):
    """Options of every such strategy."""

    outside_share: float = 0.05
    """Share of rays drawn evenly from whole photographs, as `uniform` does; unused without masks."""
    correction: float = 0.0
    """Weigh pixels by (how much more often they are drawn than evenly) to this negative power; 1 is unbiased."""
    closing: float = 0.0
    """Last share of training, in which all pixels are drawn evenly: errors that are left by then are mostly not the
    surface's, such as colours along outlines that are half the background's."""
    closing_if_glossy: float = 0.0
    """The same where what is photographed shines, which is known at 30 % of training; the longer of both counts."""


class RedistributingSampler(SurfacePixelSampler):
    """Draws from (1 - s) r(x) [x near a mask] / #near + s / #all, where only the ratio r is the strategy's own.

    The base distribution is the same with r = 1, and r has the mean 1 over the pixels near the masks. What a strategy
    learns is kept in `memory`, by name; what can be derived from photographs and memory is made by `prepare`.
    """

    config: RedistributingConfig
    memory_names: tuple[str, ...] = ()

    def __init__(self, config: RedistributingConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        for name in ("closing", "closing_if_glossy"):
            if not 0.0 <= getattr(config, name) <= 1.0:
                raise InputError(f"The pixel sampler's {name} is {getattr(config, name)}: give a share from 0 to 1.")
        self.memory: dict[str, Tensor] = {}
        self._pool: Pool | None = None

    @abstractmethod
    def prepare(self, pool: Pool) -> None:
        """Make what drawing needs; fill `memory` if it is empty, take it up if it is not."""

    @abstractmethod
    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        """The numbers of pixels of the pool, by the strategy's own distribution."""

    @abstractmethod
    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        """How many times more often than evenly `_draw` draws these pixels; of any meaning in the pool only."""

    @property
    def closing_now(self) -> bool:
        """Whether training is in its last phase, in which the strategy's own distribution rests."""
        closing = max(self.config.closing, self.config.closing_if_glossy if self.shines else 0.0)
        return closing > 0 and self.progress >= 1.0 - closing

    def draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        """The numbers of pixels of the pool, as they are drawn now."""
        if self.closing_now:
            return torch.randint(pool.size, (num,), device=pool.store.device)
        return self._draw(pool, num)

    def ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        """How many times more often than evenly `draw` draws these pixels; of any meaning in the pool only."""
        if self.closing_now:
            return torch.ones(flat.shape[0], device=flat.device)
        return self._ratio(pool, flat)

    @property
    def correction_now(self) -> float:
        """The power of the correction at this time of training."""
        return self.config.correction

    def propose(self, store: PixelStore, num_rays: int) -> PixelBatch:
        pool = self.pool_of(store)
        if not self.closing_now:
            self.keep_up()
        outside = 0
        if store.fg is not None:
            # Rounded up or down at random, so that the share is right on average.
            outside = int(self.config.outside_share * num_rays + float(torch.rand(())))
        drawn, anywhere = self.draw(pool, num_rays - outside), store.draw_anywhere(outside)
        found, inside = pool.numbers(anywhere)
        number = torch.cat((drawn, torch.where(inside, found, -1)))
        flat = torch.cat((pool.flat(drawn), anywhere))
        return PixelBatch(store.locate(flat), flat, self._weight(pool, flat, number >= 0), number=number)

    def keep_up(self) -> None:
        """Do what the schedule asks for at this time of training; called before each proposal but those of
        the closing phase."""
        return

    def pool_of(self, store: PixelStore) -> Pool:
        """The pool of the photographs; prepared anew when they or the memory are others than before."""
        if self._pool is None or self._pool.store is not store:
            if self._pool is not None:
                # Other photographs: what was learnt does not hold for them.
                self.memory = {}
            self._pool = Pool(store)
            self.memory = {name: value.to(store.device) for name, value in self.memory.items()}
            self.prepare(self._pool)
        return self._pool

    def numbers_of(self, batch: PixelBatch) -> tuple[Int64[Tensor, " rays"], Bool[Tensor, " rays"]]:
        """As `Pool.numbers`, for pixels of an earlier proposal."""
        if batch.number is None:
            return self.pool_of_last_proposal.numbers(batch.flat)
        inside = batch.number >= 0
        return batch.number.clamp_min(0), inside

    @property
    def pool_of_last_proposal(self) -> Pool:
        """For hearing errors: they are of pixels that were proposed."""
        if self._pool is None:
            raise RuntimeError("Errors were reported before any pixels were proposed.")
        return self._pool

    def _weight(
        self, pool: Pool, flat: Int64[Tensor, " rays"], in_pool: Bool[Tensor, " rays"]
    ) -> Float[Tensor, " rays"]:
        power = self.correction_now
        if power == 0.0:
            return torch.ones(flat.shape[0], device=flat.device)
        return self._base_by_drawn(pool, flat, in_pool) ** power

    def even_weight(self, batch: PixelBatch) -> Float[Tensor, " rays"]:
        return self._base_by_drawn(self.pool_of_last_proposal, batch.flat, self.numbers_of(batch)[1])

    def _base_by_drawn(
        self, pool: Pool, flat: Int64[Tensor, " rays"], in_pool: Bool[Tensor, " rays"]
    ) -> Float[Tensor, " rays"]:
        """How often the base distribution draws each pixel, next to how often it is drawn now."""
        store = pool.store
        share = 0.0 if store.fg is None else self.config.outside_share
        lit = store.num_pixels if store.lit is None else store.lit.shape[0]
        inside = (1.0 - share) * in_pool
        anywhere = share * pool.size / lit
        drawn = inside * self.ratio(pool, flat).clamp_min(1e-12) + anywhere
        return (inside + anywhere) / drawn

    def require_memory(self, name: str, size: int) -> Tensor:
        """A part of the memory that has to have this many entries."""
        value = self.memory[name]
        if value.shape[0] != size:
            raise InputError(
                f"The checkpoint's pixel sampler remembers {value.shape[0]} entries of {name}, but these photographs "
                f"need {size}; resume with the photographs, masks and sampler options that the run was started with."
            )
        return value

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.memory.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state and set(state) != set(self.memory_names):
            raise InputError(
                f"The checkpoint holds the memory of another pixel sampler ({', '.join(sorted(state))}); "
                "resume with the sampler that the run was started with."
            )
        self.memory = {name: value.clone() for name, value in state.items()}
        # The next proposal derives everything from the new memory.
        self._pool = None
