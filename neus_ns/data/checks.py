"""Looks over a capture before nerfstudio's dataparser touches it, and says in one sentence what must be mended.

nerfstudio's parser answers a malformed capture with a bare assertion, a shape mismatch, or silently wrong cameras. Here
the same rules are read first: what the parser takes globally or per frame, and where it looks for images and masks.
`checks_files` looks at images and masks, `checks_poses` at the camera poses, `checks_cloud` at the point cloud.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE

from neus_ns.data.checks_cloud import check_cloud, named_cloud
from neus_ns.data.checks_files import check_files
from neus_ns.data.checks_lens import check_distortion, number
from neus_ns.data.checks_poses import check_poses
from neus_ns.data.checks_splits import check_split_lists, check_split_names
from neus_ns.data.sources.folders import says_what_it_holds
from neus_ns.errors import InputError

_INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_ORIENTATIONS = ("pca", "up", "vertical", "none")
# In bytes; every common file system holds to it, and the path leaves room for that of the capture.
_LONGEST_NAME, _LONGEST_PATH = 255, 2048
# A focal length below this share of the image side would be a field of view above 174 degrees: it is not in pixels.
_LEAST_FOCAL_SHARE = 0.025
# Of the volume that axes of the same lengths could span; below it a transform is as good as flat.
_LEAST_VOLUME = 1e-6


def check_exists(data: Path) -> None:
    """The one check for captures that another dataparser than nerfstudio's own reads."""
    if not data.exists():
        raise InputError(f"{data} does not exist; check the path after --data.")


def check_capture(data: Path, downscale_factor: int | None = None, eval_mode: str = "fraction") -> None:
    """Raise InputError unless nerfstudio's own dataparser can read this folder (or .json) and a surface can come of it.

    `downscale_factor` and `eval_mode` are the dataparser's options of these names.
    """
    check_exists(data)
    json_path = _find_json(data)
    meta = read_json(json_path)
    frames = read_frames(meta, json_path)
    sizes = _check_intrinsics(meta, frames, json_path)
    check_distortion(meta, frames, json_path)
    _check_options(meta, json_path)
    _check_frames_models(meta, frames, json_path)
    check_poses(frames, json_path)
    check_files(frames, sizes, json_path, downscale_factor)
    cloud = named_cloud(meta, json_path)
    if cloud is not None and cloud.is_file():
        check_cloud(cloud, json_path)
    check_split_lists(meta, frames, json_path)
    if eval_mode == "filename" and "train_filenames" not in meta:
        check_split_names([Path(frame["file_path"]) for frame in frames], json_path)


def _find_json(data: Path) -> Path:
    if data.suffix == ".json":
        return data
    if data.is_file():
        raise InputError(
            f"{data} is a file, but a folder with a transforms.json (or that json itself) is needed; turn a video or "
            "photographs into one by `ns-process-data`."
        )
    json_path = data / "transforms.json"
    if json_path.is_file():
        return json_path
    names = {path.name + ("/" if path.is_dir() else "") for path in data.iterdir()}
    if {"transforms_train.json", "transforms_test.json"} & names:
        cure = "it looks like a Blender capture, so add `blender-data` at the end of the command"
    elif {"sparse/", "colmap/"} & names:
        cure = "it looks like a COLMAP project, so add `colmap` at the end of the command, or run `ns-process-data`"
    else:
        cure = "make one by `ns-process-data images`, or read a COLMAP project by adding `colmap` to the command"
    raise InputError(f"{data} has no transforms.json (it {says_what_it_holds(data)}); {cure}.")


def read_json(json_path: Path) -> dict[str, Any]:
    """The object that a json file holds."""
    try:
        text = json_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{json_path} cannot be read as UTF-8 text; export the capture again.") from error
    if not text.strip():
        raise InputError(f"{json_path} is empty; export the capture again.")
    try:
        meta = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise InputError(f"{json_path} is not valid JSON ({where}); correct that place or export it again.") from error
    except RecursionError as error:
        raise InputError(f"{json_path} is nested too deeply to be a capture; export the capture again.") from error
    if not isinstance(meta, dict):
        raise InputError(
            f"{json_path} holds a {type(meta).__name__} where an object with `frames` is needed; export the capture "
            "in nerfstudio's format."
        )
    return meta


def read_frames(meta: dict[str, Any], json_path: Path, least: int = 2) -> list[dict[str, Any]]:
    """The frames of a capture, each with a file name and a pose, at least so many."""
    if "frames" not in meta:
        raise InputError(f"{json_path} has no `frames`; export the capture in nerfstudio's format.")
    frames = meta["frames"]
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{json_path}: `frames` must be a list of objects; export the capture in nerfstudio's format.")
    if len(frames) < least:
        needed = "a surface needs at least two photographs from different places" if least == 2 else "one is needed"
        raise InputError(
            f"{json_path} lists {len(frames)} frame{'' if len(frames) == 1 else 's'}, but {needed}; add more to the "
            "capture."
        )
    for index, frame in enumerate(frames):
        for key in ("file_path", "transform_matrix"):
            if key not in frame:
                raise InputError(f"{json_path}: frame {index} has no `{key}`; export the capture again.")
        for key in ("file_path", "mask_path", "depth_file_path"):
            if key in frame and not _is_file_name(frame[key]):
                raise InputError(f"{json_path}: `{key}` of frame {index} is not a file name; correct or remove it.")
    return frames


