"""How far a rendered silhouette is from the foreground mask, ray by ray, with a weight for each ray.

Along an outline a mask knows least: its pixels are part object and part background, and half a pixel of blur or
calibration error turns one into the other. There callers may give a ray a smaller weight.
"""

from jaxtyping import Float
from torch import Tensor


def silhouette_bce(
    opacity: Float[Tensor, " rays"], mask: Float[Tensor, " rays"], weight: Float[Tensor, " rays"] | None = None
) -> Float[Tensor, ""]:
    """Mean cross-entropy of opacity against coverage, both in [0, 1] (NeuS, wmask); least where the two are equal.

    Opacity is clipped to [1e-3, 1 - 1e-3] as in NeuS: beyond that a ray has nothing left to learn from its mask.
    """
    clipped = opacity.clamp(1e-3, 1 - 1e-3)
    # Written out, because torch's own ends the program where it meets a NaN, before anybody can say what became one.
    cost = -(mask * clipped.log() + (1 - mask) * (1 - clipped).log())
    return (cost if weight is None else weight * cost).mean()


def silhouette_mse(
    opacity: Float[Tensor, " rays"], mask: Float[Tensor, " rays"], weight: Float[Tensor, " rays"]
) -> Float[Tensor, ""]:
    """Mean weighted squared difference of opacity and coverage: bounded, so that a wrong mask pulls no harder."""
    return (weight * (opacity - mask).square()).mean()
