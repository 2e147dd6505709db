"""What nerfstudio asks of pictures besides colours: crop boxes, and depth and normals for every pixel of them."""

from dataclasses import replace

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from neus_ns.rays.sections import Rays
from neus_ns.rendering.composite import RenderedRays

# Opacity below which a pixel shows nothing whose depth or normal could be told.
_LEAST_OPACITY = 0.1


def cropped(rays: Rays, bundle: RayBundle, parser_units_per_unit: float) -> Rays:
    """Rays of the unit frame cut to the stretch that nerfstudio gives them, as for the viewer's crop box.

    A ray that misses the box, of which both ends are far beyond everything, gets an empty stretch.
    """
    if bundle.nears is None or bundle.fars is None:
        return rays
    nears, fars = (ends[:, 0] / parser_units_per_unit for ends in (bundle.nears, bundle.fars))
    t_near, t_far = torch.maximum(rays.t_near, nears), torch.minimum(rays.t_far, fars)
    return replace(rays, t_near=torch.minimum(t_near, t_far), t_far=t_far)


def depth_and_normals(
    surface: RenderedRays, rays: Rays, parser_units_per_unit: float
) -> dict[str, Float[Tensor, "rays _"]]:
    """Depth in nerfstudio's units, and normals as colours.

    Where nothing is met depth is that of the region's far side, or of the place nearest to its middle, so that what the
    viewer draws into the scene is not hidden; and the normal is none, which is grey.
    """
    met = surface.opacity >= _LEAST_OPACITY
    nearest_to_middle = -(rays.origins * rays.directions).sum(-1)
    beyond = torch.maximum(rays.t_far, nearest_to_middle.clamp_min(0))
    depth = torch.where(met, surface.depth, beyond) * parser_units_per_unit
    normal = torch.where(met[:, None], surface.normal, 0.0)
    return {"depth": depth[:, None], "normals": 0.5 + 0.5 * normal.clamp(-1, 1)}
