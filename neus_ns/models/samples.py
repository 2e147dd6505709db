"""What one step has asked the field on its rays: a record that losses and other witnesses read."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neus_ns.rays.sections import SampledRays


@dataclass(frozen=True)
class SurfaceSamples:
    """Where a batch of rays was evaluated: the samples' points, the distance's derivatives there, and their weights."""

    points: Float[Tensor, "samples 3"]
    gradient: Float[Tensor, "samples 3"]
    weights: Float[Tensor, " samples"]
    laplacian: Float[Tensor, " samples"] | None
    on_rays: SampledRays
    wanted: Float[Tensor, ""]
    """How many samples the budget of these rays comes to."""
