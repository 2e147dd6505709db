"""Real spherical harmonics of a direction, up to degree 3 (16 values): the colour networks' view encoding.

They are polynomials, so all of them are one product of a matrix with the monomials, and those are products of two
shorter ones each. Operation by operation, on columns of single numbers, they took as long as the network that reads
them.
"""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

SH_WIDTH = 16

_C1 = 0.4886025119029199
_C2, _C2_ZZ, _C2_XX = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
_C3_Y, _C3_ZZ, _C3_Z, _C3_XX = 0.5900435899266435, 0.4570457994644658, 0.3731763325901154, 1.445305721320277

# Coefficients of the monomials of every value; Condon-Shortley phase left out.
_HARMONICS: tuple[dict[str, float], ...] = (
    {"": 0.28209479177387814},
    {"y": _C1},
    {"z": _C1},
    {"x": _C1},
    {"xy": _C2},
    {"yz": _C2},
    {"zz": 3 * _C2_ZZ, "": -_C2_ZZ},
    {"xz": _C2},
    {"xx": _C2_XX, "yy": -_C2_XX},
    {"xxy": 3 * _C3_Y, "yyy": -_C3_Y},
    {"xyz": 2.890611442640554},
    {"yzz": 5 * _C3_ZZ, "y": -_C3_ZZ},
    {"zzz": 5 * _C3_Z, "z": -3 * _C3_Z},
    {"xzz": 5 * _C3_ZZ, "x": -_C3_ZZ},
    {"xxz": _C3_XX, "yyz": -_C3_XX},
    {"xxx": _C3_Y, "xyy": -3 * _C3_Y},
)
_LINEAR = ("x", "y", "z")
_QUADRATIC = ("xx", "yy", "zz", "xy", "yz", "xz")
_CUBIC = ("xxx", "yyy", "zzz", "xxy", "xxz", "xyy", "yyz", "xzz", "yzz", "xyz")


def spherical_harmonics(directions: Float[Tensor, "points 3"]) -> Float[Tensor, "points 16"]:
    """Values of the 16 real spherical harmonics of bands 0 to 3 at unit directions."""
    first, second, head, last, coefficients, constant = _tables(directions.dtype, directions.device)
    quadratic = (directions @ first) * (directions @ second)
    cubic = (quadratic @ head) * (directions @ last)
    return torch.addmm(constant, torch.cat([directions, quadratic, cubic], 1), coefficients)


@functools.lru_cache(maxsize=8)
def _tables(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Which factors each monomial is made of, and what each counts; kept, since copying them to a device takes time."""
    # Whoever asks first may be evaluating, and what inference mode makes can never be trained through.
    with torch.inference_mode(False):
        factors = [
            _choice(_LINEAR, [name[0] for name in _QUADRATIC]),
            _choice(_LINEAR, [name[1] for name in _QUADRATIC]),
            _choice(_QUADRATIC, [name[:2] for name in _CUBIC]),
            _choice(_LINEAR, [name[2] for name in _CUBIC]),
        ]
        monomials = (*_LINEAR, *_QUADRATIC, *_CUBIC)
        coefficients = [[value.get(name, 0.0) for value in _HARMONICS] for name in monomials]
        constant = [value.get("", 0.0) for value in _HARMONICS]
        return tuple(torch.tensor(each, dtype=dtype, device=device) for each in (*factors, coefficients, constant))


def _choice(of: tuple[str, ...], wanted: list[str]) -> list[list[float]]:
    """The matrix of zeros and ones that picks these out of those."""
    return [[float(name == want) for want in wanted] for name in of]
