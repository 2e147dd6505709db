"""Masks that no parser names: those of full size where reduced ones are missing, and those in a folder of their own."""

import json
import re
from dataclasses import replace
from pathlib import Path

from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.utils.rich_utils import CONSOLE

from neus_ns.data.sources.folders import PICTURE_SUFFIXES
from neus_ns.errors import InputError

_MASK_FOLDERS = ("masks", "mask")
# Folders of photographs, at full size or reduced; masks/ stands beside them and repeats what is below them.
_IMAGE_FOLDER = re.compile(r"(?:images?|input|rgb|color|blended_images)(?:_(\d+))?")


def with_masks(outputs: DataparserOutputs, data: Path) -> DataparserOutputs:
    """A parser's outputs with the foreground masks that the capture has besides those the parser found.

    `metadata["mask_reduction"]` says how many times smaller the mask files have to be made.
    """
    if not outputs.image_filenames:
        return outputs
    if outputs.mask_filenames is not None:
        return _full_size_where_missing(outputs, outputs.mask_filenames, data)
    first_problem: InputError | None = None
    for folder, below, reduction in _candidates(outputs.image_filenames, data):
        files = _files_by_name(folder)
        if not files:
            continue
        try:
            masks = _matched(files, below, folder)
        except InputError as error:
            first_problem = first_problem or error
            continue
        CONSOLE.log(f"masks: {len(masks)} found in {folder}")
        return _replaced(outputs, masks, reduction * int(outputs.metadata.get("image_reduction", 1)))
    if first_problem is not None:
        raise first_problem
    return outputs


def _replaced(outputs: DataparserOutputs, masks: list[Path], reduction: int) -> DataparserOutputs:
    return replace(outputs, mask_filenames=masks, metadata={**outputs.metadata, "mask_reduction": reduction})


def _full_size_where_missing(outputs: DataparserOutputs, masks: list[Path], data: Path) -> DataparserOutputs:
    """nerfstudio looks for masks_2/NAME whether it is there or not; the mask that the json names serves as well."""
    reduced = re.fullmatch(r"masks_(\d+)", masks[0].parent.name)
    if reduced is None or any(mask.is_file() for mask in masks):
        return outputs
    json_path = data if data.suffix == ".json" else data / "transforms.json"
    if not json_path.is_file():
        return outputs
    frames = json.loads(json_path.read_text(encoding="utf-8"))["frames"]
    named = {Path(frame["mask_path"]).name: json_path.parent / frame["mask_path"] for frame in frames}
    full_size = [named[mask.name] for mask in masks]
    if not all(path.is_file() for path in full_size):
        return outputs
    CONSOLE.log(f"masks: {masks[0].parent} has none, so those of full size are reduced by {reduced[1]}")
    return _replaced(outputs, full_size, int(reduced[1]))


def _candidates(images: list[Path], data: Path) -> list[tuple[Path, list[Path], int]]:
    """Folders that may hold masks, best first: the folder, each photograph's name below it, the masks' reduction."""
    found = []
    for place, beside in _places(images, data if data.is_dir() else data.parent):
        named = _IMAGE_FOLDER.fullmatch(place.name) if beside != place else None
        factor = int(named[1] or 1) if named else 1
        below = [image.relative_to(place) for image in images]
        found += [(beside / f"{name}_{factor}", below, 1) for name in _MASK_FOLDERS if factor > 1]
        found += [(beside / name, below, factor) for name in _MASK_FOLDERS]
    return found


def _places(images: list[Path], root: Path) -> list[tuple[Path, Path]]:
    """Folders that hold all photographs, and where masks may stand: beside those named as folders of photographs are,
    in the capture itself, and beside the one folder in it that has them all."""
    if not all(image.is_relative_to(root) for image in images):
        # Photographs from elsewhere: the innermost folder of such a name.
        above = [each for each in images[0].parents if _IMAGE_FOLDER.fullmatch(each.name)][:1]
        return [(each, each.parent) for each in above if all(image.is_relative_to(each) for image in images)]
    # Never above the capture, whatever the folders there are called. The outermost first: what is below may be parts.
    within = [each for each in images[0].parents if each != root and each.is_relative_to(root)][::-1]
    shared = [each for each in within if all(image.is_relative_to(each) for image in images)]
    named = [(each, each.parent) for each in shared if _IMAGE_FOLDER.fullmatch(each.name)]
    return [*named, (root, root), *((each, each.parent) for each in shared[-1:])]


def _files_by_name(folder: Path) -> dict[str, Path]:
    """The pictures below a folder by their relative path without suffix, and with it."""
    if not folder.is_dir():
        return {}
    pictures = [path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES]
    pictures = sorted(path for path in pictures if not path.name.startswith("."))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in pictures}


def _matched(files: dict[str, Path], names: list[Path], folder: Path) -> list[Path]:
    """The mask of each photograph: of its stem, or, as COLMAP names them, of its whole name and another suffix."""
    found = [files.get(name.as_posix()) or files.get(name.with_suffix("").as_posix()) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise InputError(
            f"{folder} has no mask for {missing[0]} ({len(missing)} of {len(names)} photographs have none); add one "
            "for every photograph, under the same name, or rename the folder if it holds no foreground masks."
        )
    return [path for path in found if path is not None]
