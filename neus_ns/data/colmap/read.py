"""Finds and reads the COLMAP model of a capture, binary or text."""

from collections.abc import Iterable
from pathlib import Path

from neus_ns.data.colmap import binary, text
from neus_ns.data.colmap.model import AGAIN, ColmapModel, fit_together
from neus_ns.errors import InputError

# Where COLMAP, ns-process-data and those who follow them put a model, best first.
MODEL_PLACES = ("colmap/sparse/0", "sparse/0", "sparse", "colmap/sparse", "colmap", ".")
_PARTS = ("cameras", "images", "points3D")
_READERS = {".bin": binary, ".txt": text}


def holds_points(folder: Path) -> bool:
    """Whether a folder has a model that knows points; one of poses alone has no points3D, or an empty one."""
    return any(all((folder / f"{part}{suffix}").is_file() for part in ("images", "points3D")) for suffix in _READERS)


def find_model(folders: Iterable[Path]) -> Path | None:
    """The first place below these folders with a model that knows points."""
    places = (folder / place for folder in folders for place in MODEL_PLACES)
    return next((place for place in places if holds_points(place)), None)


def part_of_model(folder: Path) -> Path | None:
    """The first place below a folder with the photographs of a model, whatever else of it is missing."""
    places = (folder / place for place in MODEL_PLACES)
    return next((place for place in places if any((place / f"images{suffix}").is_file() for suffix in _READERS)), None)


def read_model(folder: Path) -> ColmapModel:
    """The model in a folder, all checked. Binary files win over text, as in COLMAP itself."""
    for suffix in _READERS:
        paths = [folder / f"{part}{suffix}" for part in _PARTS]
        if all(path.is_file() for path in paths):
            return _read(folder, paths)
    stray = [path.name for path in sorted(folder.glob("*")) if path.stem in _PARTS and path.suffix in _READERS]
    raise InputError(
        f"{folder} has {', '.join(stray) or 'nothing'} of a COLMAP model, which is cameras, images and points3D, all "
        "as .bin or all as .txt; copy the missing files there or remove the folder."
    )


def _read(folder: Path, paths: list[Path]) -> ColmapModel:
    reader = _READERS[paths[0].suffix]
    try:
        # A text file without points is how COLMAP itself begins to triangulate; all other empty files are accidents.
        for path in paths if reader is binary else paths[:2]:
            if path.stat().st_size == 0:
                raise InputError(f"{path} is empty (0 bytes); {AGAIN}.")
        cameras, images = reader.read_cameras(paths[0]), reader.read_images(paths[1])
        points = reader.read_points(paths[2])
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read ({error.strerror}); {AGAIN}.") from error
    return fit_together(folder, cameras, images, points)
