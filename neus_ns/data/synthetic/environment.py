"""A photographer's studio seen from its middle: what a glossy object mirrors, as radiance by direction alone."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Azimuth and elevation of the middle, half width and half height (all degrees), radiance. The first stands where the
# key light of `shading` comes from; they are spread so that every side of the object mirrors one or two.
_SOFTBOXES = (
    (-55.0, 43.0, 17.0, 12.0, (3.0, 2.8, 2.5)),
    (75.0, 28.0, 9.0, 24.0, (1.6, 1.9, 2.4)),
    (165.0, 52.0, 22.0, 8.0, (2.2, 2.1, 2.0)),
    (-150.0, 12.0, 6.0, 17.0, (1.9, 1.4, 1.1)),
)
# A window of four panes: azimuth, elevation, half width, half height, half width of its bars.
_WINDOW = (15.0, 14.0, 18.0, 15.0, 2.0)
_WINDOW_LIGHT = (1.5, 1.7, 2.0)
_CEILING, _WALL, _FLOOR = (0.42, 0.45, 0.50), (0.26, 0.22, 0.20), (0.30, 0.20, 0.12)


def _inside(offset: Float[Tensor, " n"], half: float, edge: float) -> Float[Tensor, " n"]:
    """One where |offset| is below half, zero beyond, with a soft edge."""
    return torch.sigmoid((half - offset.abs()) / (0.25 * edge))


def studio(directions: Float[Tensor, "n 3"], edge_degrees: float = 2.5) -> Float[Tensor, "n 3"]:
    """Radiance from unit directions (z is up): walls from floor to ceiling, four softboxes and a window.

    `edge_degrees` is the width over which everything fades into what is beside it.
    """
    azimuth = torch.rad2deg(torch.atan2(directions[:, 1], directions[:, 0]))
    elevation = torch.rad2deg(torch.asin(directions[:, 2].clamp(-1.0, 1.0)))

    def around(degrees: float) -> Tensor:
        return torch.remainder(azimuth - degrees + 180.0, 360.0) - 180.0

    ceiling, wall, floor = (directions.new_tensor(colour) for colour in (_CEILING, _WALL, _FLOOR))
    height = directions[:, 2:]
    light = wall + (ceiling - wall) * height.clamp_min(0.0).sqrt()
    # A wall is a little brighter on one side, so that no two sides of the object look alike.
    light = light * (1.0 + 0.25 * torch.cos(torch.deg2rad(around(40.0))))[:, None]
    below = torch.sigmoid(-(elevation + 8.0) / (0.25 * edge_degrees))[:, None]
    light = light + (floor * (1.0 + 0.5 * height) - light) * below
    for middle, rise, half_width, half_height, radiance in _SOFTBOXES:
        # Degrees of azimuth shrink towards the zenith; the boxes keep their width.
        across = around(middle) * math.cos(math.radians(rise))
        cover = _inside(across, half_width, edge_degrees) * _inside(elevation - rise, half_height, edge_degrees)
        light = light + (directions.new_tensor(radiance) - light) * cover[:, None]
    middle, rise, half_width, half_height, bar = _WINDOW
    across, up = around(middle), elevation - rise
    panes = _inside(across, half_width, edge_degrees) * _inside(up, half_height, edge_degrees)
    panes = panes * (1.0 - _inside(across, bar, edge_degrees)) * (1.0 - _inside(up, bar, edge_degrees))
    return light + (directions.new_tensor(_WINDOW_LIGHT) - light) * panes[:, None]
