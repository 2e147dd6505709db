"""Comparison pictures: a row per run or scene, a column per view of it, captions that say what it scored and cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from neus_ns.errors import InputError

# Lengths are in pixels of the finished picture, drawn at twice that and shrunk, so that corners and letters are smooth.
OVERSAMPLING = 2
MARGIN = 28
GAP = 14
CORNER_RADIUS = 10
TITLE_SIZE, NAME_SIZE, CAPTION_SIZE = 17, 21, 17
TITLE_SPACE, ROW_SPACE, CAPTION_SPACE = 38, 44, 30

PAPER = (247, 247, 245)
OUTLINE = (224, 224, 220)
INK = (32, 33, 36)
SOFT_INK = (104, 108, 114)


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    `caption` stands across from the name, `panel_captions` (one each, or none) under the panels.
    """

    name: str
    caption: str
    panels: Sequence[UInt8[np.ndarray, "_ _ 3"]]
    panel_captions: Sequence[str] = ()


def comparison(rows: Sequence[Row], titles: Sequence[str], path: Path, width: int = 1400) -> None:
    """Write a PNG of rows of panels under column titles. Panels of a row are cut to one shape, that of its first."""
    if not rows:
        raise InputError("A comparison needs at least one row of pictures.")
    for row in rows:
        if len(row.panels) != len(titles) or len(row.panel_captions) not in (0, len(titles)):
            raise InputError(
                f"Row {row.name!r} needs one panel, and one caption or none, for each of {len(titles)} titles."
            )
    cell = (width - 2 * MARGIN - (len(titles) - 1) * GAP) // len(titles)
    heights = [round(cell * row.panels[0].shape[0] / row.panels[0].shape[1]) for row in rows]
    below = [CAPTION_SPACE if row.panel_captions else 0 for row in rows]
    height = MARGIN + TITLE_SPACE + sum(heights) + sum(below) + ROW_SPACE * len(rows) + GAP * (len(rows) - 1) + MARGIN

    canvas = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING), PAPER)
    draw = ImageDraw.Draw(canvas)
    lefts = [MARGIN + round(column * (width - 2 * MARGIN + GAP) / len(titles)) for column in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        _write(draw, (left + cell / 2, MARGIN + 8), title, TITLE_SIZE, SOFT_INK, "mm")
    top = MARGIN + TITLE_SPACE
    for row, panel_height, caption_space in zip(rows, heights, below, strict=True):
        _write_heading(draw, row, top, width)
        top += ROW_SPACE
        for left, panel in zip(lefts, row.panels, strict=True):
            _paste(canvas, panel, left, top, cell, panel_height)
        for left, caption in zip(lefts, row.panel_captions, strict=False):
            _write(
                draw,
                (left + cell / 2, top + panel_height + CAPTION_SPACE / 2 + 2),
                caption,
                CAPTION_SIZE,
                SOFT_INK,
                "mm",
            )
        top += panel_height + caption_space + GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.resize((width, height), Image.Resampling.LANCZOS).save(path, optimize=True)


def square_around(mask: Bool[np.ndarray, "h w"], margin: float = 0.06) -> tuple[int, int, int, int]:
    """A square window (left, top, width, height) around a mask, with that share of its side free all around.

    The window may reach over the picture's edges; `Camera.cropped` and `cut` take it as it is.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        raise InputError("The object is nowhere in this picture, so there is no window around it; choose another view.")
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = round(extent / (1 - 2 * margin))
    left = round((columns[0] + columns[-1] + 1 - side) / 2)
    top = round((rows[0] + rows[-1] + 1 - side) / 2)
    return left, top, side, side


def cut(photo: UInt8[np.ndarray, "_ _ 3"], window: tuple[int, int, int, int]) -> UInt8[np.ndarray, "_ _ 3"]:
    """The part of a photograph in a window (left, top, width, height), white beyond its edges."""
    left, top, width, height = window
    part = np.full((height, width, 3), 255, dtype=np.uint8)
    from_row, to_row = max(top, 0), min(top + height, photo.shape[0])
    from_column, to_column = max(left, 0), min(left + width, photo.shape[1])
    if from_row < to_row and from_column < to_column:
        inside = photo[from_row:to_row, from_column:to_column]
        part[from_row - top : to_row - top, from_column - left : to_column - left] = inside
    return part


def caption_of(chamfer_percent: float | None, seconds: float | int, device: str) -> str:
    """What a run scored and cost, such as "Chamfer 0.12 % · 3 min 10 s · CPU"."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    time = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    score = [] if chamfer_percent is None else [f"Chamfer {chamfer_percent:.2f} %"]
    return " · ".join([*score, time, device])


def _write_heading(draw: ImageDraw.ImageDraw, row: Row, top: int, width: int) -> None:
    """The row's name at the left edge, its caption at the right, on one base line."""
    baseline = top + ROW_SPACE - 14
    _write(draw, (MARGIN, baseline), row.name, NAME_SIZE, INK, "ls")
    _write(draw, (width - MARGIN, baseline), row.caption, CAPTION_SIZE, SOFT_INK, "rs")


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float | int, float | int],
    text: str,
    size: int,
    ink: tuple[int, int, int],
    anchor: str,
) -> None:
    font = ImageFont.load_default(size * OVERSAMPLING)
    draw.text((at[0] * OVERSAMPLING, at[1] * OVERSAMPLING), text, ink, font, anchor)


def _paste(
    canvas: Image.Image, panel: UInt8[np.ndarray, "_ _ 3"], left: int, top: int, width: int, height: int
) -> None:
    """A panel with round corners and a hair line around it, cut at its middle to fill the cell."""
    size = (width * OVERSAMPLING, height * OVERSAMPLING)
    scale = max(size[0] / panel.shape[1], size[1] / panel.shape[0])
    cut_x, cut_y = (panel.shape[1] - size[0] / scale) / 2, (panel.shape[0] - size[1] / scale) / 2
    window = (cut_x, cut_y, panel.shape[1] - cut_x, panel.shape[0] - cut_y)
    picture = Image.fromarray(panel).resize(size, Image.Resampling.LANCZOS, box=window)
    corners = Image.new("L", size, 0)
    shape = ((0, 0, size[0] - 1, size[1] - 1), CORNER_RADIUS * OVERSAMPLING)
    ImageDraw.Draw(corners).rounded_rectangle(*shape, fill=255)
    ImageDraw.Draw(picture).rounded_rectangle(*shape, outline=OUTLINE, width=OVERSAMPLING)
    canvas.paste(picture, (left * OVERSAMPLING, top * OVERSAMPLING), corners)
