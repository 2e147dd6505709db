"""The pixels that a strategy chooses among, counted from 0: those on and near the object, as the store lists them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from neus_ns.data.pixel_store import PixelStore


@dataclass(frozen=True)
class Pool:
    """The candidates of a store; without masks these are all pixels, and then nothing has to be looked up."""

    store: PixelStore

    @property
    def size(self) -> int:
        candidates = self.store.candidates
        return self.store.num_pixels if candidates is None else candidates.shape[0]

    @property
    def num_views(self) -> int:
        return self.store.width.shape[0]

    def flat(self, numbers: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """Where in the store the pixels of these numbers are."""
        candidates = self.store.candidates
        return numbers if candidates is None else candidates.index_select(0, numbers).long()

    def numbers(self, flat: Integer[Tensor, " n"]) -> tuple[Int64[Tensor, " n"], Bool[Tensor, " n"]]:
        """The numbers of pixels of the store, and whether they are in the pool; numbers of the others mean nothing."""
        candidates = self.store.candidates
        if candidates is None:
            return flat.long(), torch.ones_like(flat, dtype=torch.bool)
        # The store lists candidates in ascending order.
        found = torch.searchsorted(candidates, flat.to(candidates.dtype)).clamp_(max=candidates.shape[0] - 1)
        return found, candidates.index_select(0, found) == flat

    def view_bounds(self) -> Int64[Tensor, " views_and_end"]:
        """The first number of every view, and the size: the numbers of a view are one run."""
        ends = torch.cat((self.store.offset, self.store.offset.new_tensor([self.store.num_pixels])))
        candidates = self.store.candidates
        return ends if candidates is None else torch.searchsorted(candidates, ends.to(candidates.dtype))


def draw_weighted(cumulated: Float[Tensor, " kinds"], num: int) -> Int64[Tensor, " num"]:
    """Numbers drawn with replacement in proportion to weights, given as their running sum in float64."""
    return _at(cumulated, torch.rand(num, dtype=torch.float64, device=cumulated.device))


def draw_weighted_evenly(cumulated: Float[Tensor, " kinds"], num: int) -> Int64[Tensor, " num"]:
    """As `draw_weighted`, in order and one in each n-th of the weight: every kind comes about as often as it should."""
    return _at(cumulated, strata(num, cumulated.device))


def strata(num: int, device: torch.device) -> Float[Tensor, " num"]:
    """One number in each n-th of 0..1, in order; float64, since a pool may have more pixels than float32 counts."""
    jitter = torch.rand(num, dtype=torch.float64, device=device)
    return (torch.arange(num, device=device) + jitter) / max(num, 1)


def _at(cumulated: Float[Tensor, " kinds"], share: Float[Tensor, " num"]) -> Int64[Tensor, " num"]:
    target = share * cumulated[-1]
    # Sides are chosen so that a weight of zero is an empty interval.
    return torch.searchsorted(cumulated, target, right=True).clamp_(max=cumulated.shape[0] - 1)
