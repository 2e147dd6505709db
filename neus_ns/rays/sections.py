"""Sections: the pieces of rays that are worth looking at, packed on one flat axis.

    ray_index  [m]  which ray, sorted
    t_start    [m]  where the section begins along its ray (unit frame)
    t_end      [m]  where it ends

A section is evaluated at its midpoint (NeuS); sections of one ray are ordered and never overlap, but may leave gaps
where nothing can be.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sections:
    """Packed sections of a batch of rays."""

    ray_index: Int[Tensor, " sections"]
    t_start: Float[Tensor, " sections"]
    t_end: Float[Tensor, " sections"]

    def __len__(self) -> int:
        return self.ray_index.shape[0]

    @property
    def t_middle(self) -> Float[Tensor, " sections"]:
        return 0.5 * (self.t_start + self.t_end)

    @property
    def length(self) -> Float[Tensor, " sections"]:
        return self.t_end - self.t_start


@dataclass(frozen=True)
class Rays:
    """Rays of the unit frame and the stretch of each that lies in the region of interest."""

    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]
    t_near: Float[Tensor, " rays"]
    t_far: Float[Tensor, " rays"]

    def __len__(self) -> int:
        return self.origins.shape[0]

    def points(self, sections: Sections) -> Float[Tensor, "sections 3"]:
        """Midpoints of sections, in the unit frame."""
        index = sections.ray_index
        return torch.addcmul(self.origins[index], self.directions[index], sections.t_middle[:, None])


@dataclass(frozen=True)
class SampledRays:
    """Rays, the sections that they were sampled in, and the signed distance at the middle of each."""

    rays: Rays
    sections: Sections
    sdf: Float[Tensor, " sections"]
