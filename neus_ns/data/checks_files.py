"""Checks of the images and masks of a capture: there, whole, of the promised size, and of some use.

`check_files` is for what a transforms.json names; `picture_sizes` and `check_outline` are for every capture.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from nerfstudio.data.dataparsers.nerfstudio_dataparser import MAX_AUTO_RESOLUTION
from PIL import Image

from neus_ns.data.decode import mask_coverage, open_picture
from neus_ns.errors import InputError

_THREADS = 8
# Above this many masks only as many, evenly spread, are decoded in search of an outline.
_MOST_MASKS_DECODED = 300
# The last bytes of a complete file of a format; a file that lacks them is decoded in full to find out.
_END_MARKERS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_TAIL_BYTES = 1024
# Foreground coverage, of 255, from which a pixel counts as object.
_FOREGROUND_LEVEL = 128

Size = tuple[int, int]


def check_files(frames: list[dict[str, Any]], sizes: list[Size], json_path: Path, downscale_factor: int | None) -> None:
    """Raise InputError for the first image or mask that is absent, damaged, of the wrong size or without meaning."""
    _check_duplicates(frames, json_path)
    if downscale_factor is None or downscale_factor == 1:
        images = [json_path.parent / frame["file_path"] for frame in frames]
        _check_set(images, sizes, "image", json_path, slack=0)
        factor = 1
        if downscale_factor is None:
            factor = _automatic_factor(json_path.parent, frames[0]["file_path"], sizes[0])
    else:
        # With an explicit factor nerfstudio never opens the full-size originals, so they may be absent.
        factor = downscale_factor
    if factor > 1:
        _check_downscaled(frames, "file_path", "images", factor, sizes, json_path)
    _check_masks(frames, sizes, factor, json_path)


def _check_duplicates(frames: list[dict[str, Any]], json_path: Path) -> None:
    counts = Counter(str(PurePosixPath(frame["file_path"])) for frame in frames)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise InputError(f"{json_path} lists {name} {count} times; keep one frame for each photograph.")


def _check_set(paths: list[Path], sizes: list[Size], kind: str, json_path: Path, slack: int) -> None:
    """Presence of all first, then headers: a wrong folder should be reported as such, with a count."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        count = f" and {len(missing) - 1} more {kind}s are" if len(missing) > 1 else " is"
        raise InputError(
            f"{missing[0]}{count} missing, though {json_path.name} lists {len(paths)}; put the files there or correct "
            "the paths, which are relative to the json."
        )
    for path, (width, height), (json_width, json_height) in zip(paths, picture_sizes(paths), sizes, strict=True):
        if abs(width - json_width) <= slack and abs(height - json_height) <= slack:
            continue
        turned = " (it looks rotated)" if (width, height) == (json_height, json_width) else ""
        cure = "correct `w`, `h` and the intrinsics there" if kind == "image" else "save it at the size of its image"
        raise InputError(
            f"{path} is {width}x{height} pixels{turned}, but {json_path.name} promises {json_width}x{json_height} "
            f"(w x h); {cure}, or replace the file."
        )


def picture_sizes(paths: Sequence[Path]) -> list[Size]:
    """Widths and heights from the headers of pictures, each of which has to be there and whole."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_image_size, paths))


def _image_size(path: Path) -> Size:
    """Width and height from the header, after a cheap look at the file's end for a copy that was cut short."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; put the file there or correct its name in the capture.")
    num_bytes = path.stat().st_size
    if num_bytes == 0:
        raise InputError(f"{path} is empty (0 bytes); copy the file again.")
    try:
        with Image.open(path) as image:
            size, file_format = image.size, image.format
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image; copy or export the file again.") from error
    with open(path, "rb") as file:
        file.seek(max(0, num_bytes - _TAIL_BYTES))
        tail = file.read()
    if _END_MARKERS.get(file_format or "", b"") not in tail:
        open_picture(path)
    return size


