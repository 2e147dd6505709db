"""Where a ray enters and leaves the unit ball."""

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.rays.sections import Rays


def clip_to_unit_ball(origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], near: float) -> Rays:
    """Rays with the stretch inside the unit ball and beyond `near`; a ray that misses gets an empty stretch.

    Directions are unit vectors, so |o + t d|^2 = 1 gives t = -o.d -+ sqrt((o.d)^2 - |o|^2 + 1).
    """
    middle = -(origins * directions).sum(-1)
    under_root = middle**2 - origins.square().sum(-1) + 1
    half = under_root.clamp_min(0).sqrt()
    t_near = (middle - half).clamp_min(near)
    t_far = torch.maximum(middle + half, t_near)
    hits = under_root > 0
    return Rays(origins, directions, t_near, torch.where(hits, t_far, t_near))
