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


def without_sliding(origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays 3"]:
    """The same origins, but gradients reach them only as far as they move the ray sideways.

    A ray that slides along itself sees the same. There would be a gradient all the same, because its samples do not
    slide back: nothing but noise, and so strong that a camera whose pose is learned would wander to and fro.
    """
    along = directions.detach()
    slide = (origins * along).sum(-1, keepdim=True) * along
    return origins - (slide - slide.detach())
