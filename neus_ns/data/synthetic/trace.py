"""Sphere tracing: walk along each ray by the signed distance until the surface or the end of the ray."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.data.synthetic.shapes import SdfFn

_MAX_STEPS = 96
# The lower limit of a step, in tolerances: where it starts, what it may grow to, and the steps it takes to double.
_SHORTEST_STEP, _LONGEST_LIMIT, _STEPS_TO_DOUBLE = 5.0, 80.0, 12
_MENDING_STEPS = 2


def ball_interval(
    origins: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"], radius: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Entry and exit of unit-direction rays in the ball about the origin; entry is behind exit where a ray misses."""
    middle = -(origins * directions).sum(dim=1)
    offset = origins + middle[:, None] * directions
    half_squared = radius * radius - (offset * offset).sum(dim=1)
    half = half_squared.clamp_min(0.0).sqrt()
    t_far = torch.where(half_squared > 0.0, middle + half, -torch.inf)
    return (middle - half).clamp_min(0.0), t_far


def sphere_trace(
    sdf_fn: SdfFn,
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    t_near: Float[Tensor, " n"],
    t_far: Float[Tensor, " n"],
    tolerance: float,
) -> Float[Tensor, " n"]:
    """Distance along each ray to its first surface point, infinite where there is none.

    Rays that are done leave the working set at every step: most need few steps, and grazing ones would hold up all.
    Grazing ones would creep along the surface for hundreds of steps, so a step has a lower limit that grows with the
    number of steps taken. A step that enters the surface by that little is mended at the end.
    """
    t_hit = torch.full_like(t_near, torch.inf)
    rows = (t_near < t_far).nonzero()[:, 0]
    origin, direction, t, end = origins[rows], directions[rows], t_near[rows], t_far[rows]
    for step in range(_MAX_STEPS):
        if rows.numel() == 0:
            break
        distance = sdf_fn(torch.addcmul(origin, direction, t[:, None]))
        hit = distance < tolerance
        t_hit[rows[hit]] = (t + distance)[hit]
        limit = tolerance * min(_SHORTEST_STEP * 2.0 ** (step // _STEPS_TO_DOUBLE), _LONGEST_LIMIT)
        t = t + distance.clamp_min(limit)
        going = (~hit & (t < end)).nonzero()[:, 0]
        if going.numel() < rows.numel():
            rows, origin, direction, t, end = rows[going], origin[going], direction[going], t[going], end[going]
    found = t_hit.isfinite().nonzero()[:, 0]
    for _ in range(_MENDING_STEPS):
        t_hit[found] += sdf_fn(torch.addcmul(origins[found], directions[found], t_hit[found, None]))
    return t_hit


def unoccluded(
    sdf_fn: SdfFn, points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], eye: Float[Tensor, "3"], radius: float
) -> Bool[Tensor, " n"]:
    """Whether an eye outside the ball of `radius` sees surface points: they face it, and nothing stands between."""
    toward = torch.nn.functional.normalize(eye - points, dim=1)
    # A patch seen nearly edge on fills no pixel, so nobody could reconstruct it.
    facing = (toward * normals).sum(dim=1) > 0.1
    # Starting a little off the surface keeps the start from counting as the occluder.
    lift = 2e-3 * radius
    starts = points + lift * normals
    toward = torch.nn.functional.normalize(eye - starts, dim=1)
    t_near = torch.where(facing, 0.0, torch.inf)
    _, t_far = ball_interval(starts, toward, radius)
    blocked = sphere_trace(sdf_fn, starts, toward, t_near, t_far, tolerance=0.05 * lift).isfinite()
    return facing & ~blocked
