"""Random places of the surface and steps from there, for comparing what it is like in one place and near it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def places_on_surface(weights: Float[Tensor, " samples"], count: int) -> Int64[Tensor, " places"]:
    """So many random samples by their weights; of a batch without samples, none."""
    if count == 0 or len(weights) == 0:
        return torch.zeros(0, dtype=torch.long, device=weights.device)
    # The small number lets a batch that meets nothing choose as well. What is not a number the losses report.
    return torch.multinomial(weights.nan_to_num(posinf=0.0) + 1e-9, count, replacement=True)


def along_surface(gradient: Float[Tensor, "points 3"], reach: float) -> Float[Tensor, "points 3"]:
    """Offsets at right angles to the gradient: normally distributed, of all sizes up to about `reach`.

    Steps straight off the surface would end on the other side of whatever is thin.
    """
    offset = torch.randn_like(gradient) * torch.rand_like(gradient[:, :1]) * reach
    normal = F.normalize(gradient, dim=-1)
    return offset - (offset * normal).sum(-1, keepdim=True) * normal