def _automatic_factor(data_dir: Path, first_name: str, first_size: Size) -> int:
    """The downscale factor that nerfstudio's parser chooses when none is given, from the first frame alone."""
    factor = 1
    while max(first_size) / factor > MAX_AUTO_RESOLUTION:
        if not (data_dir / f"images_{2 * factor}" / Path(first_name).name).exists():
            break
        factor *= 2
    return factor


def _check_downscaled(
    frames: list[dict[str, Any]], key: str, folder: str, factor: int, sizes: list[Size], json_path: Path
) -> list[Path]:
    """Check the reduced copies that nerfstudio will read in place of the originals, and return their paths."""
    # nerfstudio looks there for the bare file name, so equal names in two folders would become one and the same image.
    names = [Path(frame[key]).name for frame in frames]
    name, count = Counter(names).most_common(1)[0]
    if count > 1 and len({frame[key] for frame in frames}) == len(frames):
        raise InputError(
            f"{json_path} lists {count} files called {name} in different folders, of which {folder}_{factor} can hold "
            "only one; give every file its own name, or train at full size by `nerfstudio-data --downscale-factor 1`."
        )
    paths = [json_path.parent / f"{folder}_{factor}" / name for name in names]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} is missing ({len(missing)} of {len(paths)} files reduced by {factor} are), though "
            "nerfstudio will read it; make it, or train at full size by `nerfstudio-data --downscale-factor 1`."
        )
    reduced = [(width // factor, height // factor) for width, height in sizes]
    _check_set(paths, reduced, folder.removesuffix("s"), json_path, slack=1)
    return paths


def _check_masks(frames: list[dict[str, Any]], sizes: list[Size], factor: int, json_path: Path) -> None:
    for key in ("mask_path", "depth_file_path"):
        without = [frame["file_path"] for frame in frames if key not in frame]
        if 0 < len(without) < len(frames):
            raise InputError(
                f"{json_path} gives no `{key}` for {len(without)} of {len(frames)} frames ({without[0]} first), and "
                "nerfstudio wants all or none; add the missing ones or remove the others."
            )
    if "mask_path" not in frames[0]:
        return
    full_size = {Path(frame["mask_path"]).name: json_path.parent / frame["mask_path"] for frame in frames}
    reduced_exist = any((json_path.parent / f"masks_{factor}" / name).is_file() for name in full_size)
    if factor > 1 and (reduced_exist or len(full_size) < len(frames)):
        paths = _check_downscaled(frames, "mask_path", "masks", factor, sizes, json_path)
    else:
        # Where only the photographs have reduced copies, the masks of full size are reduced while they are read.
        paths = [json_path.parent / frame["mask_path"] for frame in frames]
        _check_set(paths, sizes, "mask", json_path, slack=0)
    check_outline(paths, json_path)


def check_outline(paths: list[Path], capture: Path) -> None:
    """Some mask must show an outline. One constant mask among others is fine: a photograph may not see the object."""
    stride = -(-len(paths) // _MOST_MASKS_DECODED)
    paths = paths[::stride]
    seen = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        # One first, then in batches, since the first mask that shows both sides settles the question.
        batches = [paths[:1], *(paths[start : start + _THREADS] for start in range(1, len(paths), _THREADS))]
        for batch in batches:
            for low, high in pool.map(_mask_extremes, batch):
                if low != high:
                    return
                seen.add(low)
    many = f"{capture}: none of the masks ({paths[0]} first) shows an outline"
    if seen == {False}:
        raise InputError(f"{many}, since all are black, which marks no pixel as object; paint the object white.")
    if seen == {True}:
        raise InputError(
            f"{many}, since all are white, which marks everything as object; paint the background black or "
            "remove the masks from the capture."
        )
    raise InputError(
        f"{many}, since each is all black or all white; make the masks again or remove them from the capture."
    )


def _mask_extremes(path: Path) -> tuple[bool, bool]:
    """Whether every pixel of a mask is object, and whether any is."""
    is_object = mask_coverage(path) >= _FOREGROUND_LEVEL
    return bool(is_object.all()), bool(is_object.any())
