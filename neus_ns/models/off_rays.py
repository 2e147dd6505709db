"""What a step asks the field besides its rays: places where something is known, and places beside samples on rays."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.fields.sdf import SdfSample
from neus_ns.fields.surface_field import SurfaceField
from neus_ns.models.known_space import KnownPoints
from neus_ns.models.loss_weights import LossWeights
from neus_ns.models.samples import SurfaceSamples
from neus_ns.rays.beside import along_surface, places_on_surface

# Samples whose normals are compared with those beside them.
_SMOOTHED = 1024


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
    def sdf_at_known(self) -> tuple[Float[Tensor, " free"], Float[Tensor, " surface"]]:
        """The distance at free points, and at points of the surface."""
        free, surface = len(self.known.free), len(self.known.surface)
        return self.sample.sdf[:free], self.sample.sdf[free : free + surface]

    @property
    def gradient_beside(self) -> Float[Tensor, "beside 3"]:
        """The gradient at the last points."""
        return self.sample.gradient[len(self.sample.gradient) - len(self.gradient_on_rays) :]


def look_off_rays(field: SurfaceField, known: KnownPoints, samples: SurfaceSamples, weights: LossWeights) -> OffRays:
    """Ask the field at all of these at once, leaving out what counts nothing."""
    beside = places_on_surface(samples.weights, _SMOOTHED if weights.smooth > 0 else 0)
    on_rays = samples.gradient[beside]
    points_beside = samples.points[beside] + along_surface(on_rays.detach(), weights.smooth_reach)
    sample = field.sdf_network.sample(torch.cat([known.free, known.surface, points_beside]))
    return OffRays(known, sample, on_rays, samples.on_rays.sections.ray_index[beside])
