"""What is known of space before any training: where it is empty, and points that lie on the surface.

The object lies inside its masks' visual hull, so the distance to the hull bounds the distance to the object from below.
Rendering never samples outside the hull; without this bound the field could be negative right up to the hull and
beyond.

Structure-from-motion points lie on the surface, give or take their noise (Geo-NeuS). A few thousand of them show the
way into concavities that no outline shows, long before the photographs could, the more so as the line of sight from a
camera to a point that it sees is empty.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views

# Sightlines are believed from this far before the point (its noise) to that far (units of the region of interest), and
# the distance to the surface there is at least this share of the way back from the point.
_MARGIN, _REACH, _SURE_SHARE = 0.03, 1.0, 0.1


# Points of each kind looked at per step: few, next to the ten thousand samples on rays.
_FEW = 512


@dataclass(frozen=True)
class KnownPoints:
    """Random points with what is known there: `bound`, the least distance of free points, and points on the surface."""

    free: Float[Tensor, "free 3"]
    bound: Float[Tensor, " free"]
    surface: Float[Tensor, "surface 3"]


class KnownSpace(nn.Module):
    """Free space and surface points of the unit box. Derived from the capture at the start of training, not saved."""

    cells: Tensor
    bound: Tensor
    points: Tensor
    weight_up_to: Tensor
    eyes: Tensor
    seen: Tensor
    usable_up_to: Tensor
    usable_share: float = 0.0

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.register_buffer("cells", torch.zeros(0, dtype=torch.long), persistent=False)
        self.register_buffer("bound", torch.zeros(resolution**3), persistent=False)
        self.register_buffer("points", torch.zeros(0, 3), persistent=False)
        # Sum of the weights up to each point: points that SfM was sure of are drawn more often.
        self.register_buffer("weight_up_to", torch.zeros(0), persistent=False)
        # The cameras that see `points` along sightlines, and the points they see, pair by pair.
        self.register_buffer("eyes", torch.zeros(0, 3), persistent=False)
        self.register_buffer("seen", torch.zeros(0, 3), persistent=False)
        # Sum of the lengths, up to each sightline, of the stretches of which something is known.
        self.register_buffer("usable_up_to", torch.zeros(0, dtype=torch.float64), persistent=False)

    def learn_hull(self, bound: Float[Tensor, "res res res"]) -> None:
        """Take in how far any point of each cell is at least from all that may hold object."""
        self.bound.copy_(bound.reshape(-1))
        self.cells = torch.nonzero(self.bound > 0)[:, 0]

    def learn_points(self, tracks: SfmTracks, views: Views, allowed: Bool[Tensor, "res res res"]) -> SfmTracks:
        """Take in points of the surface and the cameras that see them, all in the unit frame; returns what is kept.

        Points in cells that are not allowed are background or mistakes.
        """
        cell = ((tracks.points + 1) * (self.resolution / 2)).floor().long()
        keep = ((cell >= 0) & (cell < self.resolution)).all(-1)
        cell = cell.clamp(0, self.resolution - 1)
        keep &= allowed.to(cell.device)[cell[:, 0], cell[:, 1], cell[:, 2]]
        tracks = tracks.subset(keep)
        self.points = tracks.points.to(self.points)
        self.weight_up_to = torch.cumsum(tracks.weight, 0).to(self.points)
        self.eyes = views.world_from_camera[tracks.view, :, 3].to(self.points)
        self.seen = tracks.points[tracks.point].to(self.points)
        usable = (self._usable_until(self.eyes - self.seen, self.seen) - _MARGIN).clamp_min(0)
        # In float64, for a sum over millions of sightlines still has to tell one from the next.
        self.usable_up_to = torch.cumsum(usable.double(), 0)
        self.usable_share = float(usable.mean()) / (_REACH - _MARGIN) if len(usable) else 0.0
        return tracks

    def draw_few(self, in_sight: bool, surface: bool) -> KnownPoints:
        """As many as a training step looks at, of what counts."""
        return self.draw(_FEW, _FEW * in_sight, _FEW * surface)

    def draw(self, free: int, in_sight: int, surface: int) -> KnownPoints:
        """Random free points, off the hull and on sightlines, and surface points."""
        outside, bound = self._off_the_hull(free)
        on_sightlines, small = self._on_sightlines(in_sight)
        return KnownPoints(torch.cat([outside, on_sightlines]), torch.cat([bound, small]), self._on_surface(surface))

    def _on_surface(self, count: int) -> Float[Tensor, "surface 3"]:
        """Points by their weight."""
        if len(self.points) == 0:
            return self.points
        goal = torch.rand(count, device=self.points.device) * self.weight_up_to[-1]
        # Rounding may carry the goal beyond the last point.
        return self.points[torch.searchsorted(self.weight_up_to, goal).clamp(max=len(self.points) - 1)]

    def _on_sightlines(self, count: int) -> tuple[Float[Tensor, "free 3"], Float[Tensor, " free"]]:
        """Points between a camera and what it sees, not too near that, with a distance they surely have.

        Even over all that is usable of the sightlines; so many as would be usable of `count` drawn from their whole
        reach, which are not to be counted while training: on CUDA the host would wait for it.
        """
        count = round(self.usable_share * count)
        goal = torch.rand(count, dtype=torch.float64, device=self.eyes.device)
        if count:
            goal *= self.usable_up_to[-1]
        # Rounding may carry the goal beyond the last sightline.
        pair = torch.searchsorted(self.usable_up_to, goal).clamp(max=max(len(self.eyes) - 1, 0))
        seen, towards = self.seen[pair], self.eyes[pair] - self.seen[pair]
        until = self._usable_until(towards, seen)
        back = _MARGIN + torch.rand(count, device=goal.device) * (until - _MARGIN).clamp_min(0)
        return seen + F.normalize(towards, dim=-1) * back[:, None], _SURE_SHARE * back

    @staticmethod
    def _usable_until(towards: Float[Tensor, "pairs 3"], seen: Float[Tensor, "pairs 3"]) -> Float[Tensor, " pairs"]:
        """How far from the point its sightline is believed: to the camera, the ball's surface or the end of reach."""
        length = towards.norm(dim=-1)
        along = (F.normalize(towards, dim=-1) * seen).sum(-1)
        leaves = -along + (along.square() + 1 - seen.square().sum(-1)).clamp_min(0).sqrt()
        return torch.minimum(length, leaves).clamp_max(_REACH)

    def _off_the_hull(self, count: int) -> tuple[Float[Tensor, "free 3"], Float[Tensor, " free"]]:
        """Points uniform over the cells outside the hull, with their least distance to it."""
        count = count if len(self.cells) else 0
        cell = self.cells[torch.randint(max(len(self.cells), 1), (count,), device=self.cells.device)]
        res = self.resolution
        index = torch.stack([cell // res**2, cell // res % res, cell % res], 1)
        inside = torch.rand(count, 3, device=cell.device)
        return (index + inside) * (2 / res) - 1, self.bound[cell]
