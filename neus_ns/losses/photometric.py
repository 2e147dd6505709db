"""How far rendered colours are from the photograph."""

from jaxtyping import Float
from torch import Tensor

# One grey level of 255: what is black must not count without end, whatever is asked for.
_DARKEST = 1 / 255
_NOTHING = 1e-12


def colour_l1(
    rendered: Float[Tensor, "rays 3"], photographed: Float[Tensor, "rays 3"], pixel_weight: Float[Tensor, " rays"]
) -> tuple[Float[Tensor, ""], Float[Tensor, " rays"]]:
    """NeuS's colour loss: absolute error summed over channels, mean over rays; also the error of each ray.

    The weights multiply the loss but not the error that is fed back to the sampler.
    """
    error = (rendered - photographed).abs().sum(-1)
    return (error * pixel_weight).mean(), error.detach()


def even_contrast(
    photographed: Float[Tensor, "rays 3"], foreground: Float[Tensor, " rays"], black: float
) -> Float[Tensor, " rays"]:
    """How much a pixel's colour error counts so that texture tells as much in a dark place as in a bright one.

        1 / (b + black),   b the photograph's brightness; over its mean on the foreground

    Texture of a dark place is as dark as the place: its absolute errors are small wherever the surface is, and
    smoothness decides there instead. RawNeRF (Mildenhall et al. 2022) divides by brightness for the same reason. What
    is not foreground counts as one: before a random background its brightness says nothing.
    """
    weight = 1 / (photographed.mean(-1) + black).clamp_min(_DARKEST)
    # Without any foreground both sums are zero, and what they come to counts nowhere.
    mean = (weight * foreground).sum().clamp_min(_NOTHING) / foreground.sum().clamp_min(_NOTHING)
    return 1 + foreground * (weight / mean - 1)
