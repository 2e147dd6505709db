"""What an object stands on, while training: rays end there, and pixels that show it or not serve as masks."""

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from neus_ns.data.ground.labels import COVERED, OBJECT, OPEN
from neus_ns.data.ground.plane import Plane
from neus_ns.rays.sections import Rays


@dataclass(frozen=True)
class Outline:
    """Whether rays meet the object, from 0 to 1, and whether that is known of them at all."""

    mask: Float[Tensor, " rays"]
    sure: Float[Tensor, " rays"]

    @classmethod
    def of(cls, seen: UInt8[Tensor, " rays"] | Float[Tensor, "rays 1"]) -> "Outline":
        """By what their pixels show of the ground, or by a mask, which knows all."""
        if seen.is_floating_point():
            return cls(seen[:, 0], torch.ones_like(seen[:, 0]))
        return cls((seen == OBJECT).float(), (seen != OPEN).float())


class GroundWitness(nn.Module):
    """The plane of the ground in the unit frame, if there is one. It is in checkpoints: rays end there ever after."""

    plane: Tensor
    known: bool = False
    covers: bool = True
    """Whether what is covered in every photograph is taken for object: once it has a shape, colours know better."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("plane", torch.zeros(4))

    def learn(self, plane: Plane | None) -> None:
        """Take in the plane, of the unit frame; None: there is none."""
        self.known = plane is not None
        normal = torch.zeros(3) if plane is None else plane.normal
        self.plane.copy_(torch.cat([normal, normal.new_tensor([0.0 if plane is None else plane.offset])]))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.known = bool(self.plane.any())

    def told(self, labels: UInt8[Tensor, " rays"]) -> UInt8[Tensor, " rays"]:
        """What pixels are taken for now: ground, object, or nothing."""
        return torch.where(labels == COVERED, OBJECT if self.covers else OPEN, labels)

    def ending(self, rays: Rays) -> Rays:
        """The rays, none beyond where it meets the ground from above."""
        if not self.known:
            return rays
        return replace(rays, t_far=torch.maximum(torch.minimum(rays.t_far, self._meeting(rays)), rays.t_near))

    def stops(self, rays: Rays) -> Bool[Tensor, " rays"] | None:
        """Which of rays that end there at the latest do so; None without ground."""
        return rays.t_far == self._meeting(rays) if self.known else None

    def _meeting(self, rays: Rays) -> Float[Tensor, " rays"]:
        """How far along each ray the ground is; infinitely far for those that do not come down to it."""
        normal, origins, directions = self.plane[:3], rays.origins.detach(), rays.directions.detach()
        down, height = -(directions @ normal), origins @ normal - self.plane[3]
        comes = (down > 0) & (height > 0)
        return torch.where(comes, height / down.where(comes, 1.0), torch.inf)


def before_random(
    rgb: Float[Tensor, "rays 3"],
    opacity: Float[Tensor, " rays"],
    behind: Float[Tensor, "rays 3"],
    labels: UInt8[Tensor, " rays"],
) -> Float[Tensor, "rays 3"]:
    """Renderings with random colours behind what is known to be object, so that it is opaque."""
    other = torch.where((labels == OBJECT)[:, None], torch.rand_like(behind), behind)
    return rgb + (1 - opacity)[:, None] * (other - behind)


def with_ground(pipeline_state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's state; those of before there was any ground are without."""
    models = [
        name.removesuffix("progress") for name in pipeline_state if re.search(r"_model\.(module\.)?progress$", name)
    ]
    return {f"{model}ground.plane": torch.zeros(4) for model in models} | pipeline_state
