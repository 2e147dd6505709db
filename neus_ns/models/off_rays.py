"""What a step asks the field besides its rays: places where something is known, and places near samples of the surface.

Beside these, along the surface, normals should be alike. Across it colours should be, where photographs are plain. What
a network paints off the surface is nobody's business, except that to move the surface is one way to another colour, and
a quicker one than to learn it. A plain plate that shines is brighter from some sides than its one colour can be; where
it happens to be painted brighter below, it sinks, by up to a percent of what is photographed. Where colours do not
change across it, it has nothing to gain by that. What is textured needs that way: colours that are wrong before and
behind a surface are what tells its place, long before parallax does.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.fields.sdf import SdfSample
from neus_ns.fields.surface_field import SurfaceField
from neus_ns.models.known_space import KnownPoints
from neus_ns.models.loss_weights import LossWeights
from neus_ns.models.samples import SurfaceSamples
from neus_ns.rays.beside import across_surface, along_surface, places_on_surface

# Samples whose normals are compared with those beside them, and whose colours with those across the surface.
_SMOOTHED, _PAINTED = 1024, 512
# How far across that typically is, in 1 / inv_s: over about so much a ray's weight is spread.
_ACROSS = 2.0


@dataclass(frozen=True)
class OffRays:
    """What the field says off the rays: at the known points (free ones first), beside chosen samples on rays, and last
    across the surface from others of them."""

    known: KnownPoints
    sample: SdfSample
    gradient_on_rays: Float[Tensor, "beside 3"]
    """The gradient at the samples that points lie beside."""
    ray_index: Int[Tensor, " beside"]
    """The rays of those samples."""
    across_ray_index: Int[Tensor, " across"]
    """The rays of the samples from which the last points lie across the surface."""
    repainted: Float[Tensor, "across 3"]
    """How far these points are from the colours of those samples."""

    @property
    def sdf_at_known(self) -> tuple[Float[Tensor, " free"], Float[Tensor, " surface"]]:
        """The distance at free points, and at points of the surface."""
        free, surface = len(self.known.free), len(self.known.surface)
        return self.sample.sdf[:free], self.sample.sdf[free : free + surface]

    @property
    def gradient_beside(self) -> Float[Tensor, "beside 3"]:
        """The gradient at the points beside."""
        end = len(self.sample.gradient) - len(self.repainted)
        return self.sample.gradient[end - len(self.gradient_on_rays) : end]


def look_off_rays(
    field: SurfaceField,
    known: KnownPoints,
    samples: SurfaceSamples,
    appearance: Float[Tensor, "rays embedding"],
    weights: LossWeights,
) -> OffRays:
    """Ask the field at all of these at once, leaving out what counts nothing."""
    beside = places_on_surface(samples.weights, _SMOOTHED if weights.smooth > 0 else 0)
    across = places_on_surface(samples.weights, _PAINTED if weights.across > 0 else 0)
    ray_index, on_rays = samples.on_rays.sections.ray_index, samples.gradient[beside]
    points_beside = samples.points[beside] + along_surface(on_rays.detach(), weights.smooth_reach)
    to_across = across_surface(samples.gradient[across].detach(), _ACROSS / field.sharpness().detach())
    points_across = samples.points[across] + to_across
    sample = field.sdf_network.sample(torch.cat([known.free, known.surface, points_beside, points_across]))
    feature = sample.feature[len(sample.feature) - len(across) :]
    repainted = _repainted(field, samples, across, points_across, feature, appearance)
    return OffRays(known, sample, on_rays, ray_index[beside], ray_index[across], repainted)


def _repainted(
    field: SurfaceField,
    samples: SurfaceSamples,
    chosen: Int[Tensor, " across"],
    points: Float[Tensor, "across 3"],
    feature: Float[Tensor, "across channels"],
    appearance: Float[Tensor, "rays embedding"],
) -> Float[Tensor, "across 3"]:
    """How far the field's colours at points are from those of the chosen samples that they lie across from, looked at
    alike. They are to follow: nothing else has to give way, neither colours on the surface nor normals nor poses."""
    colour_on_rays = samples.colour[chosen].detach()
    if len(chosen) == 0:
        # By default, and to ask a network nothing takes time as well.
        return colour_on_rays
    rays = samples.on_rays.sections.ray_index[chosen]
    directions, code = samples.on_rays.rays.directions[rays].detach(), appearance[rays].detach()
    return field.colour_network(points, directions, samples.gradient[chosen].detach(), feature, code) - colour_on_rays
