"""Finds the region of interest: the ball that holds what is to be reconstructed. It becomes our unit ball.

What is known decides the rule, best first: the visual hull of the masks, then a ball that the capture itself gives,
then the SfM points that most cameras look at, then the cameras alone. A ball too small loses parts for good, one too
large only costs resolution; so all rules err on the large side, except that an `object` never reaches out to its
cameras unless masks say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.focus import Focus, camera_centres, focus_of_axes, share_ahead, share_in_frame, viewing_directions
from neus_ns.data.frame import SceneFrame, similarity
from neus_ns.data.points_on_masks import LEAST_POINTS
from neus_ns.data.region_masks import hull_ball
from neus_ns.data.region_options import SceneType
from neus_ns.data.views import Views
from neus_ns.data.world import world_from_parser
from neus_ns.errors import InputError

# More points than this are thinned out evenly: quantiles do not change by it.
_MOST_POINTS = 50_000
_POINTS_MARGIN = 1.15
# Added to that margin when all cameras look the same way: points then cover the near side of the object only.
_ONE_SIDED_MARGIN = 0.3
_INDOOR_MARGIN = 1.1
# Largest share of the nearest camera's distance that an object's radius takes when no masks bound it.
_NEAREST_SHARE = 0.95
# Without points the walls of a room are assumed to be as far behind the cameras as these are from their middle.
_ROOM_FACTOR = 2.0


@dataclass(frozen=True)
class Region:
    """A ball in nerfstudio's parser frame (float64), and in a few words how it was found.

    `corners` are those of the box that the ball was laid around, where the user gave one.
    """

    centre: Float[Tensor, "3"]
    radius: float
    how: str
    corners: Float[Tensor, "8 3"] | None = None


def find_region(
    views_parser: Views,
    points_parser: Float[Tensor, "points 3"] | None,
    scene_type: SceneType,
    mask_names: Sequence[str] | None = None,
    given: Region | None = None,
) -> Region:
    """The region of interest from whatever is known. `mask_names`, one a view, are for messages about bad masks.

    `given` is what the capture itself says of the object; only masks, which show it, are believed before that.

    object      Masks: ball around the visual hull; where that is open behind, around what points on the object leave of
                it. Points: ball around those that most cameras look at, kept clear of the cameras. Neither: half of the
                nearest camera's distance around the point that the cameras look at.
    unbounded   As object, but the ball may hold cameras; without masks its radius is half to all of the median camera
                distance. What lies beyond is left to the background model.
    indoor      Ball around the cameras and the points. Masks are not used, since they do not bound a room.
    """
    if scene_type == "indoor":
        return _room(views_parser, points_parser)
    focus = focus_of_axes(views_parser)
    if share_ahead(views_parser, focus.point) <= 0.5:
        raise InputError(
            f"The cameras look away from each other, not at a common {scene_type} scene; choose the scene type "
            "`indoor` if they stand in a room, else check the poses (OpenGL axes, camera to world)."
        )
    if views_parser.masks is not None:
        names = mask_names or [f"number {index + 1} of the training views" for index in range(len(views_parser.masks))]
        points = None if points_parser is None else _thinned(views_parser, points_parser)
        ball = hull_ball(views_parser, focus, names, points)
        nearest = _camera_distances(views_parser, ball.centre).min()
        remark = ", which reaches out to the cameras" if ball.radius > nearest else ""
        return Region(ball.centre, ball.radius, f"visual hull of {len(names)} masks{remark}{ball.remark}")
    if given is not None:
        return given
    looked_at = None if points_parser is None else _points_looked_at(views_parser, points_parser, focus.is_known)
    if looked_at is None:
        return _from_cameras(views_parser, focus.point, scene_type)
    return _from_points(views_parser, focus, looked_at, scene_type)


def make_scene_frame(
    region: Region,
    dataparser_transform: Float[Tensor, "3 4"],
    dataparser_scale: float,
    data_path: Path | None,
) -> SceneFrame:
    """The scene frame of a region.

    `data_path` is the folder or json that nerfstudio's own dataparser read; None for any other dataparser.
    """
    return SceneFrame(
        parser_from_unit=similarity(region.radius, region.centre.cpu()),
        world_from_parser=world_from_parser(dataparser_transform, dataparser_scale, data_path),
    )


def _camera_distances(views: Views, centre: Float[Tensor, "3"]) -> Float[Tensor, " views"]:
    return (camera_centres(views) - centre).norm(dim=-1)


def _from_cameras(views: Views, focus: Float[Tensor, "3"], scene_type: SceneType) -> Region:
    distances = _camera_distances(views, focus)
    if scene_type == "object":
        return Region(focus, 0.5 * float(distances.min()), "cameras alone: half way from their focus to the nearest")
    return Region(focus, float(distances.median()), "cameras alone: from their focus to the median camera")


def _thinned(views: Views, points: Float[Tensor, "points 3"]) -> Float[Tensor, "fewer 3"]:
    """Finite points, evenly thinned out where there are very many, in float64 on the views' device."""
    points = points.double().to(views.world_from_camera.device)
    points = points[torch.isfinite(points).all(-1)]
    return points[:: max(1, -(-len(points) // _MOST_POINTS))]


def _points_looked_at(
    views: Views, points: Float[Tensor, "points 3"], from_around: bool
) -> Float[Tensor, "chosen 3"] | None:
    """The points in frame of most cameras, of fewer if there are too few such points, or None.

    Of cameras that all look the same way, as along a street or down from the air, two are enough.
    """
    points = _thinned(views, points)
    shares = share_in_frame(views, points)
    for least_share in (0.7, 0.5, 0.3, *([] if from_around else [2 / len(views.fx)])):
        if int((shares >= least_share).sum()) >= LEAST_POINTS:
            return points[shares >= least_share]
    return None


def _from_points(views: Views, focus: Focus, points: Float[Tensor, "points 3"], scene_type: SceneType) -> Region:
    """The extent of the points around the cameras' focus; around their own middle if nobody knows better."""
    middle = points.median(0).values
    for start in (focus.point, middle) if focus.is_known else (middle,):
        found = _extent_around(views, start, points, scene_type)
        if found is not None:
            return found
    return _from_cameras(views, focus.point, scene_type)


def _extent_around(
    views: Views, centre: Float[Tensor, "3"], points: Float[Tensor, "points 3"], scene_type: SceneType
) -> Region | None:
    """Trimmed extent of the points, each weighing less the further it lies from the centre on the cameras' scale."""
    count = len(points)
    for _ in range(4):
        reach = _camera_distances(views, centre).median()
        distance = (points - centre).norm(dim=-1)
        if int((distance < reach).sum()) < LEAST_POINTS:
            return None
        # Surroundings that all cameras see behind the object (table, wall) fade out smoothly.
        weights = (1 + (2 * distance / reach) ** 2) ** -2 * (distance < reach)
        low, high = (_weighted_quantile(points, weights, share) for share in (0.02, 0.98))
        centre = (low + high) / 2
    distance = (points - centre).norm(dim=-1)
    one_sidedness = float((2 * viewing_directions(views).mean(0).norm() - 1).clamp(min=0))
    margin = _POINTS_MARGIN + _ONE_SIDED_MARGIN * one_sidedness
    radius = margin * float(_weighted_quantile(distance[:, None], weights, 0.98))
    how = f"{count} SfM points that most cameras look at"
    distances = _camera_distances(views, centre)
    if scene_type == "unbounded":
        median = float(distances.median())
        return Region(centre, min(max(radius, 0.5 * median), median), how)
    limit = _NEAREST_SHARE * float(distances.min())
    if radius > limit:
        return Region(centre, limit, f"{how}, cut short before the nearest camera")
    return Region(centre, radius, how)


def _weighted_quantile(
    values: Float[Tensor, "points axes"], weights: Float[Tensor, " points"], share: float
) -> Float[Tensor, " axes"]:
    """Along each axis, the value below which lies this share of the weight."""
    values, order = values.sort(dim=0)
    below = weights[order].cumsum(0)
    rank = (below < share * below[-1:]).sum(0).clamp(max=len(values) - 1)
    return values.gather(0, rank[None])[0]


def _room(views: Views, points: Float[Tensor, "points 3"] | None) -> Region:
    centres = camera_centres(views)
    seen = None
    if points is not None:
        points = _thinned(views, points)
        # A point in a single camera's frame was never triangulated from there: it is a stray.
        seen = points[share_in_frame(views, points) * len(centres) >= 2]
    if seen is None or len(seen) < LEAST_POINTS:
        middle = centres.mean(0)
        reach = float((centres - middle).norm(dim=-1).max())
        return Region(middle, _ROOM_FACTOR * reach, "cameras alone: a room twice as wide as their reach")
    low, high = seen.quantile(0.05, dim=0), seen.quantile(0.95, dim=0)
    middle = (torch.minimum(low, centres.amin(0)) + torch.maximum(high, centres.amax(0))) / 2
    reach = max(float((centres - middle).norm(dim=-1).max()), float((seen - middle).norm(dim=-1).quantile(0.95)))
    return Region(middle, _INDOOR_MARGIN * reach, f"cameras and {len(seen)} SfM points of the room")
