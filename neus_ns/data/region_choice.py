"""The region of interest that a user asks for, brought from the world of the poses into nerfstudio's frame."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from neus_ns.data.focus import share_in_frame
from neus_ns.data.frame import transform_points
from neus_ns.data.hull import carve
from neus_ns.data.region import Region
from neus_ns.data.region_file import Ball, Box, read_region_file
from neus_ns.data.region_options import RegionOptions
from neus_ns.data.views import Views
from neus_ns.errors import InputError

# So few points may all be strays.
_LEAST_POINTS = 30
# Steps along the region's cube at which it is asked whether any camera has the place in frame.
_PROBES = 9
# Cells along the region in which the masks must leave something, and what their outlines may be off by.
_HULL_CELLS, _MASK_MARGIN_PX = 32, 2.0


def chosen_region(
    options: RegionOptions, found: Callable[[], Region], world_from_parser: Float[Tensor, "4 4"]
) -> Region:
    """The region of the options, in nerfstudio's frame; `found` is only asked for what they leave open."""
    if not options.is_given:
        return found()
    parser_from_world = torch.linalg.inv(world_from_parser)
    scale = float(torch.linalg.det(parser_from_world[:3, :3]).abs() ** (1 / 3))
    balls = options.centre is not None or options.radius is not None
    if balls + (options.box is not None) + (options.file is not None) > 1:
        raise InputError(
            "The region of interest is given in more than one way; give `region.centre` and `region.radius`, or "
            "`region.box`, or `region.file`."
        )
    if balls:
        return _ball_of(options, found, parser_from_world, scale)
    if options.box is not None:
        corners = np.array(options.box, dtype=np.float64)
        return _around_box((corners[:3], corners[3:]), "`region.box`", parser_from_world, scale)
    assert options.file is not None
    shape = read_region_file(options.file)
    if isinstance(shape[1], ndarray):
        return _around_box((shape[0], shape[1]), f"the box in {options.file}", parser_from_world, scale)
    return _ball((shape[0], shape[1]), f"{options.file}", parser_from_world, scale)


def _ball_of(
    options: RegionOptions, found: Callable[[], Region], parser_from_world: Float[Tensor, "4 4"], scale: float
) -> Region:
    if options.radius is not None:
        _require_radius(options.radius, "`region.radius`")
    if options.centre is not None and not all(map(math.isfinite, options.centre)):
        raise InputError("`region.centre` holds NaN or infinite numbers; give three numbers in the units of the poses.")
    if options.centre is not None and options.radius is not None:
        ball = np.array(options.centre, dtype=np.float64), float(options.radius)
        return _ball(ball, "`region.centre` and `region.radius`", parser_from_world, scale)
    automatic = found()
    if options.centre is None:
        assert options.radius is not None
        how = f"`region.radius`, around the centre of: {automatic.how}"
        return Region(automatic.centre, scale * float(options.radius), how)
    centre = transform_points(parser_from_world, torch.tensor(options.centre, dtype=torch.float64))
    return Region(centre, automatic.radius, f"`region.centre`, with the radius of: {automatic.how}")


def _ball(ball: Ball, name: str, parser_from_world: Float[Tensor, "4 4"], scale: float) -> Region:
    _require_radius(ball[1], name)
    centre = transform_points(parser_from_world, torch.from_numpy(ball[0].astype(np.float64)))
    return Region(centre, scale * ball[1], f"given by {name}")


def _require_radius(radius: float | int, name: str) -> None:
    if not (math.isfinite(radius) and radius > 0):
        raise InputError(f"{name} gives the radius {radius:g}; give a positive length in the units of the poses.")


def _around_box(box: Box, name: str, parser_from_world: Float[Tensor, "4 4"], scale: float) -> Region:
    """The ball through the corners of a box."""
    low, high = box
    for axis, (start, stop) in enumerate(zip(low, high, strict=True)):
        if not (math.isfinite(start) and math.isfinite(stop) and start < stop):
            raise InputError(
                f"{name} runs from {start:g} to {stop:g} along {'xyz'[axis]}; give the lower corner first, then the "
                "upper one, in the units of the poses."
            )
    corners = np.array(list(product(*zip(low, high, strict=True))))
    region = _ball(((low + high) / 2, float(np.linalg.norm(high - low)) / 2), name, parser_from_world, scale)
    return Region(
        region.centre, region.radius, region.how, transform_points(parser_from_world, torch.from_numpy(corners))
    )


def require_in_sight(
    region: Region,
    views_parser: Views,
    points_parser: Float[Tensor, "points 3"] | None,
    world_from_parser: Float[Tensor, "4 4"],
) -> None:
    """Raise InputError for a region of the user's that nothing is known about: unseen, or far from all points."""
    steps = torch.linspace(-1, 1, _PROBES, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps, steps)
    probes = region.centre + region.radius * grid[grid.norm(dim=-1) <= 1]
    mean_place = transform_points(world_from_parser, views_parser.world_from_camera[:, :, 3].double().mean(0))
    if not bool((share_in_frame(views_parser, probes) > 0).any()):
        raise InputError(
            f"No camera has the region of interest in frame ({region.how}); give it in the coordinates and units of "
            f"the poses, in which the cameras' middle is at {_place(mean_place)}."
        )
    if views_parser.masks is not None and not bool(
        carve(views_parser, region.centre, region.radius, _HULL_CELLS, _MASK_MARGIN_PX, unseen=False).any()
    ):
        raise InputError(
            f"The masks show no object inside the region of interest ({region.how}); give it in the coordinates and "
            f"units of the poses, in which the cameras' middle is at {_place(mean_place)}."
        )
    if points_parser is None or len(points_parser) < _LEAST_POINTS:
        return
    points = points_parser.double()
    if not bool(((points - region.centre).norm(dim=-1) < region.radius).any()):
        middle = transform_points(world_from_parser, points.median(0).values)
        raise InputError(
            f"None of the {len(points)} SfM points is inside the region of interest ({region.how}); give it in the "
            f"coordinates and units of the poses, in which the points' middle is at {_place(middle)}."
        )


def _place(point: Float[Tensor, "3"]) -> str:
    return " ".join(f"{value:.4g}" for value in point.tolist())
