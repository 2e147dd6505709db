"""Pixels that walk towards large errors by Langevin Monte-Carlo (soft mining)."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from neus_ns.data.pixel_store import PixelStore
from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch
from neus_ns.pixels.cells import Cells, interleaved
from neus_ns.pixels.pixel_map import pixel_ratios
from neus_ns.pixels.pool import Pool, draw_weighted_evenly
from neus_ns.pixels.redistribute import RedistributingConfig, RedistributingSampler

# Photographs are cut into up to 2^depth cells to a side, on which the noise of the walk is laid out.
_DEEPEST = 6
# A drift is no longer than so many standard deviations of the noise: where errors vanish their logarithm is a cliff.
_LONGEST_DRIFT = 2.0


@dataclass
class SoftMiningPixelSamplerConfig(RedistributingConfig):
    """Rays as particles that climb the error of the rendering, corrected for being drawn more often there."""

    _target: type = field(default_factory=lambda: SoftMiningPixelSampler)
    """Target class to instantiate."""
    correction: float = 0.6
    """The method's alpha: 0 only looks at large errors, 1 is unbiased."""
    warm_up: float = 0.05
    """Share of training over which the correction grows from 0."""
    noise: float = 0.02
    """Standard deviation of a random step, in widths and heights of the photograph."""
    drift: float = 1.0
    """Length of the steps uphill, where 1 makes the particles settle by the error itself."""
    restart_share: float = 0.1
    """Share of the particles, those of the least error, that start anew in each step."""
    edge_share: float = 0.5
    """Share of the new starts that are at edges; the others are anywhere."""
    uniform_share: float = 0.1
    """Share of rays drawn evenly, whatever the particles do; bounds the correction."""


