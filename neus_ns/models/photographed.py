"""What the photographs say of a batch's rays: its colours, and how much each counts."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.losses.photometric import even_contrast


@dataclass(frozen=True)
class Photographed:
    """Pixels of a batch, and how much each counts."""

    image: Float[Tensor, "rays 3"]
    mask: Float[Tensor, "rays 1"] | None
    """How far a pixel is of the object, 0 to 1; None: nobody has said what is."""
    drawn: Float[Tensor, " rays"]
    """What makes up for how often pixels were drawn."""
    plain: Float[Tensor, " rays"] | None = None
    """Near one where the photograph shows nothing far and wide, else near zero; None: nobody has looked."""

    @classmethod
    def of(cls, batch: dict[str, Any], has_masks: bool, device: torch.device) -> "Photographed":
        """From nerfstudio's batch; an alpha channel is in the mask already."""
        mask = batch["fg_mask"].to(device) if has_masks else None
        plain = batch["plain"].to(device) if "plain" in batch else None
        return cls(batch["image"].to(device)[..., :3], mask, batch["pixel_weight"].to(device)[:, 0], plain)

    def before(self, behind: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays 3"]:
        """The photograph; where masks exist, the object cut out and put before what is rendered behind it."""
        return self.image if self.mask is None else self.image * self.mask + behind * (1 - self.mask)

    def counting(self, black: float | None, plain: float) -> Float[Tensor, " rays"]:
        """How much each pixel's error of colour counts: by `even_contrast`, or, None, all alike however bright; and
        what is plain so many times as much as the rest."""
        counting = self.drawn
        if black is not None:
            mask = torch.ones_like(self.drawn) if self.mask is None else self.mask[:, 0]
            counting = counting * even_contrast(self.image.detach(), mask, black)
        return counting if self.plain is None else counting * (1 - (1 - plain) * self.plain)
