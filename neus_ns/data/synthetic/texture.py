"""Procedural solid texture: value noise and soft stripes, functions of the point alone, so that every view agrees."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

_LATTICE = 32
# Each octave looks at turned coordinates, so that the lattices of the octaves do not line up and show.
_TURN = ((0.00, 0.80, 0.60), (-0.80, 0.36, -0.48), (-0.60, -0.48, 0.64))


@lru_cache(maxsize=1)
def _lattice_values() -> Float[Tensor, " cells"]:
    return torch.rand(_LATTICE**3, generator=torch.Generator().manual_seed(20240229))


def value_noise(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Smooth noise in [0, 1] with features about one unit wide; it repeats every 32 units."""
    cell = points.floor()
    fraction = points - cell
    fraction = fraction * fraction * (3.0 - 2.0 * fraction)
    low = cell.long() & (_LATTICE - 1)
    high = (low + 1) & (_LATTICE - 1)
    strides = (_LATTICE * _LATTICE, _LATTICE, 1)
    x, y, z = ((low[:, axis] * strides[axis], high[:, axis] * strides[axis]) for axis in range(3))
    fx, fy, fz = fraction.unbind(1)
    table = _lattice_values().to(points)

    def along_z(base: Tensor) -> Tensor:
        return torch.lerp(table[base + z[0]], table[base + z[1]], fz)

    face_low = torch.lerp(along_z(x[0] + y[0]), along_z(x[0] + y[1]), fy)
    face_high = torch.lerp(along_z(x[1] + y[0]), along_z(x[1] + y[1]), fy)
    return torch.lerp(face_low, face_high, fx)


def fractal_noise(points: Float[Tensor, "n 3"], wavelength: float, octaves: int) -> Float[Tensor, " n"]:
    """Octaves of value noise in about [0, 1]: each half as wide as the last and 0.7 times as strong.

    The fall-off is slower than nature's usual half, because photometric matching needs contrast at every scale.
    """
    turn = points.new_tensor(_TURN)
    scaled = points / wavelength
    total, strength, weight = torch.zeros_like(points[:, 0]), 0.0, 1.0
    for octave in range(octaves):
        total = total + weight * value_noise(scaled + 7.31 * octave)
        strength += weight
        scaled = (scaled @ turn.T) * 2.0
        weight *= 0.7
    return total / strength


def stripes(phase: Float[Tensor, " n"], edge: float = 0.25) -> Float[Tensor, " n"]:
    """A soft square wave in [0, 1] with period one; `edge` is the part of a period that each flank takes."""
    triangle = (phase - phase.floor() - 0.5).abs() * 4.0 - 1.0
    return (0.5 + 0.25 * triangle / edge).clamp(0.0, 1.0)


def checks(u: Float[Tensor, " n"], v: Float[Tensor, " n"], edge: float = 0.2) -> Float[Tensor, " n"]:
    """A soft chequer board in [0, 1] with period one on both axes."""
    a, b = stripes(u, edge), stripes(v, edge)
    return a + b - 2.0 * a * b


def blend(a: Float[Tensor, "*a 3"], b: Float[Tensor, "*b 3"], share: Float[Tensor, " n"]) -> Float[Tensor, "n 3"]:
    """Colour a where share is zero, colour b where it is one."""
    return a + (b - a) * share[:, None]
