"""How much each loss term counts."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LossWeights:
    """Weights of the loss terms; the colour loss is summed over channels, as in NeuS."""

    colour: float = 1.0
    """Absolute colour error."""
    black: float | None = None
    """Errors of colour count in proportion to 1 / (brightness + this), brightness from 0 to 1: texture of a dark place
    is dark as well. Much more than 1: all count alike. None: 0.1 with masks and indoors, else all alike."""
    colour_plain: float = 1.0
    """How much of that counts where photographs are plain far and wide, if that is looked for (`smooth_plain`)."""
    eikonal: float = 0.1
    """Departure of the distance's gradient from unit length."""
    mask: float = 0.1
    """Cross-entropy of opacity against the foreground mask, wherever masks exist."""
    free_space: float = 10.0
    """Shortfall of the distance below its bound where space is free: outside the masks' visual hull, on sightlines."""
    points: float | None = None
    """Distance at the structure-from-motion points, where there are any; fades out, see the schedule. None: 3 with
    masks and indoors, else 0: most points are then of the surroundings. Lines of sight to them speak in any case."""
    smooth: float = 0.02
    """Change of the surface's normal from one point to another beside it: decides where photographs do not."""
    smooth_reach: float = 0.05
    """How far apart such points typically are, in radii of the region of interest."""
    smooth_plain: float | None = None
    """How many times as much that counts in addition, with no regard for edges, where photographs are plain far and
    wide, ever more between the schedule's `plain_from` and `plain_until`. None: 20 with masks and indoors, else 0."""
    patches: float = 0.0
    """Disagreement of photographs about patches of the surface (Geo-NeuS); 0 leaves them out. Colours alone leave it
    a little outside of the truth. Not where it shines."""


def terms_and_weights(losses: Mapping[str, Tensor], factors: Mapping[str, float]) -> dict[str, Tensor]:
    """What the log shows of weighted losses: every factor, and the terms that count as they were before theirs."""
    shown: dict[str, Tensor] = {}
    for name, factor in factors.items():
        shown[f"{name}_weight"] = torch.tensor(float(factor))
        if name in losses and factor > 0:
            shown[f"{name}_term"] = losses[name].detach() / factor
    return shown
