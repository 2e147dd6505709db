"""Materials: what a surface makes of the light around it, from matt paint with varnish to a mirror."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.synthetic.environment import studio
from neus_ns.data.synthetic.shading import backdrop, shade
from neus_ns.data.synthetic.shapes import Shape, Vec3, surface_normals
from neus_ns.data.synthetic.trace import ball_interval, sphere_trace

MaterialName = Literal["varnish", "mirror", "lacquer", "satin"]
# Radiance that comes from unit directions.
Environment = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]

# In bounding radii: where a mirrored ray starts above the surface, so that it does not meet its own start.
_LIFT = 2e-3
_BOUNCES = 2


@dataclass(frozen=True)
class Varnish:
    """Matt paint under a coat of varnish of strength `gloss`; without gloss it looks the same from every side."""

    gloss: float

    def surroundings(self, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Linear radiance of rays that miss the object."""
        return backdrop(directions)

    def radiance(
        self,
        shape: Shape,
        points_local: Float[Tensor, "n 3"],
        normals: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
    ) -> Float[Tensor, "n 3"]:
        """Linear radiance that surface points send against the viewing directions."""
        return shade(shape, points_local, normals, directions, self.gloss)


@dataclass(frozen=True)
class Reflecting:
    """A surface that mirrors its environment and itself, over a matt base.

    `at_normal` is the share mirrored by a surface seen head on, `tint` the colour of that mirroring, `base` how much
    of the rest meets the matt base, `spread` the lobe's width in radians, taken by `rays` rays.
    """

    environment: Environment
    at_normal: float
    base: float = 0.0
    tint: Vec3 = (1.0, 1.0, 1.0)
    spread: float = 0.0
    rays: int = 1

    def surroundings(self, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Linear radiance of rays that miss the object."""
        return self.environment(directions)

    def radiance(
        self,
        shape: Shape,
        points_local: Float[Tensor, "n 3"],
        normals: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
    ) -> Float[Tensor, "n 3"]:
        """Linear radiance that surface points send against the viewing directions."""
        return self._radiance(shape, points_local, normals, directions, _BOUNCES)

    def _radiance(self, shape: Shape, points: Tensor, normals: Tensor, directions: Tensor, bounces: int) -> Tensor:
        facing = -(normals * directions).sum(dim=1)
        mirrored_share = fresnel(facing, self.at_normal)[:, None]
        middle = reflected(directions, normals)
        # The second time a mirrored ray is mirrored nobody can tell a lobe from its middle.
        lobe = lobe_directions(middle, self.spread, self.rays if bounces == _BOUNCES else 1)
        light = torch.stack([self._incoming(shape, points, normals, part, bounces) for part in lobe]).mean(dim=0)
        light = mirrored_share * light * light.new_tensor(self.tint)
        if self.base == 0.0:
            return light
        return light + (1.0 - mirrored_share) * self.base * shade(shape, points, normals, directions, 0.0)

    def _incoming(self, shape: Shape, points: Tensor, normals: Tensor, directions: Tensor, bounces: int) -> Tensor:
        """Light that arrives along directions: of the surroundings, or of the object where it stands in the way."""
        light = self.environment(directions)
        if bounces == 0:
            return light
        starts = points + _LIFT * shape.radius * normals
        # Directions of a wide lobe may point into the surface: they see what its middle sees beyond the horizon.
        outward = ((directions * normals).sum(dim=1) > 0.0).nonzero()[:, 0]
        origin, direction = starts[outward], directions[outward]
        _, t_far = ball_interval(origin, direction, shape.radius)
        tolerance = 0.05 * _LIFT * shape.radius
        t = sphere_trace(shape.sdf_local, origin, direction, torch.zeros_like(t_far), t_far, tolerance)
        met = t.isfinite().nonzero()[:, 0]
        if met.numel() > 0:
            at = origin[met] + t[met, None] * direction[met]
            there = surface_normals(shape.sdf_local, at)
            light[outward[met]] = self._radiance(shape, at, there, direction[met], bounces - 1)
        return light


# What photographs ask for the light that surface points send to the eye, and for what is behind them.
Material = Varnish | Reflecting


def reflected(directions: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Viewing directions mirrored at surfaces with these unit normals: where the light that is seen comes from."""
    return directions - 2.0 * (directions * normals).sum(dim=1, keepdim=True) * normals


def fresnel(facing: Float[Tensor, " n"], at_normal: float) -> Float[Tensor, " n"]:
    """Schlick's share of light that is mirrored: `at_normal` seen head on (facing 1), everything at a grazing angle."""
    return at_normal + (1.0 - at_normal) * (1.0 - facing.clamp(0.0, 1.0)) ** 5


def lobe_directions(middle: Float[Tensor, "n 3"], spread: float, count: int) -> list[Float[Tensor, "n 3"]]:
    """Directions around a middle one: a Gaussian of width `spread` (radians) in even shares along a spiral."""
    if count == 1:
        return [middle]
    # Any direction that is not parallel to the middle gives the lobe's axes.
    helper = torch.where(middle[:, 2:].abs() < 0.9, middle.new_tensor([0.0, 0.0, 1.0]), middle.new_tensor([1.0, 0, 0]))
    across = torch.nn.functional.normalize(torch.linalg.cross(helper, middle), dim=1)
    along = torch.linalg.cross(middle, across)
    golden = math.pi * (3.0 - math.sqrt(5.0))
    directions = []
    for index in range(count):
        # The quantile of a two-dimensional Gaussian's radius (Rayleigh's distribution).
        radius = spread * math.sqrt(-2.0 * math.log(1.0 - (index + 0.5) / count))
        offset = math.cos(golden * index) * across + math.sin(golden * index) * along
        directions.append(math.cos(radius) * middle + math.sin(radius) * offset)
    return directions


def material_of(name: MaterialName, gloss: float) -> Material:
    """The material by its name; `gloss` matters to varnish alone."""
    if name == "mirror":
        return Reflecting(studio, at_normal=0.92, tint=(0.97, 0.96, 0.93))
    if name == "lacquer":
        return Reflecting(studio, at_normal=0.06, base=1.0)
    if name == "satin":
        # Softer edges than the spread leaves between its rays, so that no softbox shows a dozen times.
        blurred = partial(studio, edge_degrees=14.0)
        return Reflecting(blurred, at_normal=0.55, base=0.5, tint=(1.0, 0.86, 0.66), spread=0.2, rays=12)
    return Varnish(gloss)
