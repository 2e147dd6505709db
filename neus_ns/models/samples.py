"""What one step has asked the field: records that losses and other witnesses read."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.fields.sdf import SdfSample
from neus_ns.models.known_space import KnownPoints
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


@dataclass(frozen=True)
class OffRays:
    """What the field says off the rays: at the known points (free ones first), then beside chosen samples on rays."""

    known: KnownPoints
    sample: SdfSample
    gradient_on_rays: Float[Tensor, "beside 3"]
    """The gradient at the samples that the last points lie beside."""
    ray_index: Int[Tensor, " beside"]
    """The rays of those samples."""

    @property
    def gradient_beside(self) -> Float[Tensor, "beside 3"]:
        """The gradient at the last points."""
        return self.sample.gradient[len(self.sample.gradient) - len(self.gradient_on_rays) :]
