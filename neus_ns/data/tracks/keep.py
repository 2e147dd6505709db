"""Which tracks are worth believing: those whose observations agree, on the object, and not far out."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views

# An observation is wrong beyond this many robust standard deviations above the median error, and never below a pixel.
_DEVIATIONS, _LEAST_LIMIT_PX = 5.0, 1.0
_MAD_TO_DEVIATION = 1.4826
# A mask's outline may be off by this, and a point belongs to the object if so many of its views say so.
_MASK_MARGIN_PX, _LEAST_SHARE_IN_MASKS = 2, 0.75
# Points further from the middle than this many times the distance that nine in ten keep are mistakes.
_FAR_OUT = 5.0


def agreeing(error_px: Float[Tensor, " pairs"]) -> Bool[Tensor, " pairs"]:
    """Which observations lie about as near to their point's projection as most do; those not measured count as such."""
    known = error_px[error_px.isfinite()]
    if len(known) == 0:
        return error_px.isnan()
    median = known.median()
    deviation = _MAD_TO_DEVIATION * (known - median).abs().median()
    limit = (median + _DEVIATIONS * deviation).clamp_min(_LEAST_LIMIT_PX)
    return error_px.isnan() | (error_px <= limit)


def on_object(tracks: SfmTracks, views: Views) -> SfmTracks:
    """The points that most of their views show inside the mask, with the pairs that do; all of them without masks."""
    if views.masks is None:
        return tracks
    inside = torch.zeros(len(tracks.view), dtype=torch.bool)
    bounds = tracks.first_pair.tolist()
    for number, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        inside[start:stop] = _in_mask(views, number, tracks.points[tracks.point[start:stop]])
    seen = torch.bincount(tracks.point, minlength=len(tracks))
    inside_times = torch.bincount(tracks.point[inside], minlength=len(tracks))
    return tracks.subset((seen > 0) & (inside_times >= _LEAST_SHARE_IN_MASKS * seen), inside)


def _in_mask(views: Views, view: int, points: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
    """Whether the mask is within its margin of each point's projection."""
    assert views.masks is not None
    mask = views.masks[view]
    height, width = mask.shape
    pose = views.world_from_camera[view]
    local = (points.to(pose) - pose[:, 3]) @ pose[:, :3]
    depth = (-local[:, 2]).clamp_min(1e-6)
    column = (views.fx[view] * local[:, 0] / depth + views.cx[view]).long()
    row = (-views.fy[view] * local[:, 1] / depth + views.cy[view]).long()
    reach = torch.tensor([-_MASK_MARGIN_PX, 0, _MASK_MARGIN_PX])
    rows: Int[Tensor, "points three one"] = (row[:, None, None] + reach[:, None]).clamp(0, height - 1)
    columns: Int[Tensor, "points one three"] = (column[:, None, None] + reach).clamp(0, width - 1)
    return mask[rows, columns].flatten(1).any(dim=1)


def near_the_rest(tracks: SfmTracks) -> SfmTracks:
    """Without the points that lie far out: nearly parallel rays meet anywhere."""
    if len(tracks) == 0:
        return tracks
    distance = (tracks.points - tracks.points.median(dim=0).values).norm(dim=-1)
    usual = distance.kthvalue(max(1, round(0.9 * len(distance)))).values
    return tracks.subset(distance <= _FAR_OUT * usual)
