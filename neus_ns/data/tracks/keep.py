"""Which tracks are worth believing: those whose observations agree, on the object, and not far out."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neus_ns.data.hull import Silhouettes, sight
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views

# An observation is wrong beyond this many robust standard deviations above the median error, and never below a pixel.
_DEVIATIONS, _LEAST_LIMIT_PX = 5.0, 1.0
_MAD_TO_DEVIATION = 1.4826
# A point of the object was found within the masks of at least so many of its photographs ...
_LEAST_SHARE_INSIDE = 0.75
# ... and of all that look at its place at most so many show background there, more than a pixel from the outline.
_LARGEST_SHARE_OFF, OUTLINE_PX = 0.05, 1.5
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
    """The points that the masks show as object, with the pairs that do; all of them without masks.

    They lie in the masks of most photographs in which they were found, and nearly on them in all others. What lies just
    beside an object, or only seems to be where its outline crosses the background, would pull the surface outwards.
    """
    if views.masks is None:
        return tracks
    inside = torch.zeros(len(tracks.view), dtype=torch.bool)
    in_frame, off = torch.zeros(len(tracks), dtype=torch.int64), torch.zeros(len(tracks), dtype=torch.int64)
    points = tracks.points.to(views.world_from_camera)
    bounds = tracks.first_pair.tolist()
    prepared = Silhouettes(views, beyond_frame_is_object=True)
    for silhouette, start, stop in zip(prepared, bounds[:-1], bounds[1:], strict=True):
        found = sight(silhouette, points[tracks.point[start:stop]], 0.0, 0.0)
        inside[start:stop] = found.in_frame & ~found.is_background
        anywhere = sight(silhouette, points, 0.0, OUTLINE_PX)
        in_frame += anywhere.in_frame
        off += anywhere.is_background
    seen = torch.bincount(tracks.point, minlength=len(tracks))
    inside_times = torch.bincount(tracks.point[inside], minlength=len(tracks))
    mostly = (seen > 0) & (inside_times >= _LEAST_SHARE_INSIDE * seen)
    return tracks.subset(mostly & nearly_on_masks(in_frame, off), inside)


def nearly_on_masks(
    times_in_frame: Int64[Tensor, " points"], times_off: Int64[Tensor, " points"]
) -> Bool[Tensor, " points"]:
    """Which points hardly any view that has them in frame shows beside the object, `OUTLINE_PX` from its outline."""
    return times_off <= _LARGEST_SHARE_OFF * times_in_frame


def near_the_rest(tracks: SfmTracks) -> SfmTracks:
    """Without the points that lie far out: nearly parallel rays meet anywhere."""
    if len(tracks) == 0:
        return tracks
    distance = (tracks.points - tracks.points.median(dim=0).values).norm(dim=-1)
    usual = distance.kthvalue(max(1, round(0.9 * len(distance)))).values
    return tracks.subset(distance <= _FAR_OUT * usual)
