"""Folders of pictures: what they hold, how they are paired, and where reduced copies of them lie."""

from collections.abc import Sequence
from pathlib import Path

from neus_ns.errors import InputError

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted by name; hidden files are none. Empty for a folder that is not there."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    return sorted(path for path in found if not path.name.startswith("."))


def first_folder(data: Path, names: Sequence[str]) -> Path | None:
    """The first of these folders that holds pictures."""
    return next((data / name for name in names if pictures_in(data / name)), None)


def says_what_it_holds(folder: Path) -> str:
    """ "is empty", or "holds" and its first few entries, for messages."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    return f"holds {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}" if names else "is empty"


def paired_by_order(masks: list[Path], images: list[Path], folder: Path) -> list[Path]:
    """One mask a photograph: the one of the same name, or else, of as many numbered files, the one of that number.

    DTU numbers photographs by six digits and masks by three, and NeuS pairs them in order.
    """
    by_stem = {path.stem: path for path in masks}
    missing = [image.stem for image in images if image.stem not in by_stem]
    if not missing:
        return [by_stem[image.stem] for image in images]
    numbers = [[int(path.stem) if path.stem.isdecimal() else -1 for path in paths] for paths in (images, masks)]
    if numbers[0] == numbers[1] and -1 not in numbers[0]:
        return masks
    count = f" ({len(missing)} of {len(images)} are missing)" if len(missing) > 1 else ""
    raise InputError(
        f"{folder} has no mask for {missing[0]}{count}; add one for every photograph, under the same name, or rename "
        "the folder if it holds no foreground masks."
    )


def reduced_copies(paths: list[Path], factor: int) -> tuple[list[Path], int]:
    """The copies reduced by `factor` in a sibling folder like images_2 and 1, or these paths and what is left to do."""
    copies = [path.parent.with_name(f"{path.parent.name}_{factor}") / path.name for path in paths]
    if factor > 1 and all(copy.is_file() for copy in copies):
        return copies, 1
    return paths, factor
