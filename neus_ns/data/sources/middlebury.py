"""Middlebury multi-view stereo: one text file of cameras beside the photographs.

NAME_par.txt   NAME0001.png ... (or in image/ or images/)   README.txt (optional)

The first line is the number of photographs; each other line is a file name and the entries of K, R and t, row by row,
of the projection K [R | t] with OpenCV axes and integer pixel centres. The authors' README gives the object's bounding
box in words.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neus_ns.data.sources.parser import PosedPhotosConfig, PosedPhotosParser
from neus_ns.data.sources.photos import PosedPhotos, opengl_pose
from neus_ns.data.sources.text import numbers, read_text, require_no_skew, require_rotation
from neus_ns.errors import InputError

_NUMBERS_PER_LINE = 21
_IMAGE_FOLDERS = (".", "image", "images")
_TRIPLE = r"\(\s*([-+.\deE]+)[\s,]+([-+.\deE]+)[\s,]+([-+.\deE]+)\s*\)"
_BOUNDING_BOX = re.compile(rf"bounding box[^()]*\(?(?:tight\)[^()]*)?{_TRIPLE}\s*{_TRIPLE}", re.IGNORECASE)
# The box is called tight; what rises a little above it must not be lost.
_BOX_MARGIN = 1.1


@dataclass
class MiddleburyDataParserConfig(PosedPhotosConfig):
    """Middlebury multi-view stereo (NAME_par.txt beside the photographs)."""

    _target: type = field(default_factory=lambda: MiddleburyDataParser)


def parameter_files(data: Path) -> list[Path]:
    """The files of cameras of a capture in this layout."""
    return sorted(data.glob("*_par.txt")) if data.is_dir() else []


class MiddleburyDataParser(PosedPhotosParser):
    """Reads Middlebury's layout."""

    def read(self, data: Path) -> PosedPhotos:
        files = parameter_files(data)
        if len(files) != 1:
            raise InputError(
                f"{data} has {len(files)} files of cameras (*_par.txt) where one is needed; keep the one that belongs "
                "to the photographs."
            )
        lines = [line for line in read_text(files[0]).splitlines() if line.strip()]
        count = numbers(lines[0].split() if lines else [], 1, "the number of photographs in its first line", files[0])
        if int(count[0]) != len(lines) - 1:
            raise InputError(
                f"{files[0]} promises {int(count[0])} cameras in its first line but lists {len(lines) - 1}; copy the "
                "file again or correct the number."
            )
        # Names may hold spaces, so the numbers are counted from the end.
        rows = [line.rsplit(maxsplit=_NUMBERS_PER_LINE) for line in lines[1:]]
        cameras = [_camera(row, files[0]) for row in rows]
        lenses = np.stack([lens for lens, _ in cameras]) if cameras else np.zeros((0, 3, 3))
        return PosedPhotos(
            images=_images(data, [row[0] for row in rows], files[0]),
            world_from_camera=np.stack([pose for _, pose in cameras]) if cameras else np.zeros((0, 4, 4)),
            fx=lenses[:, 0, 0],
            fy=lenses[:, 1, 1],
            # Here pixel 0 is centred on 0, in nerfstudio it covers [0, 1).
            cx=lenses[:, 0, 2] + 0.5,
            cy=lenses[:, 1, 2] + 0.5,
            region=_region(data),
            region_source="the bounding box that README.txt gives",
        )


def _camera(row: list[str], path: Path) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "4 4"]]:
    """Intrinsics and OpenGL pose of one line."""
    what = f"a name and the {_NUMBERS_PER_LINE} numbers of K, R and t in the line of {row[0]}"
    values = numbers(row[1:], _NUMBERS_PER_LINE, what, path)
    rotation = require_rotation(values[9:18].reshape(3, 3), f"R of {row[0]}", path)
    lens = require_no_skew(values[:9].reshape(3, 3), f"K of {row[0]}", path)
    return lens, opengl_pose(rotation, -rotation.T @ values[18:])


def _images(data: Path, names: list[str], path: Path) -> list[Path]:
    folder = next((data / name for name in _IMAGE_FOLDERS if names and (data / name / names[0]).is_file()), data)
    images = [folder / name for name in names]
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} is missing ({len(missing)} of {len(names)} photographs that {path.name} lists are); put the "
            "files there or remove their lines and correct the number in the first."
        )
    return images


def _region(data: Path) -> tuple[Float[ndarray, "3"], float] | None:
    """The ball around the bounding box that the README gives, if it does."""
    readme = data / "README.txt"
    if not readme.is_file():
        return None
    found = _BOUNDING_BOX.search(readme.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        return None
    try:
        corners = np.array([float(value) for value in found.groups()]).reshape(2, 3)
    except ValueError:
        # Prose that only looked like numbers: the file is not required to give a box.
        return None
    radius = _BOX_MARGIN * float(np.linalg.norm(corners[1] - corners[0])) / 2
    return (corners.mean(0), radius) if np.isfinite(radius) and radius > 0 else None
