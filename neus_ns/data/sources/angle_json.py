"""OmniObject3D, and any other single transforms.json that gives the lens as an angle, as Blender scripts write it.

transforms.json   images/r_0.png ... (or r_0.png beside it)   masks/ (optional)   depths/, normals/ (not needed)

The json has `camera_angle_x`, one horizontal field of view for all, and frames with `file_path`, a name without folder
or suffix, and `transform_matrix`, an OpenGL camera-to-world pose. The world is the one of these poses.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neus_ns.data.checks import read_frames, read_json
from neus_ns.data.checks_files import picture_sizes
from neus_ns.data.checks_poses import check_poses
from neus_ns.data.sources.folders import PICTURE_SUFFIXES
from neus_ns.data.sources.parser import PosedPhotosConfig, PosedPhotosParser
from neus_ns.data.sources.photos import PosedPhotos
from neus_ns.errors import InputError

_IMAGE_FOLDERS = ("images", ".")


@dataclass
class OmniObjectDataParserConfig(PosedPhotosConfig):
    """OmniObject3D's renders (transforms.json with camera_angle_x, images/)."""

    _target: type = field(default_factory=lambda: OmniObjectDataParser)


def json_of(data: Path) -> Path:
    """The json of a capture that is given by its folder or by the json itself."""
    return data if data.suffix == ".json" else data / "transforms.json"


def camera_angle(meta: dict[str, Any], path: Path) -> float:
    """The horizontal field of view in radians."""
    angle = meta.get("camera_angle_x")
    if isinstance(angle, bool) or not isinstance(angle, int | float) or not 0 < angle < math.pi:
        raise InputError(
            f"{path}: `camera_angle_x` is {angle!r}, but the horizontal field of view in radians is needed there; "
            "correct it."
        )
    return float(angle)


class OmniObjectDataParser(PosedPhotosParser):
    """Reads a transforms.json that gives the lens as an angle."""

    def read(self, data: Path) -> PosedPhotos:
        path = json_of(data)
        meta = read_json(path)
        angle = camera_angle(meta, path)
        frames = read_frames(meta, path)
        check_poses(frames, path)
        images = [_image(path.parent, frame["file_path"], path) for frame in frames]
        width, height = np.array(picture_sizes(images), dtype=np.float64).T
        poses = np.array([frame["transform_matrix"] for frame in frames], dtype=np.float64)
        # Blender writes the scale of its camera object into the axes.
        poses[:, :3, :3] /= np.cbrt(np.linalg.det(poses[:, :3, :3]))[:, None, None]
        focal = 0.5 * width / math.tan(0.5 * angle)
        return PosedPhotos(
            images=images,
            world_from_camera=poses,
            fx=focal,
            fy=focal,
            cx=width / 2,
            cy=height / 2,
        )


def _image(folder: Path, name: str, path: Path) -> Path:
    """The picture that a frame names, with or without folder and suffix."""
    stems = [folder / place / name for place in _IMAGE_FOLDERS]
    named = [stem.with_name(stem.name + suffix) for stem in stems for suffix in ("", *sorted(PICTURE_SUFFIXES))]
    found = next((picture for picture in named if picture.suffix and picture.is_file()), None)
    if found is None:
        raise InputError(f"{stems[0]}.png is missing, though {path.name} lists it; put it there or remove that frame.")
    return found
