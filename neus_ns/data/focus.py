"""What a set of cameras looks at: the common point of their axes, or of what they show, and which points they see."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.views import Views

# Rounds of reweighting, after which single cameras that look elsewhere no longer pull at the common point.
_ROUNDS = 10
# Mean squared sine of the angle between the rays and a direction below which (about two degrees) the rays do not say
# where along that direction the common point lies.
_LEAST_PARALLAX = 1e-3


def camera_centres(views: Views) -> Float[Tensor, "views 3"]:
    return views.world_from_camera[:, :, 3].double()


def viewing_directions(views: Views) -> Float[Tensor, "views 3"]:
    """Unit directions of the optical axes."""
    return -torch.nn.functional.normalize(views.world_from_camera[:, :, 2].double(), dim=-1)


def share_ahead(views: Views, point: Float[Tensor, "3"]) -> float:
    """The share of the cameras that have a point in front of them."""
    ahead = ((point - camera_centres(views)) * viewing_directions(views)).sum(-1) > 0
    return float(ahead.double().mean())


@dataclass(frozen=True)
class Focus:
    """A point that cameras look at; not known where their rays leave its distance open, and it is a guess."""

    point: Float[Tensor, "3"]
    is_known: bool


def focus_of_axes(views: Views) -> Focus:
    """The point closest to all optical axes, in float64."""
    return _common_point(views, viewing_directions(views))


def focus_of_masks(views: Views) -> Focus:
    """The point closest to all rays through the middles of what the masks show, which in each of them is something.

    Where cameras look past the object, or all the same way, this finds it, though masks that the frame cuts off bend
    their rays.
    """
    assert views.masks is not None
    middles = torch.stack([mask.nonzero().double().add(0.5).mean(0) for mask in views.masks]).to(views.fx)
    x, y = (middles[:, 1] - views.cx) / views.fx, (views.cy - middles[:, 0]) / views.fy
    rays = (views.world_from_camera[:, :, :3] @ torch.stack([x, y, -torch.ones_like(x)], dim=-1)[:, :, None])[..., 0]
    return _common_point(views, torch.nn.functional.normalize(rays.double(), dim=-1))


def _common_point(views: Views, directions: Float[Tensor, "views 3"]) -> Focus:
    """The point closest to one ray from each camera; those that miss the others' common point count less.

    Where the rays are parallel they do not say how far away that point is, and where they diverge they meet behind the
    cameras. Both are answered by a guess: twice the cameras' spread ahead of their middle.
    """
    centres = camera_centres(views)
    middle = centres.mean(0)
    spread = (centres - middle).norm(dim=-1).median()
    guess = middle + 2 * spread * directions.mean(0)
    across = torch.eye(3).to(centres) - directions[:, :, None] * directions[:, None, :]
    weights = torch.ones_like(centres[:, 0])
    point, is_known = guess, False
    for _ in range(_ROUNDS):
        weights = weights / weights.sum()
        matrix = (weights[:, None, None] * across).sum(0)
        target = (weights[:, None] * (across @ centres[:, :, None])[..., 0]).sum(0)
        parallax, basis = torch.linalg.eigh(matrix)
        known = (basis.T @ target) / parallax.clamp(min=_LEAST_PARALLAX)
        point = basis @ torch.where(parallax > _LEAST_PARALLAX, known, basis.T @ guess)
        is_known = bool((parallax > _LEAST_PARALLAX).all())
        miss = (across @ (point - centres)[:, :, None])[..., 0].norm(dim=-1)
        # The floor keeps one ray that happens to pass through the point from deciding alone.
        weights = 1 / torch.maximum(miss, 0.5 * miss.median() + 1e-9 * (1 + spread))
    return Focus(point, is_known) if share_ahead(views, point) > 0.5 else Focus(guess, False)


def share_in_frame(views: Views, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """For each point, the share of the cameras that have it in front of them and in frame."""
    times_seen = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    for view in range(len(views.fx)):
        times_seen += views.project(view, points).in_frame
    return times_seen / len(views.fx)
