"""What the surface must be like, whatever the photographs show."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Difference of two unit normals (about 17 degrees) from which on the surface is taken to have an edge between them.
_EDGE = 0.3


def eikonal(gradient: Float[Tensor, "samples 3"]) -> Float[Tensor, ""]:
    """Mean squared departure of |grad f| from one (Gropp et al. 2020, eq. 3). Zero for an empty batch."""
    return ((gradient.norm(dim=-1) - 1) ** 2).sum() / max(len(gradient), 1)


def normal_change(gradient: Float[Tensor, "points 3"], beside: Float[Tensor, "points 3"]) -> Float[Tensor, ""]:
    """Mean difference between the unit normals of points and of others beside them (after UNISURF, eq. 8).

        2 k c / (c + k^2),   c = |n - n'|^2

    A turn by much more than k is an edge, or the other side of something thin, and is let be (Geman and McClure).
    """
    change = _turned(gradient, beside)
    return (2 * _EDGE * change / (change + _EDGE**2)).sum() / max(len(gradient), 1)


def normal_variation(
    gradient: Float[Tensor, "points 3"], beside: Float[Tensor, "points 3"], plain: Float[Tensor, " points"]
) -> Float[Tensor, ""]:
    """Mean |n - n'| of the same, each by how `plain` it is: total variation of the normal.

    Where photographs show nothing every turn counts, and a small one is not forgiven, since all of them together are a
    dent that some sheen explains.
    """
    # The small number keeps the slope finite where two normals are the same.
    return (plain * (_turned(gradient, beside) + 1e-8).sqrt()).sum() / max(len(gradient), 1)


def _turned(gradient: Float[Tensor, "points 3"], beside: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Squared distance of unit normals."""
    return (F.normalize(gradient, dim=-1) - F.normalize(beside, dim=-1)).square().sum(-1)


def below_bound(sdf: Float[Tensor, " points"], bound: Float[Tensor, " points"]) -> Float[Tensor, ""]:
    """Mean shortfall of distances known to be at least `bound` (free space between the hull and the point)."""
    return F.relu(bound - sdf).sum() / max(len(sdf), 1)


def on_surface(sdf: Float[Tensor, " points"]) -> Float[Tensor, ""]:
    """Mean |f| at points known to lie on the surface (Geo-NeuS, eq. 9); absolute, so that outliers pull no harder."""
    return sdf.abs().sum() / max(len(sdf), 1)


def inward(sdf: Float[Tensor, " samples"], weights: Float[Tensor, " samples"], rays: int) -> Float[Tensor, ""]:
    """Minus the weighted distance at what so many rays meet, a mean over rays: it falls as the surface moves inwards.

    Its size means nothing. Of the surfaces that photographs allow, it takes the one that holds least.
    """
    return -(weights * sdf).sum() / max(rays, 1)


def curvature(laplacian: Float[Tensor, " samples"]) -> Float[Tensor, ""]:
    """Mean |Laplacian f| (Neuralangelo, eq. 9); on the surface this is twice the mean curvature. Zero when empty."""
    return laplacian.abs().sum() / max(len(laplacian), 1)


def near_surface(
    sdf: Float[Tensor, " points"], noise: Float[Tensor, " points"], limit: Float[Tensor, " points"]
) -> Float[Tensor, ""]:
    """Mean |f| at points that lie on the surface up to their `noise`, bounded by `limit`.

    Within its noise a point pulls in proportion to the distance left (Huber), far beyond its limit hardly at all
    (Geman and McClure's shape): h = sqrt(f^2 + noise^2) - noise, penalty = h limit / (h + limit).
    """
    beyond = (sdf.square() + noise.square()).sqrt() - noise
    return (beyond * limit / (beyond + limit)).sum() / max(len(sdf), 1)
