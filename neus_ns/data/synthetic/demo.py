"""The demo object: a small footed pot with a handle, an antenna and a loose faceted ball, in a world of millimetres.

It holds what surface methods find hard: a hole through the handle, a rod and a rim a few pixels thick, a bowl that no
outline shows, sharp facets, and a second part that touches nothing.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.synthetic.shapes import (
    Shape,
    Vec3,
    capsule,
    columns_about,
    length,
    polyhedron,
    rounded_cylinder,
    smooth_carve,
    smooth_minimum,
    sphere,
    upright_torus,
)
from neus_ns.data.synthetic.texture import blend, checks, fractal_noise, stripes

CENTRE_WORLD: Vec3 = (120.0, -40.0, 85.0)
RADIUS = 60.0

_BELLY: Vec3 = (0.0, 0.0, -8.0)
_NECK: Vec3 = (0.0, 0.0, 14.0)
_BOWL: Vec3 = (0.0, 0.0, 30.0)
_BOWL_RADIUS = 24.5
_HANDLE: Vec3 = (38.5, 0.0, -4.0)
_HANDLE_MAJOR = 14.5
_ROD_START: Vec3 = (-26.0, -7.0, 22.0)
_ROD_END: Vec3 = (-35.0, -14.0, 40.0)
_BALL: Vec3 = (12.0, -44.0, 19.0)
_BALL_INRADIUS = 9.0
_FEET = tuple((math.cos(angle), math.sin(angle)) for angle in (0.5, 0.5 + math.tau / 3, 0.5 + 2 * math.tau / 3))


@lru_cache(maxsize=1)
def _dodecahedron_normals() -> Float[Tensor, "faces 3"]:
    """One normal for each pair of opposite faces, turned so that no face looks along an axis."""
    golden = (1.0 + math.sqrt(5.0)) / 2.0
    corners = [(0, 1, golden), (0, -1, golden), (1, golden, 0), (-1, golden, 0), (golden, 0, 1), (golden, 0, -1)]
    normals = torch.nn.functional.normalize(torch.tensor(corners, dtype=torch.float64), dim=1)
    cos, sin = math.cos(0.4), math.sin(0.4)
    about_z = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    about_x = torch.tensor([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]], dtype=torch.float64)
    return normals @ (about_z @ about_x).T


def _vessel(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    neck = rounded_cylinder(points, _NECK, radius=28.0, half_height=14.0, rounding=1.6)
    return smooth_minimum(sphere(points, _BELLY, 34.0), neck, blend=9.0)


def _handle(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    return upright_torus(points, _HANDLE, _HANDLE_MAJOR, 4.2)


def _feet(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    feet = [capsule(points, (19 * c, 19 * s, -30.0), (25 * c, 25 * s, -46.0), 4.4) for c, s in _FEET]
    return torch.minimum(torch.minimum(feet[0], feet[1]), feet[2])


def _antenna(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    return torch.minimum(capsule(points, _ROD_START, _ROD_END, 1.4), sphere(points, _ROD_END, 4.2))


def _ball(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    return polyhedron(points, _BALL, _dodecahedron_normals(), _BALL_INRADIUS)


def _sdf_local(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    pot = smooth_minimum(_vessel(points), _handle(points), blend=4.0)
    pot = smooth_minimum(pot, _feet(points), blend=3.0)
    pot = smooth_carve(pot, sphere(points, _BOWL, _BOWL_RADIUS), blend=1.5)
    pot = smooth_minimum(pot, _antenna(points), blend=1.5)
    return torch.minimum(pot, _ball(points))


def _rgb(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue])


def _glaze(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The outside of the pot: marbled teal, a chequered belt, pin stripes below the rim."""
    x, y, z = columns_about(points, (0.0, 0.0, 0.0))
    turn = torch.atan2(y, x) / math.tau
    warp = 2.0 * fractal_noise(points + 40.0, 20.0, 2)
    marble = stripes(fractal_noise(points, 26.0, 3) * 3.0 + z / 40.0, edge=0.45)
    colour = blend(_rgb(0.01, 0.14, 0.20), _rgb(0.13, 0.46, 0.43), marble)
    belt = checks(turn * 14.0, (z + 0.6 * warp) / 9.0, edge=0.12)
    belt_colour = blend(_rgb(0.85, 0.72, 0.50), _rgb(0.05, 0.09, 0.22), belt)
    inside_belt = (4.0 * (9.0 - (z + 10.0).abs())).clamp(0.0, 1.0)
    colour = blend(colour, belt_colour, inside_belt)
    pins = stripes((z + warp) / 4.5, edge=0.3) * (2.0 * (z - 8.0)).clamp(0.0, 1.0)
    return blend(colour, _rgb(0.88, 0.80, 0.62), 0.85 * pins)


