"""A smooth figurine for glossy captures: a gourd with a waist, a ring, and three dishes that no outline shows."""

import math

from jaxtyping import Float
from torch import Tensor

from neus_ns.data.synthetic.shapes import Shape, Vec3, smooth_carve, smooth_minimum, sphere, upright_torus
from neus_ns.data.synthetic.texture import blend, fractal_noise, stripes

_CENTRE_WORLD: Vec3 = (120.0, -40.0, 85.0)
_RADIUS = 52.0
_BELLY: Vec3 = (0.0, 0.0, -16.0)
_BELLY_RADIUS = 33.0
_HEAD: Vec3 = (0.0, 0.0, 25.0)
_HEAD_RADIUS = 19.0
_RING: Vec3 = (27.0, 0.0, 16.0)
# Azimuth and elevation of the dishes' middles on the belly, and how deep they are.
_DISHES = ((math.radians(100), 0.15, 6.0), (math.radians(215), 0.0, 5.0), (math.radians(-35), -0.2, 6.0))
_DISH_RADIUS = 22.0


def _dish_centre(azimuth: float, elevation: float, depth: float) -> Vec3:
    away = _BELLY_RADIUS + _DISH_RADIUS - depth
    flat = away * math.cos(elevation)
    return (flat * math.cos(azimuth), flat * math.sin(azimuth), _BELLY[2] + away * math.sin(elevation))


def _sdf_local(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    body = smooth_minimum(sphere(points, _BELLY, _BELLY_RADIUS), sphere(points, _HEAD, _HEAD_RADIUS), blend=14.0)
    body = smooth_minimum(body, upright_torus(points, _RING, 12.0, 4.5), blend=6.0)
    for dish in _DISHES:
        body = smooth_carve(body, sphere(points, _dish_centre(*dish), _DISH_RADIUS), blend=4.0)
    return body


def _albedo_local(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Two colours in broad veins, with a fine grain: enough to match where the coat does not outshine it."""
    veins = stripes(fractal_noise(points, 30.0, 3) * 3.0 + points[:, 2] / 50.0, edge=0.45)
    colour = blend(points.new_tensor([0.15, 0.02, 0.02]), points.new_tensor([0.24, 0.11, 0.03]), veins)
    grain = fractal_noise(points + 17.0, 9.0, 3)
    return (colour * (0.4 + 1.2 * grain)[:, None]).clamp(0.01, 0.95)


def figurine_shape() -> Shape:
    """The figurine as the renderer wants it, in a world of millimetres."""
    return Shape(_CENTRE_WORLD, _RADIUS, _sdf_local, _albedo_local)
