"""Pixels drawn by a map made of each photograph once, before training."""

import os
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from neus_ns.data.pixel_store import FOREGROUND_LEVEL, PixelStore
from neus_ns.pixels.pool import Pool, draw_weighted
from neus_ns.pixels.redistribute import RedistributingSampler


@dataclass(frozen=True)
class ViewPixels:
    """One photograph for those who make a map of it."""

    photo: UInt8[ndarray, "h w 3"]
    is_object: Bool[ndarray, "h w"] | None
    allowed: Bool[ndarray, "h w"]
    """The pixels of the pool."""


def view_pixels(store: PixelStore, view: int, allowed: Bool[Tensor, " pixels"]) -> ViewPixels:
    """Photograph, mask and pool of one view, on the CPU; `allowed` covers the view alone."""
    photo, coverage = store.photo_and_foreground(view)
    foreground = None if coverage is None else (coverage >= FOREGROUND_LEVEL).numpy()
    return ViewPixels(photo.numpy(), foreground, allowed.view(photo.shape[:2]).numpy())


def normalised(importance: Float[ndarray, " n"], even_share: float) -> Float[ndarray, " n"]:
    """A share drawn evenly and the rest by importance, as a ratio with the mean 1; all 1 where nothing is important."""
    total = float(importance.sum(dtype=np.float64))
    if total <= 0.0:
        return np.ones_like(importance)
    return (even_share + (1.0 - even_share) * importance * (importance.size / total)).astype(np.float32)


class PixelMapSampler(RedistributingSampler):
    """Every photograph is drawn as often as evenly; its pixels in proportion to a map.

    A photograph whose map is zero everywhere (nothing to find in it) is drawn from evenly.
    """

    @abstractmethod
    def importance(self, view: ViewPixels) -> Float[ndarray, "h w"]:
        """How much each pixel counts, in any unit, not negative."""

    @property
    def even_share(self) -> float:
        """Share of the rays that ignore the map."""
        return 0.0

    def prepare(self, pool: Pool) -> None:
        ratios = pixel_ratios(pool, self.importance, self.even_share)
        self.cumulated = ratios.double().cumsum(0)

    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        return draw_weighted(self.cumulated, num)

    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        numbers = pool.numbers(flat)[0]
        before = torch.where(numbers > 0, self.cumulated.index_select(0, (numbers - 1).clamp_min(0)), 0.0)
        return ((self.cumulated.index_select(0, numbers) - before) * (pool.size / self.cumulated[-1])).float()


def pixel_ratios(
    pool: Pool, importance: Callable[[ViewPixels], Float[ndarray, "_h _w"]], even_share: float
) -> Float[Tensor, " pool"]:
    """The ratios of all pixels of the pool; each photograph's have the mean 1."""
    ratios = torch.empty(pool.size)

    def keep(begin: int, pixels: ViewPixels) -> None:
        found = normalised(importance(pixels)[pixels.allowed], even_share)
        ratios[begin : begin + len(found)] = torch.from_numpy(found)

    _each_view(pool, keep)
    return ratios.to(pool.store.device)


def mean_values(
    pool: Pool, value: Callable[[ViewPixels], Float[ndarray, "_h _w"]], shared_by: int
) -> Float[Tensor, " entries"]:
    """A map of each photograph at the pixels of the pool: means of `shared_by` of them that follow one another.

    Taken photograph by photograph, so that a value for every pixel of a large capture never has to be kept.
    """
    sums, writing = torch.zeros(-(-pool.size // shared_by)), Lock()

    def add(begin: int, pixels: ViewPixels) -> None:
        found = np.asarray(value(pixels)[pixels.allowed], dtype=np.float32)
        first, before = divmod(begin, shared_by)
        padded = np.pad(found, (before, -(before + len(found)) % shared_by))
        of_view = torch.from_numpy(padded.reshape(-1, shared_by).sum(axis=1))
        # The last pixels of one photograph share an entry with the first of the next.
        with writing:
            sums[first : first + len(of_view)] += of_view

    _each_view(pool, add)
    counts = torch.full_like(sums, float(shared_by))
    counts[-1] = pool.size - shared_by * (len(sums) - 1)
    return (sums / counts).to(pool.store.device)


def _each_view(pool: Pool, use: Callable[[int, ViewPixels], None]) -> None:
    """Call for each photograph with pixels of the pool, several at a time, with the number of its first."""
    store, bounds = pool.store, pool.view_bounds().tolist()

    def visit(view: int) -> None:
        begin, end = bounds[view], bounds[view + 1]
        if begin == end:
            return
        first, count = int(store.offset[view]), int(store.height[view] * store.width[view])
        allowed = torch.ones(count, dtype=torch.bool)
        if store.candidates is not None:
            allowed = torch.zeros(count, dtype=torch.bool)
            allowed[store.candidates[begin:end].cpu().long() - first] = True
        use(begin, view_pixels(store, view, allowed))

    # Threads are enough: the filters run outside the interpreter's lock.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        list(threads.map(visit, range(pool.num_views)))
