"""Light for the synthetic photographs: a key light with soft shadow, a sky, ambient occlusion, and optional gloss.

Without gloss the colour of a surface point is the same from every side. All colours are linear until `to_display`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.synthetic.shapes import SdfFn, Shape
from neus_ns.data.synthetic.texture import fractal_noise

_KEY_DIRECTION = torch.nn.functional.normalize(torch.tensor([0.45, -0.65, 0.75]), dim=0)
_KEY_COLOUR = torch.tensor([1.75, 1.58, 1.34])
_SKY_COLOUR = torch.tensor([0.50, 0.60, 0.74])
_GROUND_COLOUR = torch.tensor([0.40, 0.33, 0.27])
_SHADOW_STEPS = 14
# How far the penumbra spreads: the tangent of the key light's half angle, inverted.
_SHADOW_SHARPNESS = 7.0
_OCCLUSION_REACH_IN_RADII = (0.03, 0.08, 0.16, 0.28)


def backdrop(directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Radiance of the far surroundings: dusk below, warm haze in the middle, a cool sky above, clouds over all."""
    height = directions[:, 2]
    clouds = fractal_noise(directions, 0.55, 4)
    climb = (0.5 + 0.62 * height + 0.55 * (clouds - 0.5)).clamp(0.0, 1.0)[:, None]
    below, middle, above = directions.new_tensor([[0.24, 0.18, 0.15], [0.66, 0.57, 0.47], [0.25, 0.40, 0.60]]).unbind(0)
    low = below + (middle - below) * (2.0 * climb).clamp(0.0, 1.0)
    return low + (above - low) * (2.0 * climb - 1.0).clamp(0.0, 1.0)


def _soft_shadow(sdf_fn: SdfFn, points: Float[Tensor, "n 3"], radius: float) -> Float[Tensor, " n"]:
    """The part of the key light that passes, from the narrowest clearance seen along the way to it."""
    light = torch.ones_like(points[:, 0])
    t = torch.full_like(light, 0.02 * radius)
    direction = _KEY_DIRECTION.to(points)
    rows = torch.arange(len(points), device=points.device)
    for _ in range(_SHADOW_STEPS):
        distance = sdf_fn(points[rows] + t[rows, None] * direction)
        light[rows] = torch.minimum(light[rows], _SHADOW_SHARPNESS * distance / t[rows]).clamp_min(0.0)
        # The lower limit keeps the walk going past a rim; the upper one keeps it from stepping over the penumbra.
        t[rows] = t[rows] + distance.clamp(0.02 * radius, 0.25 * radius)
        rows = rows[(light[rows] > 0.0) & (t[rows] < 1.6 * radius)]
        if rows.numel() == 0:
            break
    return light * light * (3.0 - 2.0 * light)


def _openness(
    sdf_fn: SdfFn, points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], radius: float
) -> Float[Tensor, " n"]:
    """Ambient occlusion: how much of the clearance that a flat surface would have is there, at four heights."""
    share = torch.zeros_like(points[:, 0])
    for reach in _OCCLUSION_REACH_IN_RADII:
        height = reach * radius
        share = share + (sdf_fn(points + height * normals) / height).clamp(0.0, 1.0)
    return share / len(_OCCLUSION_REACH_IN_RADII)


def shade(
    shape: Shape,
    points_local: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    gloss: float,
) -> Float[Tensor, "n 3"]:
    """Radiance that surface points send against the viewing directions."""
    key_cosine = (normals @ _KEY_DIRECTION.to(normals)).clamp_min(0.0)
    lit = (key_cosine > 0.0).nonzero()[:, 0]
    key = torch.zeros_like(key_cosine)
    key[lit] = _soft_shadow(shape.sdf_local, points_local[lit], shape.radius)
    openness = _openness(shape.sdf_local, points_local, normals, shape.radius)
    sky_share = 0.5 + 0.5 * normals[:, 2:]
    ambient = _GROUND_COLOUR.to(normals) + (_SKY_COLOUR - _GROUND_COLOUR).to(normals) * sky_share
    light = (key * key_cosine)[:, None] * _KEY_COLOUR.to(normals) + openness[:, None] * ambient
    colour = shape.albedo_local(points_local) * light
    if gloss > 0.0:
        colour = colour + gloss * _highlight(normals, directions, key, openness)
    return colour


def _highlight(
    normals: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    key: Float[Tensor, " n"],
    openness: Float[Tensor, " n"],
) -> Float[Tensor, "n 3"]:
    """What a coat of varnish adds: Blinn's highlight of the key light, and the sky reflected by Schlick's Fresnel."""
    facing = -(normals * directions).sum(dim=1)
    fresnel = 0.06 + 0.94 * (1.0 - facing.clamp(0.0, 1.0)) ** 5
    halfway = torch.nn.functional.normalize(_KEY_DIRECTION.to(directions) - directions, dim=1)
    peak = (normals * halfway).sum(dim=1).clamp_min(0.0) ** 60
    reflected = directions + 2.0 * facing[:, None] * normals
    sky = (fresnel * openness)[:, None] * backdrop(reflected)
    return sky + (0.6 * peak * key)[:, None] * _KEY_COLOUR.to(normals)


def to_display(radiance: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Linear radiance to display values in [0, 1]: a soft shoulder for highlights, then gamma 2.2."""
    squeezed = torch.where(radiance > 0.7, 0.7 + 0.3 * torch.tanh((radiance - 0.7) / 0.3), radiance)
    return squeezed.clamp(0.0, 1.0) ** (1.0 / 2.2)
