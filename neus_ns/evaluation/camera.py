"""Pinhole cameras in the user's world, read straight from transforms.json.

Evaluation works in the frame that the user's poses are written in, so it reads the poses itself and never sees what
nerfstudio's dataparser makes of them. Camera axes are OpenGL's: x right, y up, the camera looks along -z. Pixel (row 0,
column 0) is the top left one and has its centre at (0.5, 0.5). Lens distortion is left aside: it moves a pixel or two,
which decides neither whether a point is seen nor how a picture looks.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from neus_ns.errors import InputError
from neus_ns.surface.source import Views


@dataclass(frozen=True)
class Camera:
    """One pinhole camera. Focal lengths and principal point are in pixels."""

    world_from_camera: Float[np.ndarray, "3 4"]
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    @property
    def centre_world(self) -> Float[np.ndarray, "3"]:
        return self.world_from_camera[:, 3]

    def scaled(self, factor: float) -> "Camera":
        """The same view in a picture with `factor` times as many pixels along each side, rounded to whole pixels."""
        width, height = max(1, round(self.width * factor)), max(1, round(self.height * factor))
        by_x, by_y = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * by_x,
            fy=self.fy * by_y,
            cx=self.cx * by_x,
            cy=self.cy * by_y,
            width=width,
            height=height,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> "Camera":
        """The view through a window of the picture; the window may reach over the edges."""
        return replace(self, cx=self.cx - left, cy=self.cy - top, width=width, height=height)

    def rays_world(self) -> Float[np.ndarray, "h w 3"]:
        """A direction through every pixel centre, of length 1 along the optical axis: ray lengths are z-depths."""
        x = (np.arange(self.width) + 0.5 - self.cx) / self.fx
        y = -(np.arange(self.height) + 0.5 - self.cy) / self.fy
        columns, rows = np.meshgrid(x, y)
        local = np.stack([columns, rows, -np.ones_like(columns)], -1)
        return local @ self.world_from_camera[:, :3].T

    def to_camera_axes(self, directions_world: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        return directions_world @ self.world_from_camera[:, :3]


def cameras_by_photo(transforms: Path) -> dict[str, Camera]:
    """Every camera of a transforms.json, by the photograph's path as written there."""
    meta = _read(transforms)
    return {frame["file_path"]: _camera(frame, meta, transforms) for frame in meta["frames"]}


def training_cameras(transforms: Path) -> list[Camera]:
    """The cameras of the training photographs: those in `train_filenames`, or all where the file names no split."""
    meta = _read(transforms)
    named = meta.get("train_filenames")
    # "./images/a.png" and "images/a.png" are one photograph.
    wanted = None if named is None else {PurePosixPath(name) for name in named}
    cameras = [
        _camera(frame, meta, transforms)
        for frame in meta["frames"]
        if wanted is None or PurePosixPath(frame["file_path"]) in wanted
    ]
    if not cameras:
        raise InputError(f"{transforms}: none of the frames is in train_filenames; correct the names in that list.")
    return cameras


def cameras_of(views: Views) -> list[Camera]:
    """The training photographs of a surface, as cameras."""
    intrinsics = zip(
        *(getattr(views, name).tolist() for name in ("fx", "fy", "cx", "cy", "width", "height")), strict=True
    )
    return [
        Camera(pose.double().cpu().numpy(), fx, fy, cx, cy, round(width), round(height))
        for pose, (fx, fy, cx, cy, width, height) in zip(views.world_from_camera, intrinsics, strict=True)
    ]


def _read(transforms: Path) -> dict:
    if not transforms.is_file():
        raise InputError(f"{transforms}: no such file; give the transforms.json of the photographs.")
    try:
        meta = json.loads(transforms.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{transforms} is not valid JSON ({error}); write the file again.") from error
    if not meta.get("frames"):
        raise InputError(f"{transforms} lists no frames; it needs at least one posed photograph.")
    return meta


def _camera(frame: dict, meta: dict, transforms: Path) -> Camera:
    def number(key: str) -> float:
        value = frame.get(key, meta.get(key))
        if value is None:
            raise InputError(f"{transforms}: {frame['file_path']} has no {key}; write it in the frame or at the top.")
        return float(value)

    pose = np.array(frame["transform_matrix"], dtype=np.float64)[:3]
    return Camera(
        pose, number("fl_x"), number("fl_y"), number("cx"), number("cy"), round(number("w")), round(number("h"))
    )
