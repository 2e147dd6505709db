"""NeuS: from signed distance to opacity (Wang et al. 2021, eq. 13 with the section midpoints of its released code)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def annealed_slope(slope: Float[Tensor, " samples"], sharpened: float) -> Float[Tensor, " samples"]:
    """The slope that alpha sees: at first half-open to surfaces that face away, later only those that face the ray.

    `sharpened` runs from 0 to 1 early in training; at 1 this is min(slope, 0).
    """
    return -(F.relu(0.5 - 0.5 * slope) * (1 - sharpened) + F.relu(-slope) * sharpened)


def alpha_from_sdf(
    sdf: Float[Tensor, " samples"],
    slope: Float[Tensor, " samples"],
    length: Float[Tensor, " samples"],
    inv_s: Float[Tensor, ""] | float,
) -> Float[Tensor, " samples"]:
    """Share of light stopped by a section, from the distance at its midpoint and its (non-positive) slope.

        alpha = 1 - sigma(s f_end) / sigma(s f_start),   f_start/end = f -/+ slope length / 2

    The quotient of sigmoids is taken as a difference of log-sigmoids: exact where both underflow, deep inside.
    """
    half = 0.5 * slope * length
    ratio = F.logsigmoid((sdf + half) * inv_s) - F.logsigmoid((sdf - half) * inv_s)
    return -torch.expm1(ratio.clamp_max(0))
