"""The record of structure-from-motion tracks: points of the surface, and which training view sees which of them."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neus_ns.data.frame import transform_points

# The best point is drawn at most this many times as often as the worst.
_MOST_PREFERENCE = 10.0


@dataclass(frozen=True)
class SfmTracks:
    """Points in any one frame, and pairs of a training view and a point that it sees, sorted by view.

    `track_length` counts the photographs that a point was found in, held-out ones included; 0 where nobody recorded it.
    `error_px` is how far, on average, a point projects from where the training photographs show it; NaN where nobody
    measured it.
    """

    points: Float[Tensor, "points 3"]
    track_length: Int[Tensor, " points"]
    error_px: Float[Tensor, " points"]
    view: Int[Tensor, " pairs"]
    point: Int[Tensor, " pairs"]
    view_count: int
    source: str

    def __len__(self) -> int:
        return len(self.points)

    def moved(self, new_from_old: Float[Tensor, "4 4"]) -> "SfmTracks":
        """The same tracks with the points in another frame."""
        return replace(self, points=transform_points(new_from_old, self.points))

    def to(self, device: torch.device | str) -> "SfmTracks":
        """The same tracks on another device."""
        names = ("points", "track_length", "error_px", "view", "point")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def subset(self, points: Bool[Tensor, " points"], pairs: Bool[Tensor, " pairs"] | None = None) -> "SfmTracks":
        """Only these points, with those of their pairs that are to stay (by default all)."""
        stays = points[self.point] if pairs is None else points[self.point] & pairs
        new_number = torch.cumsum(points, 0) - 1
        return replace(
            self,
            points=self.points[points],
            track_length=self.track_length[points],
            error_px=self.error_px[points],
            view=self.view[stays],
            point=new_number[self.point[stays]],
        )

    @cached_property
    def weight(self) -> Float[Tensor, " points"]:
        """How much each point deserves to be drawn: 1 at best, never less than a tenth.

        A point's position varies with its reprojection error and, like any mean, inversely with how often it was seen.
        """
        # As one photograph determines no point, only those beyond the first speak for it.
        length = torch.where(self.track_length > 0, 1 - 1 / self.track_length.clamp_min(1).to(self.points), 1.0)
        known = self.error_px.isfinite()
        error = torch.where(known, self.error_px, 0.0)
        typical = error[known].median().clamp_min(1e-6) if bool(known.any()) else error.new_tensor(1.0)
        return (length / (1 + (error / (2 * typical)).square())).clamp_min(1 / _MOST_PREFERENCE)

    @cached_property
    def first_pair(self) -> Int[Tensor, " views_and_one"]:
        """The pairs of view v are those from `first_pair[v]` to `first_pair[v + 1]`."""
        views = torch.arange(self.view_count + 1, device=self.view.device)
        return torch.searchsorted(self.view.contiguous(), views)

    @cached_property
    def _weight_before(self) -> Float[Tensor, " pairs_and_one"]:
        """Sum of the weights of all pairs before each; float64, as small differences of large sums matter."""
        total = torch.cumsum(self.weight[self.point].double(), 0)
        return torch.cat([total.new_zeros(1), total])

    def draw_seen_by(
        self, views: Int[Tensor, " batch"], count: int
    ) -> tuple[Int[Tensor, " drawn"], Int[Tensor, " drawn"]]:
        """`count` random pairs (view, point) of views of this batch: first a view, then by weight a point that it sees.

        A view that is there twice comes twice as often; views that see nothing are passed over, and if none of them
        sees anything, any pairs come. Empty without any. How many views see something is nothing to wait for.
        """
        if len(self.view) == 0 or len(views) == 0:
            return self.view[:0], self.point[:0]
        first = self.first_pair
        seeing = torch.cumsum(first[views + 1] > first[views], 0)
        chance = torch.rand(2, count, device=views.device, dtype=torch.float64)
        number = (chance[0] * seeing[-1]).long().minimum(seeing[-1] - 1)
        view = views[torch.searchsorted(seeing, number, right=True).clamp_max(len(views) - 1)]
        begin = torch.where(seeing[-1] > 0, first[view], 0)
        end = torch.where(seeing[-1] > 0, first[view + 1], len(self.view))
        low, high = self._weight_before[begin], self._weight_before[end]
        pair = torch.searchsorted(self._weight_before, low + chance[1] * (high - low), right=True) - 1
        # Rounding may carry the goal to the very end of the view's stretch.
        pair = torch.minimum(torch.maximum(pair, begin), end - 1)
        return self.view[pair], self.point[pair]

    def summary(self) -> str:
        """One line for the log."""
        text = f"{len(self)} points and {len(self.view)} sightlines kept of {self.source}"
        recorded = self.track_length[self.track_length > 0]
        text += f"; median track length {int(recorded.median())}" if len(recorded) else ""
        known = self.error_px[self.error_px.isfinite()]
        return text + (f", median error {float(known.median()):.2f} px" if len(known) else "")