def _bowl_inside(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Ivory with wandering rings, so that the deepest part of the bowl is as matchable as the outside."""
    x, y, z = columns_about(points, _BOWL)
    wander = fractal_noise(points, 14.0, 3)
    rings = stripes(length(x, y) / 9.0 + 1.5 * wander, edge=0.2)
    colour = blend(_rgb(0.86, 0.78, 0.64), _rgb(0.62, 0.17, 0.09), rings)
    spots = (6.0 * (fractal_noise(points + 90.0, 6.0, 2) - 0.60)).clamp(0.0, 1.0)
    return blend(colour, _rgb(0.06, 0.10, 0.25), spots)


def _clay(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The handle: terracotta with cords wound around the tube."""
    x, _, z = columns_about(points, _HANDLE)
    cords = stripes(torch.atan2(z, x) / math.tau * 16.0 + fractal_noise(points, 12.0, 2), edge=0.2)
    return blend(_rgb(0.55, 0.13, 0.05), _rgb(0.86, 0.50, 0.22), cords)


def _dark_wood(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    grain = stripes(fractal_noise(points, 9.0, 3) * 4.0 + points[:, 2] / 12.0, edge=0.4)
    return blend(_rgb(0.16, 0.08, 0.05), _rgb(0.52, 0.33, 0.18), grain)


def _signal_paint(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The antenna: red and white turns of a barber's pole."""
    x, y, z = columns_about(points, _ROD_END)
    turns = stripes((z + 0.4 * x + 0.3 * y) / 5.0, edge=0.2)
    return blend(_rgb(0.75, 0.06, 0.07), _rgb(0.90, 0.87, 0.80), turns)


def _facets(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The loose ball: every facet its own mixture of two yellows, with dark veins."""
    offsets = (points - points.new_tensor(_BALL)) @ _dodecahedron_normals().to(points).T
    face = offsets.abs().argmax(dim=1)
    side = torch.gather(offsets, 1, face[:, None])[:, 0] > 0
    mixture = (0.37 * (face + 6 * side)) % 1.0
    colour = blend(_rgb(0.90, 0.62, 0.06), _rgb(0.85, 0.33, 0.08), mixture.to(points))
    veins = (16.0 * ((fractal_noise(points, 8.0, 2) - 0.5).abs() - 0.02)).clamp(0.0, 1.0)
    return blend(_rgb(0.20, 0.06, 0.16).expand_as(points), colour, veins)


def _albedo_local(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Linear albedo: the material of the nearest part, and grain of several sizes over all of them."""
    in_bowl = (sphere(points, _BOWL, _BOWL_RADIUS).abs() < 0.5) & (points[:, 2] < 27.0)
    distances = torch.stack([_vessel(points), _handle(points), _feet(points), _antenna(points), _ball(points)], dim=1)
    part = torch.where(in_bowl, 5, distances.argmin(dim=1))
    colour = torch.empty_like(points)
    materials = (_glaze, _clay, _dark_wood, _signal_paint, _facets, _bowl_inside)
    for index, material in enumerate(materials):
        rows = (part == index).nonzero()[:, 0]
        colour[rows] = material(points[rows])
    grain = fractal_noise(points + 17.0, 8.0, 3)
    return (colour * (0.35 + 1.3 * grain)[:, None]).clamp(0.01, 0.95)


def demo_shape() -> Shape:
    """The demo object as the renderer wants it."""
    return Shape(CENTRE_WORLD, RADIUS, _sdf_local, _albedo_local)


def demo_sdf(points_world: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Signed distance to the demo object at world points, in millimetres: exact sign and zero set, never too large."""
    return demo_shape().sdf(points_world)
