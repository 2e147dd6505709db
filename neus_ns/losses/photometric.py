"""How far rendered colours are from the photograph."""

from jaxtyping import Float
from torch import Tensor


def colour_l1(
    rendered: Float[Tensor, "rays 3"], photographed: Float[Tensor, "rays 3"], pixel_weight: Float[Tensor, " rays"]
) -> tuple[Float[Tensor, ""], Float[Tensor, " rays"]]:
    """NeuS's colour loss: absolute error summed over channels, mean over rays; also the error of each ray.

    The sampler's unbiasing weights multiply the loss but not the error that is fed back to it.
    """
    error = (rendered - photographed).abs().sum(-1)
    return (error * pixel_weight).mean(), error.detach()
