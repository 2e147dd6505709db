"""How far an object reaches that its masks leave open in depth, told by the structure-from-motion points on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.data.hull import LEAST_WITNESSES, Silhouette, sight
from neus_ns.data.tracks.keep import OUTLINE_PX, nearly_on_masks

# Fewer points than this say too little about an extent.
LEAST_POINTS = 30
# Points further out than this share of all along an axis, and from their middle, may be mistakes.
_INNER_SHARE = 0.95
# From the middle of its near side, which is all that points may show, an object as deep as it is wide ends at twice
# half its width. The price is small: masks cut the ball on all sides but in depth.
_MARGIN = 2.0


@dataclass(frozen=True)
class Reach:
    """A ball around points on an object that is to hold all of it."""

    centre: Float[Tensor, "3"]
    radius: float
    points: int

    def holds(self, places: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
        return (places - self.centre).norm(dim=-1) <= self.radius


def object_reach(prepared: Sequence[Silhouette], points: Float[Tensor, "points 3"]) -> Reach | None:
    """The ball around those of the points that are on the object; None where they are too few."""
    times_seen = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    times_off = torch.zeros_like(times_seen)
    for silhouette in prepared:
        found = sight(silhouette, points, 0.0, OUTLINE_PX)
        times_seen += found.in_frame
        times_off += found.is_background
    points = points[(times_seen >= LEAST_WITNESSES) & nearly_on_masks(times_seen, times_off)]
    if len(points) < LEAST_POINTS:
        return None
    low, high = (points.quantile(share, dim=0) for share in (1 - _INNER_SHARE, _INNER_SHARE))
    middle = (low + high) / 2
    # Texture may be on a small part of the object only, but the masks show all of its width.
    widths = [width for width in (_half_width(each, middle) for each in prepared) if width is not None]
    extent = float((points - middle).norm(dim=-1).quantile(_INNER_SHARE))
    if widths:
        extent = max(extent, float(torch.tensor(widths).median()))
    return Reach(middle, _MARGIN * extent, len(points))


def _half_width(silhouette: Silhouette, point: Float[Tensor, "3"]) -> float | None:
    """How far from a point, at its depth, a mask reaches; None where the point is behind the camera."""
    matrix = silhouette.camera_from_world.to(point)
    x, y, z = (matrix[:, :3] @ point + matrix[:, 3]).tolist()
    if z >= 0:
        return None
    row, column = (silhouette.distance_px == 0).nonzero().double().add(0.5).unbind(-1)
    across = (column - silhouette.cx) / silhouette.fx * -z - x
    upwards = (silhouette.cy - row) / silhouette.fy * -z - y
    return float(torch.hypot(across, upwards).max())
