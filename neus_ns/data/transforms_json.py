"""Cameras in the words of nerfstudio's transforms.json: OpenGL axes, camera to world."""

import json
import os
from pathlib import Path
from typing import Any

from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor


def frame_entry(
    photograph: Path, cameras: Cameras, view: int, pose_world: Float[Tensor, "3 4"], folder: Path
) -> dict[str, Any]:
    """What a transforms.json in `folder` says of a photograph; `cameras` give the lens only."""
    return {
        "file_path": relative_name(photograph, folder),
        **intrinsics(cameras, view),
        "transform_matrix": [*pose_world.tolist(), [0.0, 0.0, 0.0, 1.0]],
    }


def photographs(frames: list[dict[str, Any]], crop_radius: float | None) -> dict[str, Any]:
    """What a transforms.json says of its frames: nerfstudio reads the kind of lens at its top alone, once for all, and
    the radius of a fisheye's image circle."""
    circle = {} if crop_radius is None else {"fisheye_crop_radius": crop_radius}
    return {"camera_model": frames[0]["camera_model"], **circle, "frames": frames}


def intrinsics(cameras: Cameras, view: int) -> dict[str, Any]:
    """A camera's lens."""
    fisheye = int(cameras.camera_type[view]) == CameraType.FISHEYE.value
    names = {"fl_x": cameras.fx, "fl_y": cameras.fy, "cx": cameras.cx, "cy": cameras.cy}
    lens: dict[str, Any] = {"camera_model": "OPENCV_FISHEYE" if fisheye else "OPENCV"}
    lens |= {name: float(value[view]) for name, value in names.items()}
    lens |= {"w": int(cameras.width[view]), "h": int(cameras.height[view])}
    if cameras.distortion_params is not None:
        # nerfstudio's order; its fisheye lenses have no tangential terms.
        values = cameras.distortion_params[view].tolist()
        lens |= dict(zip(("k1", "k2", "k3", "k4", "p1", "p2"), values, strict=True))
    return lens


def relative_name(path: Path, folder: Path) -> str:
    """A path as seen from a folder, with slashes on every system; whole, if it is on another drive."""
    try:
        return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a json file; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
