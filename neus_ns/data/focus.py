"""What a set of cameras looks at: the common point of their axes, and which points they have in frame."""

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.views import Views

# Rounds of reweighting, after which single cameras that look elsewhere no longer pull at the common point.
_ROUNDS = 10
# Mean squared sine of the angle between the axes and a direction below which (about two degrees) the axes do not say
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


def focus_point(views: Views) -> Float[Tensor, "3"]:
    """The point closest to all optical axes, in float64; axes that miss the others' common point count less.

    Where the axes are parallel they do not say how far away that point is, and where they diverge they meet behind the
    cameras. Both are answered by a guess: twice the cameras' spread ahead of their middle.
    """
    centres, directions = camera_centres(views), viewing_directions(views)
    middle = centres.mean(0)
    spread = (centres - middle).norm(dim=-1).median()
    guess = middle + 2 * spread * directions.mean(0)
    across = torch.eye(3).to(centres) - directions[:, :, None] * directions[:, None, :]
    weights = torch.ones_like(centres[:, 0])
    point = guess
    for _ in range(_ROUNDS):
        weights = weights / weights.sum()
        matrix = (weights[:, None, None] * across).sum(0)
        target = (weights[:, None] * (across @ centres[:, :, None])[..., 0]).sum(0)
        parallax, basis = torch.linalg.eigh(matrix)
        known = (basis.T @ target) / parallax.clamp(min=_LEAST_PARALLAX)
        point = basis @ torch.where(parallax > _LEAST_PARALLAX, known, basis.T @ guess)
        miss = (across @ (point - centres)[:, :, None])[..., 0].norm(dim=-1)
        # The floor keeps one axis that happens to pass through the point from deciding alone.
        weights = 1 / torch.maximum(miss, 0.5 * miss.median() + 1e-9 * (1 + spread))
    return point if share_ahead(views, point) > 0.5 else guess


def share_in_frame(views: Views, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """For each point, the share of the cameras that have it in front of them and in frame."""
    times_seen = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    for index, pose in enumerate(views.world_from_camera.to(points)):
        x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).unbind(-1)
        depth = (-z).clamp(min=1e-12)
        column = views.fx[index] * x / depth + views.cx[index]
        row = -views.fy[index] * y / depth + views.cy[index]
        inside = (column >= 0) & (column < views.width[index]) & (row >= 0) & (row < views.height[index])
        times_seen += inside & (z < 0)
    return times_seen / len(views.fx)
