"""A scene drawn from above and from the side: cameras, points, and the region of interest as a ball or a box."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from neus_ns.data.survey import Survey
from neus_ns.data.views import Views

# Sizes are in pixels of the finished picture, drawn at twice that and shrunk, so that lines are smooth.
_OVERSAMPLING = 2
_PANEL, _MARGIN, _HEADER, _FOOTER = 640, 24, 64, 40
_PAPER, _FRAME, _INK = (250, 250, 248), (214, 214, 210), (40, 42, 46)
_POINT_OUTSIDE, _POINT_INSIDE, _REGION, _CAMERA = (190, 192, 196), (70, 120, 190), (214, 90, 40), (30, 130, 90)
_MOST_POINTS = 6000
# Length of a drawn camera as a share of the picture's half width, and how many are drawn at most.
_CAMERA_SHARE, _MOST_CAMERAS = 0.07, 400
# Points further out than this share of them do not widen the picture.
_POINTS_SHOWN = 0.9
_PANELS = (("from above", (0, 1)), ("from the side", (0, 2)))

Segments = Float[ndarray, "segments 2 3"]


def draw_scene(survey: Survey, name: str) -> Image.Image:
    """The picture, in nerfstudio's frame, where z is up if the parser knew what is up."""
    middle, half = _extent(survey)
    size = (2 * _PANEL + 3 * _MARGIN, _PANEL + 2 * _MARGIN + _HEADER + _FOOTER)
    canvas = Image.new("RGB", (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING), _PAPER)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (_MARGIN, _MARGIN), f"{name}: {len(survey.views.fx)} cameras", 22)
    units = survey.frame.world_units_per_unit / survey.region.radius
    for index, (title, axes) in enumerate(_PANELS):
        left, top = _MARGIN + index * (_PANEL + _MARGIN), _MARGIN + _HEADER
        panel = Image.new("RGB", (_PANEL * _OVERSAMPLING, _PANEL * _OVERSAMPLING), (255, 255, 255))
        _draw_panel(ImageDraw.Draw(panel), survey, middle, half, axes)
        canvas.paste(panel, (left * _OVERSAMPLING, top * _OVERSAMPLING))
        corner = [value * _OVERSAMPLING for value in (left, top, left + _PANEL, top + _PANEL)]
        draw.rectangle(corner, outline=_FRAME, width=_OVERSAMPLING)
        _write(draw, (left, top - 26), title, 18)
        _scale_bar(draw, (left + 12, top + _PANEL - 16), half, units)
    footer = f"region: radius {survey.frame.world_units_per_unit:.4g} in the units of the poses ({survey.region.how})"
    _write(draw, (_MARGIN, size[1] - _FOOTER), footer[:150], 16)
    return canvas.reduce(_OVERSAMPLING)


def _extent(survey: Survey) -> tuple[Float[ndarray, "3"], float]:
    """Middle and half width of a cube that shows the region, all cameras, and most of the points."""
    centre, radius = survey.region.centre.numpy(), survey.region.radius
    places = [centre[None] - radius, centre[None] + radius, survey.views.world_from_camera[:, :, 3].double().numpy()]
    if survey.points is not None:
        points = _thinned(survey)
        spread = (1 - _POINTS_SHOWN) / 2
        places.append(np.quantile(points, (spread, 1 - spread), axis=0))
    everything = np.concatenate(places)
    low, high = everything.min(0), everything.max(0)
    return (low + high) / 2, 1.12 * float((high - low).max()) / 2


def _thinned(survey: Survey) -> Float[ndarray, "points 3"]:
    assert survey.points is not None
    points = survey.points[:: -(-len(survey.points) // _MOST_POINTS)].double().cpu()
    return points[torch.isfinite(points).all(-1)].numpy()


def _draw_panel(
    draw: ImageDraw.ImageDraw, survey: Survey, middle: Float[ndarray, "3"], half: float, axes: tuple[int, int]
) -> None:
    scale = _PANEL * _OVERSAMPLING / (2 * half)
    side = _PANEL * _OVERSAMPLING

    def pixels(points: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 2"]:
        flat = (points - middle)[..., list(axes)] * [scale, -scale] + side / 2
        # Strays far outside would overflow the drawing's integers.
        return np.clip(flat, -side, 2 * side)

    centre, radius = survey.region.centre.numpy(), survey.region.radius
    if survey.points is not None:
        points = _thinned(survey)
        inside = np.linalg.norm(points - centre, axis=1) < radius
        for chosen, colour in ((~inside, _POINT_OUTSIDE), (inside, _POINT_INSIDE)):
            for column, row in pixels(points[chosen]).tolist():
                draw.rectangle((column - 1, row - 1, column + 1, row + 1), fill=colour)
    for first, second in pixels(_frusta(survey.views, _CAMERA_SHARE * half)).tolist():
        draw.line((*first, *second), fill=_CAMERA, width=_OVERSAMPLING)
    column, row = pixels(centre).tolist()
    reach = max(radius * scale, 3.0)
    draw.ellipse((column - reach, row - reach, column + reach, row + reach), outline=_REGION, width=2 * _OVERSAMPLING)
    if survey.region.corners is not None:
        for first, second in pixels(_box_edges(survey.region.corners.numpy())).tolist():
            draw.line((*first, *second), fill=_REGION, width=_OVERSAMPLING)


def _frusta(views: Views, length: float) -> Segments:
    """The edges of every camera's pyramid: from its place to the corners of its picture, and along these."""
    pick = slice(None, None, -(-len(views.fx) // _MOST_CAMERAS))
    poses = views.world_from_camera[pick].double().numpy()
    fx, fy, cx, cy, width, height = (
        values[pick].double().numpy() for values in (views.fx, views.fy, views.cx, views.cy, views.width, views.height)
    )
    zero = np.zeros_like(width)
    corners = []
    for column, row in ((zero, zero), (width, zero), (width, height), (zero, height)):
        ray = np.stack([(column - cx) / fx, -(row - cy) / fy, -np.ones_like(fx)], axis=-1)
        ray *= length / np.linalg.norm(ray, axis=-1, keepdims=True)
        corners.append(poses[:, :, 3] + np.einsum("vij,vj->vi", poses[:, :, :3], ray))
    edges = [(poses[:, :, 3], corner) for corner in corners]
    edges += [(corners[index], corners[(index + 1) % 4]) for index in range(4)]
    return np.concatenate([np.stack(edge, axis=1) for edge in edges])


def _box_edges(corners: Float[ndarray, "8 3"]) -> Segments:
    """Corners are in the order of the binary numbers 0 to 7, so an edge joins two that differ in one digit."""

    def pairs() -> Iterator[tuple[int, int]]:
        for corner in range(8):
            for digit in (1, 2, 4):
                if not corner & digit:
                    yield corner, corner | digit

    return np.array([[corners[first], corners[second]] for first, second in pairs()])


def _scale_bar(draw: ImageDraw.ImageDraw, at: tuple[int, int], half: float, units: float) -> None:
    """A bar of a round length, about a fifth of the panel wide; `units` are world units for one of the picture's."""
    wanted = 0.4 * half * units
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    pixels = length / units / (2 * half) * _PANEL
    left, top = at
    corner = [value * _OVERSAMPLING for value in (left, top, left + pixels, top + 3)]
    draw.rectangle(corner, fill=_INK)
    _write(draw, (left, top - 22), f"{length:g}", 16)


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int) -> None:
    font = ImageFont.load_default(size * _OVERSAMPLING)
    draw.text((at[0] * _OVERSAMPLING, at[1] * _OVERSAMPLING), text, _INK, font)
