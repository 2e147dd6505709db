"""OmniObject3D, and any other single transforms.json that gives the lens as an angle, as Blender scripts write it.

transforms.json   images/r_0.png ... (or r_0.png beside it)   masks/ (optional)   depths/, normals/ (not needed)

The json has `camera_angle_x`, a horizontal field of view for all or in each frame, and frames with `file_path`, a name
without folder or suffix, and `transform_matrix`, an OpenGL camera-to-world pose. `camera_angle_y`, `fl_x`,
`fl_y`, `cx`, `cy` and `mask_path` are read where they are given. The world is the one of the poses.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neus_ns.data.checks import read_frames, read_json
from neus_ns.data.checks_files import picture_sizes
from neus_ns.data.checks_poses import check_poses
from neus_ns.data.sources.angle_lens import angle_lenses, refuse_more_than_angles
from neus_ns.data.sources.folders import PICTURE_SUFFIXES
from neus_ns.data.sources.parser import PosedPhotosConfig, PosedPhotosParser
from neus_ns.data.sources.photos import PosedPhotos
from neus_ns.errors import InputError

_IMAGE_FOLDERS = ("images", ".")
_CURE = (
    "write the lens in pixels as well (fl_x = w / (2 tan(camera_angle_x / 2)), fl_y, cx, cy, w, h) to have the json "
    "read as nerfstudio's, or undistort the photographs"
)


@dataclass
class OmniObjectDataParserConfig(PosedPhotosConfig):
    """OmniObject3D's renders (transforms.json with camera_angle_x, images/)."""

    _target: type = field(default_factory=lambda: OmniObjectDataParser)


def json_of(data: Path) -> Path:
    """The json of a capture that is given by its folder or by the json itself."""
    return data if data.suffix == ".json" else data / "transforms.json"


class OmniObjectDataParser(PosedPhotosParser):
    """Reads a transforms.json that gives the lens as an angle."""

    def read(self, data: Path) -> PosedPhotos:
        path = json_of(data)
        meta = read_json(path)
        frames = read_frames(meta, path)
        check_poses(frames, path)
        refuse_more_than_angles(meta, frames, path, _CURE)
        images = [_image(path.parent, frame["file_path"], path) for frame in frames]
        poses = np.array([frame["transform_matrix"] for frame in frames], dtype=np.float64)
        # Blender writes the scale of its camera object into the axes.
        poses[:, :3, :3] /= np.cbrt(np.linalg.det(poses[:, :3, :3]))[:, None, None]
        fx, fy, cx, cy = angle_lenses(meta, frames, path, picture_sizes(images))
        return PosedPhotos(
            images=images, world_from_camera=poses, fx=fx, fy=fy, cx=cx, cy=cy, masks=_masks(frames, path)
        )


def _masks(frames: list[dict[str, Any]], path: Path) -> list[Path] | None:
    """The masks that the frames name; others are looked for beside the photographs."""
    without = [frame["file_path"] for frame in frames if "mask_path" not in frame]
    if len(without) == len(frames):
        return None
    if without:
        raise InputError(
            f"{path} gives no `mask_path` for {len(without)} of {len(frames)} frames ({without[0]} first); add the "
            "missing ones or remove the others."
        )
    return [path.parent / frame["mask_path"] for frame in frames]


def _image(folder: Path, name: str, path: Path) -> Path:
    """The picture that a frame names, with or without folder and suffix."""
    stems = [folder / place / name for place in _IMAGE_FOLDERS]
    named = [stem.with_name(stem.name + suffix) for stem in stems for suffix in ("", *sorted(PICTURE_SUFFIXES))]
    found = next((picture for picture in named if picture.suffix and picture.is_file()), None)
    if found is None:
        raise InputError(f"{stems[0]}.png is missing, though {path.name} lists it; put it there or remove that frame.")
    return found
