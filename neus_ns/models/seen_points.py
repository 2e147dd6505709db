"""Structure-from-motion points as witnesses for the photographs of a batch: each photograph speaks for what it sees."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.models.known_space import KnownSpace

# Error of a point in pixels where nobody measured it, and what is added to measured ones: few views always agree.
_UNKNOWN_ERROR_PX, _LEAST_ERROR_PX = 1.0, 0.3
# A point is less certain along its lines of sight than across them, by about this factor at usual angles.
_ALONG_SIGHT = 2.0


@dataclass(frozen=True)
class SeenPoints:
    """Points of the surface that certain photographs see, and how far off they may typically be."""

    points: Float[Tensor, "points 3"]
    noise: Float[Tensor, " points"]


def point_noise(tracks: SfmTracks, views: Views) -> Float[Tensor, " points"]:
    """Typical distance of each point from the surface: its error in pixels, as large as a pixel is there, over the root
    of the number of photographs beyond the first that it was found in."""
    distance = (views.world_from_camera[tracks.view, :, 3].to(tracks.points) - tracks.points[tracks.point]).norm(dim=-1)
    pixel = distance / views.fx.to(distance)[tracks.view]
    pairs = torch.bincount(tracks.point, minlength=len(tracks)).to(pixel)
    pixel_there = torch.zeros_like(pairs).index_add_(0, tracks.point, pixel) / pairs.clamp_min(1)
    # A point that no training photograph sees is never drawn; the mean keeps its noise a number.
    pixel_there = torch.where(pairs > 0, pixel_there, pixel.mean() if len(pixel) else 1.0)
    error = torch.where(tracks.error_px.isfinite(), tracks.error_px, _UNKNOWN_ERROR_PX).to(pixel) + _LEAST_ERROR_PX
    seen = torch.where(tracks.track_length > 0, tracks.track_length, 2)
    return _ALONG_SIGHT * error * pixel_there / (seen - 1).clamp_min(1).to(pixel).sqrt()


class SeenSpace(KnownSpace):
    """`KnownSpace` that also knows which photograph sees which point."""

    noise: Tensor

    def __init__(self, resolution: int) -> None:
        super().__init__(resolution)
        self.tracks: SfmTracks | None = None
        self.register_buffer("noise", torch.zeros(0), persistent=False)

    def learn_points(self, tracks: SfmTracks, views: Views, allowed: Bool[Tensor, "res res res"]) -> SfmTracks:
        """Take in points of the surface and the cameras that see them, all in the unit frame."""
        kept = super().learn_points(tracks, views, allowed)
        self.noise = point_noise(kept, views).to(self.points)
        self.tracks = kept.to(self.points.device)
        return kept

    def _on_surface(self, count: int) -> Float[Tensor, "surface 3"]:
        """None: points of the surface are drawn by the photographs that see them."""
        del count
        return self.points[:0]

    def draw_seen_by(self, views: Int[Tensor, " batch"], count: int) -> SeenPoints:
        """Random points that these photographs see, the surer ones more often; of others if they see none."""
        if self.tracks is None:
            return SeenPoints(self.points[:0], self.noise[:0])
        _, point = self.tracks.draw_seen_by(views, count)
        return SeenPoints(self.points[point], self.noise[point])
