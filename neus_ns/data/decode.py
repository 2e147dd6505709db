"""Picture files of any format as 8-bit arrays: photographs as rgb and alpha, mask files as coverage."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from neus_ns.errors import InputError

# What Pillow raises on files that are damaged, cut short or no pictures at all.
_DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
# A coloured label counts as foreground from this channel value on: below it lies the noise of JPEG compression.
_LABEL_THRESHOLD = 32


@dataclass(frozen=True)
class Decoded:
    """An 8-bit picture, the size of its file, and how many pixels a side of that are one of its own."""

    picture: Image.Image
    file_size: tuple[int, int]
    reduced_by: int = 1


def open_picture(path: Path) -> Image.Image:
    """A fully decoded 8-bit picture in mode L, RGB or RGBA. Orientation tags are ignored, as COLMAP does."""
    return _to_8_bit(_decoded(path), path)


def open_smaller(path: Path, wanted: tuple[int, int]) -> Decoded:
    """As `open_picture`. A JPEG is decoded 2, 4 or 8 times smaller, which takes half of the time or less, if that is
    still twice as large as wanted."""
    full, reduced_by = (0, 0), 1

    def reduce(file: Image.Image) -> None:
        nonlocal full, reduced_by
        full = file.size
        # What part of its picture is the photograph: the last pixels may reach beyond it.
        drafted = file.draft(None, (2 * wanted[0], 2 * wanted[1]))  # type: ignore[arg-type]
        if drafted is not None:
            reduced_by = round(full[0] / drafted[1][2])

    picture = _to_8_bit(_decoded(path, reduce), path)
    return Decoded(picture, full, reduced_by)


def _decoded(path: Path, prepare: Callable[[Image.Image], None] = lambda file: None) -> Image.Image:
    try:
        with Image.open(path) as file:
            prepare(file)
            file.load()
        return file
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; put the file there or correct its name in the capture.") from error
    except _DECODE_ERRORS as error:
        reason = " ".join(str(error).replace(str(path), "the file").split())
        raise InputError(f"{path} cannot be read as an image ({reason}); copy or export the file again.") from error


def _to_8_bit(picture: Image.Image, path: Path) -> Image.Image:
    if picture.mode == "F":
        raise InputError(f"{path} holds floating-point values; save it as an 8-bit or 16-bit PNG.")
    if picture.mode.startswith("I"):
        # 16-bit grey. Pillow's own conversion would clip at 255, so the full range is scaled here: 65535 = 257 * 255.
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{path} holds values beyond 16 bits; save it as an 8-bit or 16-bit PNG.")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if _has_alpha(picture):
        return picture.convert("RGBA")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _has_alpha(picture: Image.Image) -> bool:
    return bool({"A", "a"} & set(picture.getbands())) or "transparency" in picture.info


def is_cut_out(path: Path) -> bool:
    """Whether a photograph has a transparent pixel. Files whose header rules that out are not decoded."""
    try:
        with Image.open(path) as file:
            worth_decoding = _has_alpha(file)
    except _DECODE_ERRORS:
        # Decoding says what is wrong with the file.
        worth_decoding = True
    alpha = split_alpha(open_picture(path))[1] if worth_decoding else None
    return alpha is not None and bool((alpha < 255).any())


def split_alpha(picture: Image.Image) -> tuple[UInt8[ndarray, "h w 3"], UInt8[ndarray, "h w"] | None]:
    """The colours of an L, RGB or RGBA picture, and its alpha channel if it has one."""
    if picture.mode == "RGBA":
        pixels = np.asarray(picture)
        return pixels[..., :3], pixels[..., 3]
    return np.asarray(picture.convert("RGB")), None


def mask_coverage(path: Path) -> UInt8[ndarray, "h w"]:
    """How much of each pixel a mask file calls foreground, 0..255.

    Masks come as grey levels, as small numbers (labels) of which zero is background, as coloured labels on black, or as
    a cut-out whose alpha is the mask.
    """
    picture = _decoded(path)
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if 0 <= values.min() and values.max() <= 255:
            # 8 bits kept in 16, as labels are.
            return _coverage(Image.fromarray(values.astype(np.uint8)))
    return _coverage(_to_8_bit(picture, path))


def _coverage(picture: Image.Image) -> UInt8[ndarray, "h w"]:
    if picture.mode == "L":
        # The usual mask; three equal channels of it would cost several times as long.
        brightest, is_coloured = np.asarray(picture), False
    else:
        colours, alpha = split_alpha(picture)
        if alpha is not None and alpha.min() < 255:
            return alpha
        brightest = colours.max(axis=-1)
        is_coloured = bool((brightest != colours.min(axis=-1)).any())
    if is_coloured:
        is_object = brightest >= _LABEL_THRESHOLD
    elif brightest.max() < 128:
        # No grey level gets half way to white: the numbers are labels.
        is_object = brightest > 0
    else:
        return brightest
    return np.where(is_object, 255, 0).astype(np.uint8)
