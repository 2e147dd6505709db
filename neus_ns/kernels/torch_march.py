"""Marching through an occupancy grid in plain torch: the reference for the fast source, and the fallback.

Each ray carries a regular lattice of sections; those whose midpoint lies in an occupied cell are kept:

    section k   from t_near + (k - shift) step to t_near + (k + 1 - shift) step, clipped to [t_near, t_far]
    midpoint    t = (t_start + t_end) / 2,  point = origin + t direction
    cell        floor((point + 1) resolution / 2), of the box [-1, 1]^3; outside the box nothing is occupied

Sections that clipping leaves empty are dropped. The arithmetic is float32, one rounding an operation, so that every
backend keeps exactly the same sections.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Lattice points looked at at once: about 100 MB of temporaries.
_AT_ONCE = 2**21


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    t_near: Float[Tensor, " rays"],
    t_far: Float[Tensor, " rays"],
    shift: Float[Tensor, " rays"],
    occupied: Bool[Tensor, "res res res"],
    step: float,
) -> tuple[Int[Tensor, " sections"], Float[Tensor, " sections"], Float[Tensor, " sections"]]:
    """Ray index (sorted), start and end of every section whose midpoint is occupied."""
    if len(origins) == 0:
        return torch.zeros(0, dtype=torch.long, device=origins.device), t_near.new_zeros(0), t_near.new_zeros(0)
    longest = float((t_far - t_near).max())
    sections = max(1, math.ceil(longest / step + 1) + 1)
    lattice = torch.arange(sections, device=origins.device, dtype=t_near.dtype)
    rays_at_once = max(1, _AT_ONCE // sections)
    parts = []
    for first in range(0, len(origins), rays_at_once):
        part = slice(first, first + rays_at_once)
        near, far = t_near[part, None], t_far[part, None]
        offset = lattice[None, :] - shift[part, None]
        t_start = torch.maximum(near + offset * step, near)
        t_end = torch.minimum(near + (offset + 1) * step, far)
        t_middle = (t_start + t_end) * 0.5
        points = origins[part, None, :] + t_middle[:, :, None] * directions[part, None, :]
        ray, k = torch.nonzero((t_end > t_start) & _is_occupied(points, occupied), as_tuple=True)
        parts.append((ray + first, t_start[ray, k], t_end[ray, k]))
    ray_index, start, end = (torch.cat(column) for column in zip(*parts, strict=True))
    return ray_index, start, end


def _is_occupied(
    points: Float[Tensor, "rays sections 3"], occupied: Bool[Tensor, "res res res"]
) -> Bool[Tensor, "rays sections"]:
    """Whether the cell a point of the box lies in is occupied."""
    resolution = occupied.shape[0]
    cell = torch.floor((points + 1) * (0.5 * resolution))
    inside = ((cell >= 0) & (cell < resolution)).all(-1)
    x, y, z = cell.clamp(0, resolution - 1).long().unbind(-1)
    return inside & occupied.reshape(-1)[(x * resolution + y) * resolution + z]
