"""Analytic signed distances: a few primitives, and the operators that join them without breaking sphere tracing.

Every function here has a gradient of length at most one, so that its absolute value never exceeds the distance to its
zero set: that is all that sphere tracing and block pruning ask for. Minimum, maximum and their smooth forms keep the
property, because the gradient of each is a convex combination of the gradients of what it joins. Positive is outside.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Vec3 = tuple[float, float, float]
# Signed distance at points, positive outside.
SdfFn = Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]

# Keeps the derivative of a length finite at zero; it moves a surface by at most a millionth of a unit.
_LENGTH_FLOOR = 1e-12


@dataclass(frozen=True)
class Shape:
    """A textured object: signed distance and albedo, both about its own centre, in a ball of `radius` world units."""

    centre: Vec3
    radius: float
    sdf_local: SdfFn
    albedo_local: Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]

    def local(self, points_world: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return points_world - points_world.new_tensor(self.centre)

    def sdf(self, points_world: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return self.sdf_local(self.local(points_world))


def length(*columns: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Euclidean length of vectors given column by column (several times faster than a norm over an axis of three)."""
    total = columns[0] * columns[0] + _LENGTH_FLOOR
    for column in columns[1:]:
        total = torch.addcmul(total, column, column)
    return total.sqrt()


def columns_about(points: Float[Tensor, "n 3"], centre: Vec3) -> tuple[Tensor, Tensor, Tensor]:
    """The three coordinates of points relative to a centre, each contiguous."""
    return points[:, 0] - centre[0], points[:, 1] - centre[1], points[:, 2] - centre[2]


def sphere(points: Float[Tensor, "n 3"], centre: Vec3, radius: float) -> Float[Tensor, " n"]:
    return length(*columns_about(points, centre)) - radius


def rounded_cylinder(
    points: Float[Tensor, "n 3"], centre: Vec3, radius: float, half_height: float, rounding: float
) -> Float[Tensor, " n"]:
    """An upright cylinder whose rim is rounded; radius and half height include the rounding."""
    x, y, z = columns_about(points, centre)
    side = length(x, y) - (radius - rounding)
    cap = z.abs() - (half_height - rounding)
    outside = length(side.clamp_min(0.0), cap.clamp_min(0.0))
    return torch.maximum(side, cap).clamp_max(0.0) + outside - rounding


def upright_torus(points: Float[Tensor, "n 3"], centre: Vec3, major: float, minor: float) -> Float[Tensor, " n"]:
    """A ring that stands in the xz plane: `major` to the middle of the tube, `minor` the tube's own radius."""
    x, y, z = columns_about(points, centre)
    return length(length(x, z) - major, y) - minor


def capsule(points: Float[Tensor, "n 3"], start: Vec3, end: Vec3, radius: float) -> Float[Tensor, " n"]:
    """A rod with round ends between two points."""
    x, y, z = columns_about(points, start)
    dx, dy, dz = end[0] - start[0], end[1] - start[1], end[2] - start[2]
    along = ((x * dx + y * dy + z * dz) / (dx * dx + dy * dy + dz * dz)).clamp(0.0, 1.0)
    return length(x - along * dx, y - along * dy, z - along * dz) - radius


def polyhedron(
    points: Float[Tensor, "n 3"], centre: Vec3, half_normals: Float[Tensor, "faces 3"], inradius: float
) -> Float[Tensor, " n"]:
    """A centrally symmetric convex solid from one unit normal a pair of opposite faces (a bound outside its edges)."""
    offsets = (points - points.new_tensor(centre)) @ half_normals.to(points).T
    return offsets.abs().amax(dim=1) - inradius


def smooth_minimum(a: Float[Tensor, " n"], b: Float[Tensor, " n"], blend: float) -> Float[Tensor, " n"]:
    """The union of two parts with a fillet, felt where their distances differ by less than `blend`."""
    overlap = (blend - (a - b).abs()).clamp_min(0.0)
    return torch.minimum(a, b) - overlap * overlap * (0.25 / blend)


def smooth_carve(a: Float[Tensor, " n"], tool: Float[Tensor, " n"], blend: float) -> Float[Tensor, " n"]:
    """Take `tool` away from `a`, with a rounded edge."""
    return -smooth_minimum(-a, tool, blend)


def _sdf_and_gradient(sdf_fn: SdfFn, points: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Signed distance and its gradient, by automatic differentiation of the formula."""
    with torch.enable_grad():
        leaf = points.detach().requires_grad_(True)
        sdf = sdf_fn(leaf)
        (gradient,) = torch.autograd.grad(sdf.sum(), leaf)
    return sdf.detach(), gradient


def surface_normals(sdf_fn: SdfFn, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Outward unit normals at surface points."""
    return torch.nn.functional.normalize(_sdf_and_gradient(sdf_fn, points)[1], dim=1)


def project_to_surface(sdf_fn: SdfFn, points: Float[Tensor, "n 3"], steps: int = 4) -> Float[Tensor, "n 3"]:
    """Newton steps along the gradient onto the zero set, for points that are near it already."""
    for _ in range(steps):
        sdf, gradient = _sdf_and_gradient(sdf_fn, points)
        # The gradient of a fillet or of a bound may be shorter than one: Newton divides by its square.
        slope = (gradient * gradient).sum(dim=1).clamp_min(0.25)
        points = points - (sdf / slope)[:, None] * gradient
    return points