class SoftMiningPixelSampler(RedistributingSampler):
    """Each particle moves by drift * noise^2 / 2 * grad log Q, where Q is its ray's error, then by Gaussian noise.

    Noise is added to all particles of a photograph at once: their density, on a grid, is blurred by the Gaussian, new
    starts are added to it, and the next rays are drawn from the sum, spread over it as evenly as chance allows. Each
    particle's next place is distributed as in a walk of its own, but here the distribution that rays are drawn from is
    known before they are rendered, so that correction = 1 is unbiased whether or not the walk has settled. A particle
    that leaves its photograph or the pool starts anew in the same photograph; photographs are drawn as often as evenly.
    """

    config: SoftMiningPixelSamplerConfig
    memory_names = ("view", "place", "alive")

    def __init__(self, config: SoftMiningPixelSamplerConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        if config.noise <= 0.0 or config.drift < 0.0 or config.warm_up < 0.0:
            raise InputError("Soft mining's noise has to be above 0, its drift and warm_up 0 or more.")
        self._heard: tuple[PixelBatch, Tensor] | None = None

    @property
    def correction_now(self) -> float:
        ramp = 1.0 if self.config.warm_up == 0.0 else min(self.progress / self.config.warm_up, 1.0)
        return self.config.correction * ramp

    def prepare(self, pool: Pool) -> None:
        device = pool.store.device
        # No cell is smaller than a pixel: particles in empty cells would have to start anew.
        smallest = int(torch.minimum(pool.store.width, pool.store.height).min())
        depth = min(_DEEPEST, smallest.bit_length() - 1)
        self.side = 1 << depth
        self.cells = Cells(pool, depth)
        self.run = self.cells.runs(self.cells.level(depth))
        axis = torch.arange(self.side, device=device)
        row, col = torch.meshgrid(axis, axis, indexing="ij")
        # Cells are counted along the Z-curve; a blur wants them by row and column.
        self.place_on_curve = interleaved(row.flatten(), col.flatten(), depth)
        pixels = self.run.diff().float()
        edges = torch.zeros_like(pixels)
        ratios = pixel_ratios(pool, lambda view: sobel(view.photo), 0.0)
        edges.index_add_(0, self.cells.sorted_key.long(), ratios.index_select(0, self.cells.number))
        self.pixels, edges = self._by_view(pixels), self._by_view(edges)
        self.of_view = self.pixels.sum((1, 2), keepdim=True)
        share, at_least_one = self.config.edge_share, self.of_view.clamp_min(1.0)
        starts = share * edges / edges.sum((1, 2), keepdim=True).clamp_min(1e-12)
        self.starts = starts + (1.0 - share) * self.pixels / at_least_one
        if not self.memory:
            self.memory = {
                "view": torch.zeros(0, dtype=torch.int64, device=device),
                "place": torch.zeros(0, 2, device=device),
                "alive": torch.zeros(0, dtype=torch.bool, device=device),
            }
        if len(self.memory["view"]) and int(self.memory["view"].max()) >= pool.num_views:
            raise InputError(
                "The checkpoint's particles are in more photographs than there are; resume with those the run was "
                "started with."
            )
        self._lay_out()

    def _by_view(self, per_cell: Float[Tensor, " cells"]) -> Float[Tensor, "views side side"]:
        return per_cell.view(-1, self.side**2).index_select(1, self.place_on_curve).view(-1, self.side, self.side)

    def propose(self, store: PixelStore, num_rays: int) -> PixelBatch:
        self._move()
        batch = super().propose(store, num_rays)
        positions = batch.indices[:, 1:].flip(-1).float() + 0.5
        return replace(batch, positions=positions.requires_grad_())

    def observe(self, batch: PixelBatch, error_per_ray: Float[Tensor, " rays"]) -> None:
        # The backward pass, and with it the gradient by position, is yet to come.
        self._heard = (batch, error_per_ray)

    def state_dict(self) -> dict[str, Tensor]:
        self._move()
        return super().state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self._heard = None

    def _move(self) -> None:
        """Let the particles of the last batch drift. Without a backward pass there was no step, and they stay."""
        heard, self._heard = self._heard, None
        positions = None if heard is None else heard[0].positions
        if heard is None or positions is None or positions.grad is None:
            return
        batch, error = heard[0], heard[1].float()
        pool = self.pool_of_last_proposal
        inside = self.numbers_of(batch)[1]
        # The loss is a mean over rays of weighted errors; what the walk needs is the gradient of one error's logarithm.
        scale = len(error) / (batch.weight * error).clamp_min(1e-12)
        size = torch.stack((pool.store.width, pool.store.height), dim=-1).index_select(0, batch.indices[:, 0])
        slope = positions.grad.to(error.device) * scale[:, None] * size
        drift = 0.5 * self.config.drift * self.config.noise**2 * slope
        length = torch.linalg.vector_norm(drift, dim=-1, keepdim=True).clamp_min(1e-12)
        drift = drift * (_LONGEST_DRIFT * self.config.noise / length).clamp_max(1.0)
        place = (positions.detach() + self._off_centre(batch.indices[:, 1:].flip(-1), size)) / size + drift
        known = torch.isfinite(error) & torch.isfinite(place).all(-1)
        alive = known & ((place >= 0) & (place < 1)).all(-1) & ~self._least(error, inside & known)
        place = torch.where(known[:, None], place, 0.0)
        self.memory = {"view": batch.indices[inside, 0], "place": place[inside], "alive": alive[inside]}
        self._lay_out()

    def _off_centre(self, pixel: Int64[Tensor, "rays 2"], size: Int64[Tensor, "rays 2"]) -> Float[Tensor, "rays 2"]:
        """From the middle of the pixels of each pixel's cell to the middle of the cell.

        Sides that are no multiple of the number of cells have cells whose pixels lie to one side. Drawn anew from its
        cell in every step, a particle would wander to that side for no reason.
        """
        cell = torch.div(pixel * self.side, size, rounding_mode="floor")
        first = torch.div(cell * size + self.side - 1, self.side, rounding_mode="floor")
        end = torch.div((cell + 1) * size + self.side - 1, self.side, rounding_mode="floor")
        return (cell + 0.5) * size / self.side - (first + end) / 2

    def _least(self, error: Float[Tensor, " rays"], among: Bool[Tensor, " rays"]) -> Bool[Tensor, " rays"]:
        """Which rays have an error below that of the restart share."""
        count = int(self.config.restart_share * int(among.sum()))
        if count == 0:
            return torch.zeros_like(among)
        return error < torch.where(among, error, torch.inf).kthvalue(count).values

    def _lay_out(self) -> None:
        """The distribution of the next rays over the cells."""
        view, place, alive = (self.memory[name] for name in self.memory_names)
        col, row = (place * self.side).long().clamp(0, self.side - 1).unbind(-1)
        cell = (view * self.side + row) * self.side + col
        particles = torch.bincount(cell[alive], minlength=self.pixels.numel()).view_as(self.pixels)
        moved = torch.where(self.pixels > 0, blurred(particles.float(), self.config.noise), 0.0)
        in_view = torch.bincount(view, minlength=len(self.pixels)).float()[:, None, None]
        # All that left, died or was blurred to where no pixel is starts anew.
        anew = (in_view - moved.sum((1, 2), keepdim=True)).clamp_min(0.0)
        walked = torch.where(in_view > 0, (moved + anew * self.starts) / in_view.clamp_min(1.0), self.starts)
        share = self.config.uniform_share
        by_row = (1.0 - share) * self.of_view * walked + share * self.pixels
        chance = torch.empty_like(by_row).flatten(1)
        chance[:, self.place_on_curve] = by_row.flatten(1)
        self.cumulated = chance.flatten().double().cumsum(0)
        pixels = self.run.diff()
        relative = chance.flatten() / pixels.clamp_min(1)
        self.cell_ratio = relative * float(pixels.sum()) / self.cumulated[-1].float()

    def _draw(self, pool: Pool, num: int) -> Int64[Tensor, " num"]:
        return self.cells.draw(self.run, draw_weighted_evenly(self.cumulated, num))

    def _ratio(self, pool: Pool, flat: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        return self.cell_ratio.index_select(0, self.cells.key(flat))


def blurred(per_cell: Float[Tensor, "views side side"], sigma: float) -> Float[Tensor, "views side side"]:
    """Counts after a Gaussian step of this standard deviation, in widths of the grid; what leaves the grid is lost.

    Sorting into cells and drawing anywhere in a cell are steps of a cell's own spread each, which the blur leaves out.
    """
    side = per_cell.shape[-1]
    variance = max((sigma * side) ** 2 - 1 / 6, 0.0)
    reach = int(np.ceil(3.5 * variance**0.5))
    if reach == 0:
        return per_cell
    offset = torch.arange(-reach, reach + 1, device=per_cell.device)
    kernel = torch.exp(-0.5 * offset**2 / variance)
    kernel = kernel / kernel.sum()
    # A product with a band matrix: for so small a grid faster than a convolution.
    axis = torch.arange(side, device=per_cell.device)
    apart = axis[:, None] - axis[None, :]
    band = torch.where(apart.abs() <= reach, kernel[(apart + reach).clamp(0, 2 * reach)], 0.0)
    return band @ per_cell @ band


def sobel(photo: UInt8[ndarray, "h w 3"]) -> Float[ndarray, "h w"]:
    """Length of the grey photograph's gradient as a share of the largest, at least 0.00001."""
    grey = np.pad(cv2.cvtColor(np.ascontiguousarray(photo), cv2.COLOR_RGB2GRAY).astype(np.float32), 1, mode="edge")
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))[1:-1, 1:-1]
    return np.maximum(slope / max(float(slope.max()), 1e-6), 1e-5).astype(np.float32)
