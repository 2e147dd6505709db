"""BlendedMVS's own layout, which is also MVSNet's.

blended_images/00000000.jpg, 00000000_masked.jpg ...   cams/00000000_cam.txt ...   cams/pair.txt

A camera file holds the word `extrinsic`, a 4x4 world-to-camera matrix with OpenCV axes, the word `intrinsic`, a 3x3
matrix, and a range of depths, which is not needed here. Pixel centres are at +0.5, as MVSNet's homographies have them.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neus_ns.data.sources.folders import pictures_in
from neus_ns.data.sources.parser import PosedPhotosConfig, PosedPhotosParser
from neus_ns.data.sources.photos import PosedPhotos, opengl_pose
from neus_ns.data.sources.text import numbers, read_text, require_no_skew, require_rotation
from neus_ns.errors import InputError

IMAGE_FOLDER, CAMERA_FOLDER = "blended_images", "cams"
_CAMERA_SUFFIX, _MASKED_SUFFIX = "_cam.txt", "_masked"


@dataclass
class BlendedMVSDataParserConfig(PosedPhotosConfig):
    """BlendedMVS in its own layout (blended_images/, cams/)."""

    _target: type = field(default_factory=lambda: BlendedMVSDataParser)
    masked: bool = False
    """Train on the *_masked pictures, which are black beyond the textured mesh they were made with."""


def camera_files(data: Path) -> list[Path]:
    """The camera files of a capture in this layout."""
    folder = data / CAMERA_FOLDER
    return sorted(folder.glob(f"*{_CAMERA_SUFFIX}")) if folder.is_dir() else []


class BlendedMVSDataParser(PosedPhotosParser):
    """Reads BlendedMVS's own layout."""

    config: BlendedMVSDataParserConfig

    def read(self, data: Path) -> PosedPhotos:
        by_stem = {path.stem: path for path in pictures_in(data / IMAGE_FOLDER)}
        files = camera_files(data)
        names = [path.name.removesuffix(_CAMERA_SUFFIX) for path in files]
        plain_exists = any(not stem.endswith(_MASKED_SUFFIX) for stem in by_stem)
        suffix = _MASKED_SUFFIX if self.config.masked or not plain_exists else ""
        missing = [name for name in names if name + suffix not in by_stem]
        if missing:
            raise InputError(
                f"{data / IMAGE_FOLDER} has no picture {missing[0]}{suffix} for {missing[0]}{_CAMERA_SUFFIX} "
                f"({len(missing)} of {len(names)} are missing); add it, or remove the camera file."
            )
        if not names:
            raise InputError(f"{data} has no camera files {CAMERA_FOLDER}/*{_CAMERA_SUFFIX}; put them there.")
        cameras = [_read_camera(path) for path in files]
        lenses = np.stack([lens for lens, _ in cameras])
        return PosedPhotos(
            images=[by_stem[name + suffix] for name in names],
            world_from_camera=np.stack([pose for _, pose in cameras]),
            fx=lenses[:, 0, 0],
            fy=lenses[:, 1, 1],
            cx=lenses[:, 0, 2],
            cy=lenses[:, 1, 2],
        )


def _read_camera(path: Path) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "4 4"]]:
    """Intrinsics and OpenGL pose of one camera file."""
    words = read_text(path).split()
    extrinsic = _matrix_after("extrinsic", 4, words, path)
    intrinsic = _matrix_after("intrinsic", 3, words, path)
    rotation = require_rotation(extrinsic[:3, :3], "the extrinsic matrix", path)
    intrinsic = require_no_skew(intrinsic, "the intrinsic matrix", path)
    return intrinsic, opengl_pose(rotation, -rotation.T @ extrinsic[:3, 3])


def _matrix_after(word: str, side: int, words: list[str], path: Path) -> Float[ndarray, "side side"]:
    start = words.index(word) + 1 if word in words else len(words)
    values = numbers(words[start : start + side * side], side * side, f"a {side}x{side} matrix after `{word}`", path)
    return values.reshape(side, side)