def _is_file_name(value: Any) -> bool:
    """Whether some file could have this name; the system raises errors of its own kinds for others."""
    if not isinstance(value, str) or "\0" in value or not Path(value).name or Path(value).name == "..":
        return False
    try:
        parts = [part.encode() for part in Path(value).parts]
    except UnicodeEncodeError:
        return False
    return max(map(len, parts)) <= _LONGEST_NAME and sum(map(len, parts)) <= _LONGEST_PATH


def _check_intrinsics(meta: dict[str, Any], frames: list[dict[str, Any]], json_path: Path) -> list[tuple[int, int]]:
    """Check every camera's numbers and return the image sizes (width, height) that the json promises."""
    looks_through_lens = meta.get("camera_model", "OPENCV") in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
    sizes = []
    for frame in frames:
        values = {}
        for key in _INTRINSICS:
            # A global number wins over one in the frame, as in nerfstudio's parser.
            source = meta if key in meta else frame
            where = "" if source is meta else f" of frame {frame['file_path']}"
            if key not in source:
                raise InputError(_missing_intrinsic(meta, frame, key, json_path))
            values[key] = number(source[key])
            must_be_positive = key not in ("cx", "cy")
            if not math.isfinite(values[key]) or (must_be_positive and values[key] <= 0):
                kind = "positive" if must_be_positive else "finite"
                raise InputError(
                    f"{json_path}: `{key}`{where} is {source[key]!r}, but a {kind} number of pixels is needed; "
                    "correct it or export the capture again."
                )
        if looks_through_lens:
            _check_pixel_units(values, frame["file_path"], json_path)
        sizes.append((int(values["w"]), int(values["h"])))
    return sizes


def _missing_intrinsic(meta: dict[str, Any], frame: dict[str, Any], key: str, json_path: Path) -> str:
    cure = "write it in pixels, once for all or in every frame"
    if key.startswith("fl_") and ("camera_angle_x" in meta or "camera_angle_x" in frame):
        cure = "nerfstudio does not read `camera_angle_x`, so write fl_x = fl_y = w / (2 tan(camera_angle_x / 2))"
    return f"{json_path} has no `{key}`, neither globally nor in frame {frame['file_path']}; {cure}."


def _check_pixel_units(values: dict[str, float], name: str, json_path: Path) -> None:
    for focal, centre, side in (("fl_x", "cx", "w"), ("fl_y", "cy", "h")):
        if values[focal] < _LEAST_FOCAL_SHARE * values[side]:
            raise InputError(
                f"{json_path}: `{focal}` of frame {name} is {values[focal]:g} for an image of {values[side]:g} pixels, "
                "which looks like millimetres or a share of the image; write it in pixels."
            )
        if 0 < values[centre] <= 1 and values[side] > 4:
            raise InputError(
                f"{json_path}: `{centre}` of frame {name} is {values[centre]:g}, which looks like a share of the "
                "image; write it in pixels."
            )


def _check_options(meta: dict[str, Any], json_path: Path) -> None:
    model = meta.get("camera_model", "OPENCV")
    if not isinstance(model, str) or model not in CAMERA_MODEL_TO_TYPE:
        raise InputError(
            f"{json_path}: `camera_model` is {meta['camera_model']!r}, which nerfstudio does not know; undistort the "
            "photographs and write PINHOLE."
        )
    if meta.get("orientation_override", "none") not in _ORIENTATIONS:
        raise InputError(
            f"{json_path}: `orientation_override` is none of {', '.join(_ORIENTATIONS)}; correct or remove it."
        )
    points = meta.get("ply_file_path")
    if isinstance(points, str) and points and not _is_file_name(points):
        raise InputError(f"{json_path}: `ply_file_path` is not a file name; correct or remove it.")
    if "applied_transform" in meta:
        _check_applied(meta["applied_transform"], json_path)
    if not number(meta.get("applied_scale", 1.0)) > 0:
        raise InputError(f"{json_path}: `applied_scale` is not a positive number; correct or remove it.")


def _check_frames_models(meta: dict[str, Any], frames: list[dict[str, Any]], json_path: Path) -> None:
    """nerfstudio reads the kind of lens for all frames at once; another one within a frame would be passed over."""
    kind = CAMERA_MODEL_TO_TYPE[meta.get("camera_model", "OPENCV")]
    for frame in frames:
        model = frame.get("camera_model")
        if model is None:
            continue
        if not isinstance(model, str) or CAMERA_MODEL_TO_TYPE.get(model) is not kind:
            raise InputError(
                f"{json_path}: `camera_model` of frame {frame['file_path']} is {model!r}, but nerfstudio reads it at "
                "the top of the json alone, once for all frames; write it there, or keep frames of one kind only."
            )


def _check_applied(applied: Any, json_path: Path) -> None:
    if not (isinstance(applied, list) and len(applied) == 3 and all(_is_row_of_four(row) for row in applied)):
        raise InputError(f"{json_path}: `applied_transform` is not a 3x4 matrix of numbers; correct or remove it.")
    axes = np.array(applied, dtype=np.float64)[:, :3]
    if not abs(np.linalg.det(axes)) > _LEAST_VOLUME * np.linalg.norm(axes) ** 3:
        raise InputError(
            f"{json_path}: `applied_transform` flattens space, so it cannot be undone; correct or remove it."
        )


def _is_row_of_four(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 4 and all(math.isfinite(number(value)) for value in row)
