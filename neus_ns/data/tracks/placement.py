"""Brings a model into nerfstudio's frame by what its points look like there, not by what files claim about frames.

transforms.json may say how its poses were moved (`applied_transform`, `applied_scale`), may have lost it, or may belong
to another reconstruction than the model beside it. So every frame that the model might be in is tried, and the one in
which its points project to where they were seen is taken, if there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from neus_ns.data.frame import transform_points
from neus_ns.data.tracks.projection import photographed
from neus_ns.data.views import Views
from neus_ns.data.visibility import sightlines
from neus_ns.errors import InputError

# Median distance in pixels, and as a share of the photograph's width, above which points are not where they were seen.
_MOST_ERROR_PX, _MOST_ERROR_SHARE = 3.0, 0.003
# Medians that differ by less are the same.
_SAME_PX = 0.02
# So many observations tell a right frame from a wrong one.
_ENOUGH, _ENOUGH_POINTS = 20_000, 10_000
# Where no keypoints are at hand: the share of points that fall into the photographs that are said to see them, and how
# much more often than chance these see them unhidden.
_LEAST_IN_FRAME, _LEAST_ABOVE_CHANCE = 0.9, 0.1


class TracksError(InputError):
    """Tracks that cannot be used though their files are sound; whoever can do without them logs this and goes on."""


@dataclass(frozen=True)
class Placement:
    """A similarity from the model's frame, float64, and in a few words which one it is."""

    parser_from_model: Float[Tensor, "4 4"]
    how: str


@dataclass(frozen=True)
class Observations:
    """Points in the model's frame with the training views that see them; `xy` is NaN where the place is unknown."""

    view: Int[Tensor, " pairs"]
    point: Int[Tensor, " pairs"]
    xy: Float[Tensor, "pairs 2"]


def aligned_cameras(
    parser_poses: Float[Tensor, "views 3 4"], model_poses: Float[Tensor, "views 3 4"]
) -> Placement | None:
    """The similarity that lays the model's cameras over nerfstudio's; None where their centres coincide.

    Both are camera to world with the same axes. Rotations and centres each have their least-squares solution.
    """
    ours, theirs = parser_poses.double(), model_poses.double()
    u, _, vh = torch.linalg.svd(torch.einsum("vij,vkj->ik", ours[:, :, :3], theirs[:, :, :3]))
    signs = torch.ones(3, dtype=torch.float64)
    signs[2] = torch.linalg.det(u @ vh).sign()
    rotation = u @ torch.diag(signs) @ vh
    centre_ours, centre_theirs = ours[:, :, 3].mean(0), theirs[:, :, 3].mean(0)
    turned = (theirs[:, :, 3] - centre_theirs) @ rotation.T
    spread = turned.square().sum()
    scale = (turned * (ours[:, :, 3] - centre_ours)).sum() / spread.clamp_min(1e-300)
    if not (spread > 0 and scale > 0 and scale.isfinite()):
        return None
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = centre_ours - scale * rotation @ centre_theirs
    return Placement(matrix, "laid over the cameras")


def errors_px(
    points_parser: Float[Tensor, "points 3"], seen: Observations, cameras: Cameras
) -> Float[Tensor, " pairs"]:
    """How far in pixels each observation lies from its point's projection; infinite behind the camera."""
    xy, depth = photographed(cameras, seen.view, points_parser[seen.point])
    return torch.where(depth > 0, (xy - seen.xy).norm(dim=-1), torch.inf)


def place_by_keypoints(
    points: Float[Tensor, "points 3"], seen: Observations, cameras: Cameras, candidates: Sequence[Placement], name: str
) -> Placement:
    """The candidate in which the points project to their keypoints; TracksError if none does."""
    step = -(-len(seen.view) // _ENOUGH)
    some = Observations(seen.view[::step], seen.point[::step], seen.xy[::step])
    medians = [
        float(errors_px(transform_points(place.parser_from_model, points), some, cameras).median())
        for place in candidates
    ]
    least = min(medians)
    width = float(cameras.width[some.view].double().median())
    if not least <= max(_MOST_ERROR_PX, _MOST_ERROR_SHARE * width):
        raise TracksError(
            f"{name} belongs to other poses than the photographs' (its points project {least:.3g} pixels from where "
            "they were seen, at best), so its tracks are left out; export poses and model together to use them."
        )
    # A frame that is given is exact, one that was fitted takes part in the cameras' noise.
    good_enough = 1.1 * least + _SAME_PX
    return next(place for place, median in zip(candidates, medians, strict=True) if median <= good_enough)


def place_by_visibility(
    points: Float[Tensor, "points 3"], seen: Observations, views: Views, candidates: Sequence[Placement], name: str
) -> Placement:
    """The candidate in which views have what they see in frame and unhidden; TracksError if none will do."""
    scores = [_agreement(transform_points(place.parser_from_model, points), seen, views) for place in candidates]
    fits = [in_frame >= _LEAST_IN_FRAME and above >= _LEAST_ABOVE_CHANCE for in_frame, above in scores]
    if not any(fits):
        in_frame = max(score for score, _ in scores)
        raise TracksError(
            f"{name} belongs to other poses than the photographs' (at best {in_frame:.0%} of its points are in frame, "
            "and they are not those in sight), so its tracks are left out; export both together to use them."
        )
    best = max((index for index, fit in enumerate(fits) if fit), key=lambda index: scores[index][1])
    return candidates[best]


def _agreement(points: Float[Tensor, "points 3"], seen: Observations, views: Views) -> tuple[float, float]:
    """The share of observations in frame, and how far the share in sight is above that of random pairs (1: all are)."""
    step = -(-len(points) // _ENOUGH_POINTS)
    some = seen.point % step == 0
    seen = Observations(seen.view[some], seen.point[some] // step, seen.xy[some])
    points = points[::step].to(views.world_from_camera)
    middle = points.median(dim=0).values
    # Sightlines by depth are only asked for a tendency here, so a rough idea of the object's size will do.
    hidden_behind = 0.1 * float((points - middle).norm(dim=-1).median())
    view_count, point_count = len(views.fx), len(points)
    everywhere = [sightlines(views, points, tolerance) for tolerance in (torch.inf, hidden_behind)]
    in_frame, in_sight = (
        torch.zeros(view_count * point_count, dtype=torch.bool).index_fill_(0, view * point_count + point, True)
        for view, point in everywhere
    )
    recorded = seen.view * point_count + seen.point
    chance = float(in_sight.double().mean())
    above = (float(in_sight[recorded].double().mean()) - chance) / max(1 - chance, 1e-9)
    return float(in_frame[recorded].double().mean()), above
