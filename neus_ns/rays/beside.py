"""Random steps along the surface, for comparing what it is like in one place and beside it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def along_surface(gradient: Float[Tensor, "points 3"], reach: float) -> Float[Tensor, "points 3"]:
    """Offsets at right angles to the gradient: normally distributed, of all sizes up to about `reach`.

    Steps straight off the surface would end on the other side of whatever is thin.
    """
    offset = torch.randn_like(gradient) * torch.rand_like(gradient[:, :1]) * reach
    normal = F.normalize(gradient, dim=-1)
    return offset - (offset * normal).sum(-1, keepdim=True) * normal
