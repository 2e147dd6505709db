"""Every way a capture can be malformed gets one sentence that names the file; sound captures pass untouched."""

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neus_ns.data.checks import check_capture, check_exists
from neus_ns.errors import InputError

SIZE = 16


@dataclass
class Capture:
    """A capture in a folder, whose json can be changed and written again."""

    folder: Path
    meta: dict

    @property
    def frames(self) -> list[dict]:
        return self.meta["frames"]

    @property
    def json_path(self) -> Path:
        return self.folder / "transforms.json"

    def write(self) -> None:
        self.json_path.write_text(json.dumps(self.meta))


def noise(width: int = SIZE, height: int = SIZE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def disc_mask(width: int = SIZE, height: int = SIZE) -> Image.Image:
    row, column = np.ogrid[:height, :width]
    return Image.fromarray(np.uint8(255 * (np.hypot(row - height / 2, column - width / 2) < 4)))


def valid_capture(folder: Path, masks: bool = True) -> Capture:
    """Four cameras on a ring that look inwards."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    frames = []
    for index in range(4):
        angle = 0.5 * math.pi * index
        cos, sin = math.cos(angle), math.sin(angle)
        pose = [[-sin, 0.0, cos, 2 * cos], [cos, 0.0, sin, 2 * sin], [0.0, 1.0, 0.0, 0.3], [0.0, 0.0, 0.0, 1.0]]
        frame = {"file_path": f"images/{index}.png", "transform_matrix": pose}
        noise().save(folder / frame["file_path"])
        if masks:
            frame["mask_path"] = f"masks/{index}.png"
            disc_mask().save(folder / frame["mask_path"])
        frames.append(frame)
    capture = Capture(
        folder, {"fl_x": 20.0, "fl_y": 20.0, "cx": 8.0, "cy": 8.0, "w": SIZE, "h": SIZE, "frames": frames}
    )
    capture.write()
    return capture


def set_pose(capture: Capture, row: int, column: int, value: float) -> None:
    capture.frames[1]["transform_matrix"][row][column] = value


def cloud_bytes(kind: str = "binary_little_endian", before: str = "", count: int = 20) -> bytes:
    """A cloud of points of 15 bytes or 6 numbers each."""
    properties = [f"property float {axis}\n" for axis in "xyz"] + [f"property uchar {name}\n" for name in "rgb"]
    header = (
        f"ply\nformat {kind} 1.0\ncomment made here\n{before}element vertex {count}\n{''.join(properties)}end_header\n"
    )
    order = ">" if kind == "binary_big_endian" else "<"
    point = struct.pack(f"{order}3f3B", 1.25, 2.5, 3.75, 100, 100, 100)
    return header.encode() + count * (b"1.25 2.50 3.75 100 100 100\n" if kind == "ascii" else point)


def write_cloud(capture: Capture, content: bytes, name: str = "cloud.ply") -> None:
    capture.meta["ply_file_path"] = name
    (capture.folder / name).write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def cut_jpeg(capture: Capture) -> None:
    noise().save(capture.folder / "images/1.jpg", quality=100)
    truncate(capture.folder / "images/1.jpg")
    capture.frames[1]["file_path"] = "images/1.jpg"


def fill_masks(capture: Capture, *levels: int) -> None:
    for index, level in enumerate(levels):
        Image.new("L", (SIZE, SIZE), level).save(capture.folder / f"masks/{index}.png")


def move_cameras(capture: Capture, spread: float, offset: float) -> None:
    for frame in capture.frames:
        for row in range(3):
            frame["transform_matrix"][row][3] = spread * frame["transform_matrix"][row][3] + offset


def each_frame(capture: Capture, change: Callable[[dict], object]) -> None:
    for frame in capture.frames:
        change(frame)


def scale_axis(capture: Capture, column: int, factor: float) -> None:
    for row in range(3):
        capture.frames[2]["transform_matrix"][row][column] *= factor


def transpose_poses(capture: Capture) -> None:
    each_frame(capture, lambda frame: frame.update(transform_matrix=np.array(frame["transform_matrix"]).T.tolist()))


def drop_last_rows(capture: Capture) -> None:
    each_frame(capture, lambda frame: frame["transform_matrix"].pop())


def large_with_half_size_copies(capture: Capture, masks_too: bool) -> None:
    """Photographs beyond nerfstudio's limit of 1600 pixels, for which it reads copies of half the size."""
    for name in ("images_2", "masks_2"):
        (capture.folder / name).mkdir()
    for index in range(4):
        noise(1604, 8).save(capture.folder / f"images/{index}.png")
        noise(802, 4).save(capture.folder / f"images_2/{index}.png")
        disc_mask(1604, 8).save(capture.folder / f"masks/{index}.png")
        if masks_too:
            disc_mask(802, 4).save(capture.folder / f"masks_2/{index}.png")
    capture.meta.update(w=1604, h=8, fl_x=900, fl_y=900)


def clash_in_half_size_folder(capture: Capture) -> None:
    large_with_half_size_copies(capture, masks_too=True)
    (capture.folder / "other").mkdir()
    noise(1604, 8).save(capture.folder / "other/0.png")
    capture.frames[1]["file_path"] = "other/0.png"


ALL_SPLITS = {name: ["images/0.png", "images/1.png"] for name in ("train_filenames", "val_filenames", "test_filenames")}

# What is done to a valid capture, what the sentence must name, and a word of its reason.
MALFORMED: dict[str, tuple[Callable[[Capture], object], str, str]] = {
    "no frames key": (lambda c: c.meta.pop("frames"), "transforms.json", "no `frames`"),
    "frames not a list": (lambda c: c.meta.update(frames={"a": 1}), "transforms.json", "list of objects"),
    "one frame": (lambda c: c.meta.update(frames=c.frames[:1]), "transforms.json", "lists 1 frame,"),
    "no frames": (lambda c: c.meta.update(frames=[]), "transforms.json", "lists 0 frames"),
    "no pose": (lambda c: c.frames[1].pop("transform_matrix"), "transforms.json", "frame 1 has no `transform_matrix`"),
    "file_path not a name": (lambda c: c.frames[1].update(file_path=7), "transforms.json", "not a file name"),
    "no focal": (lambda c: c.meta.pop("fl_y"), "transforms.json", "no `fl_y`"),
    "only camera_angle_x": (
        lambda c: (c.meta.pop("fl_x"), c.meta.update(camera_angle_x=0.8)),
        "transforms.json",
        "does not read `camera_angle_x`",
    ),
    "no width": (lambda c: c.meta.pop("w"), "transforms.json", "no `w`"),
    "zero focal": (lambda c: c.meta.update(fl_x=0), "transforms.json", "`fl_x` is 0"),
    "negative focal": (lambda c: c.meta.update(fl_y=-20.0), "transforms.json", "`fl_y` is -20.0"),
    "nan focal": (lambda c: c.meta.update(fl_x=math.nan), "transforms.json", "`fl_x` is nan"),
    "text for a number": (lambda c: c.meta.update(cx="middle"), "transforms.json", "`cx` is 'middle'"),
    "focal in millimetres": (lambda c: c.meta.update(fl_x=0.3), "transforms.json", "millimetres"),
    "centre as a share": (lambda c: c.meta.update(cx=0.5), "transforms.json", "share of the image"),
    "unknown camera": (lambda c: c.meta.update(camera_model="PINHOLES"), "transforms.json", "'PINHOLES'"),
    "bad applied_transform": (lambda c: c.meta.update(applied_transform=[[1, 0, 0]]), "transforms.json", "3x4 matrix"),
    "bad applied_scale": (lambda c: c.meta.update(applied_scale=0), "transforms.json", "`applied_scale`"),
    "images missing": (
        lambda c: [(c.folder / f"images/{index}.png").unlink() for index in (1, 2, 3)],
        "images/1.png",
        "and 2 more images are missing",
    ),
    "image of no bytes": (lambda c: (c.folder / "images/2.png").write_bytes(b""), "images/2.png", "0 bytes"),
    "image not an image": (
        lambda c: (c.folder / "images/2.png").write_text("version 1"),
        "images/2.png",
        "as an image",
    ),
    "image cut short": (lambda c: truncate(c.folder / "images/2.png"), "images/2.png", "truncated"),
    "jpeg cut short": (cut_jpeg, "images/1.jpg", "truncated"),
    "image of another size": (lambda c: noise(20, 16).save(c.folder / "images/1.png"), "images/1.png", "20x16"),
    "image turned": (
        lambda c: (c.meta.update(h=24), noise(24, 16).save(c.folder / "images/0.png")),
        "images/0.png",
        "rotated",
    ),
    "masks for some": (
        lambda c: [c.frames[index].pop("mask_path") for index in (0, 2)],
        "transforms.json",
        "no `mask_path` for 2 of 4 frames",
    ),
    "mask missing": (lambda c: (c.folder / "masks/3.png").unlink(), "masks/3.png", "is missing"),
    "mask of another size": (lambda c: disc_mask(8, 8).save(c.folder / "masks/3.png"), "masks/3.png", "8x8"),
    "masks black": (lambda c: fill_masks(c, 0, 0, 0, 0), "masks/0.png", "all are black"),
    "masks white": (lambda c: fill_masks(c, 255, 255, 255, 255), "masks/0.png", "everything as object"),
    "masks constant": (lambda c: fill_masks(c, 255, 0, 255, 0), "masks/0.png", "all black or all white"),
    "depth for some": (lambda c: c.frames[0].update(depth_file_path="0.png"), "transforms.json", "`depth_file_path`"),
    "half-size masks missing": (
        lambda c: (large_with_half_size_copies(c, True), (c.folder / "masks_2/2.png").unlink()),
        "masks_2/2.png",
        "--downscale-factor",
    ),
    "full-size masks missing too": (
        lambda c: (large_with_half_size_copies(c, False), (c.folder / "masks/3.png").unlink()),
        "masks/3.png",
        "is missing",
    ),
    "equal names at half size": (clash_in_half_size_folder, "transforms.json", "called 0.png"),
    "pose with nan": (lambda c: set_pose(c, 0, 3, math.nan), "transforms.json", "images/1.png holds NaN"),
    "pose with infinity": (lambda c: set_pose(c, 0, 3, math.inf), "transforms.json", "images/1.png holds NaN or inf"),
    "pose 2x2": (
        lambda c: c.frames[1].update(transform_matrix=[[1, 0], [0, 1]]),
        "transforms.json",
        "images/1.png is not",
    ),
    "poses 3x4": (drop_last_rows, "transforms.json", "add the row [0, 0, 0, 1]"),
    "ragged pose": (lambda c: c.frames[1]["transform_matrix"][0].pop(), "transforms.json", "images/1.png is not a 4x4"),
    "transposed poses": (transpose_poses, "transforms.json", "transposed"),
    "sheared pose": (lambda c: scale_axis(c, 1, 1.2), "transforms.json", "images/2.png is not rigid"),
    "mirrored pose": (lambda c: scale_axis(c, 0, -1.0), "transforms.json", "images/2.png mirrors"),
    "cameras in one spot": (lambda c: move_cameras(c, 0.0, 1.0), "transforms.json", "in one spot"),
    "one camera far off": (lambda c: set_pose(c, 0, 3, 1e9), "transforms.json", "units away from the others"),
    "a camera beyond single precision": (lambda c: set_pose(c, 0, 3, 1e30), "transforms.json", "a camera lies 1e+30"),
    "a pose with a number of 400 digits": (
        lambda c: set_pose(c, 0, 3, 10**400),
        "transforms.json",
        "images/1.png is not a 4x4",
    ),
    "distortion that is null": (lambda c: c.meta.update(k1=None), "transforms.json", "`k1` is not a finite number"),
    "distortion of a frame that is a word": (
        lambda c: c.frames[1].update(p2="wide"),
        "transforms.json",
        "`p2` of frame images/1.png",
    ),
    "too few distortion parameters": (
        lambda c: c.frames[1].update(distortion_params=[0.1, 0.2]),
        "transforms.json",
        "`distortion_params` of frame images/1.png",
    ),
    "crop radius below zero": (
        lambda c: c.meta.update(fisheye_crop_radius=-3),
        "transforms.json",
        "`fisheye_crop_radius`",
    ),
    "unknown orientation": (
        lambda c: c.meta.update(orientation_override="left"),
        "transforms.json",
        "`orientation_override` is none of",
    ),
    "camera model that is a list": (lambda c: c.meta.update(camera_model=[]), "transforms.json", "`camera_model`"),
    "another lens within a frame": (
        lambda c: c.frames[2].update(camera_model="OPENCV_FISHEYE"),
        "`camera_model` of frame images/2.png",
        "at the top of the json alone",
    ),
    "a lens without a word at the top": (
        lambda c: each_frame(c, lambda frame: frame.update(camera_model="EQUIRECTANGULAR")),
        "`camera_model` of frame images/0.png",
        "write it there",
    ),
    "applied transform null": (lambda c: c.meta.update(applied_transform=None), "transforms.json", "3x4 matrix"),
    "applied transform flat": (
        lambda c: c.meta.update(applied_transform=[[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 3]]),
        "transforms.json",
        "flattens space",
    ),
    "file name too long": (lambda c: c.frames[1].update(file_path="a" * 300), "transforms.json", "not a file name"),
    "points in an impossible file": (
        lambda c: c.meta.update(ply_file_path="a\0b"),
        "transforms.json",
        "`ply_file_path` is not a file name",
    ),
    "points cut short": (
        lambda c: write_cloud(c, cloud_bytes()[:-20]),
        "cloud.ply",
        "ends after 18 of 20 points; copy or export the file again",
    ),
    "points of text cut short": (
        lambda c: write_cloud(c, cloud_bytes("ascii")[:-20]),
        "cloud.ply",
        "ends after 19 of 20 points",
    ),
    "points behind faces cut short": (
        lambda c: write_cloud(c, cloud_bytes(before="element face 2\nproperty list uchar int vertex_indices\n")),
        "cloud.ply",
        "ends after 19 of 20 points",
    ),
    "points whose header is cut short": (
        lambda c: write_cloud(c, cloud_bytes()[:60]),
        "cloud.ply",
        "is not a PLY file that can be read",
    ),
    "points in a file without a vertex": (
        lambda c: write_cloud(c, b"ply\nformat ascii 1.0\nelement face 0\nend_header\n"),
        "cloud.ply",
        "is not a PLY file that can be read",
    ),
    "points in a picture": (
        lambda c: c.meta.update(ply_file_path="images/0.png"),
        "images/0.png",
        "is not a PLY file that can be read; copy or export the file again, or remove `ply_file_path`",
    ),
    "split list that is a number": (
        lambda c: c.meta.update(ALL_SPLITS, train_filenames=3),
        "transforms.json",
        "`train_filenames` is not a list",
    ),
    "geographic poses": (lambda c: move_cameras(c, 1.0, 4e6), "transforms.json", "single precision"),
    "a file twice": (lambda c: c.frames[2].update(file_path="images/./0.png"), "images/0.png", "2 times"),
    "unknown training image": (
        lambda c: c.meta.update(ALL_SPLITS, train_filenames=["images/0.png", "images/9.png", "a.png"]),
        "images/9.png",
        "and 1 more",
    ),
    "split lists missing": (
        lambda c: c.meta.update(train_filenames=["images/0.png"]),
        "transforms.json",
        "`val_filenames`",
    ),
    "one training image": (
        lambda c: c.meta.update(ALL_SPLITS, train_filenames=["images/0.png"]),
        "transforms.json",
        "fewer than two",
    ),
}


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_refused(data: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        check_capture(data)
    message = str(caught.value)
    assert name in message and reason in message, message
    assert "\n" not in message and message.endswith(".") and ". " not in message, message


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_captures_get_one_sentence(tmp_path: Path, fault: str):
    change, name, reason = MALFORMED[fault]
    capture = valid_capture(tmp_path)
    change(capture)
    capture.write()
    before = contents(tmp_path)
    assert_refused(tmp_path, name, reason)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "is empty"), ("  \n", "is empty"), ('{"frames": [', "not valid JSON (line 1"), ("[1, 2]", "holds a list")],
)
def test_json_that_is_none(tmp_path: Path, text: str, reason: str):
    (tmp_path / "transforms.json").write_text(text)
    assert_refused(tmp_path, "transforms.json", reason)


def test_json_in_another_encoding(tmp_path: Path):
    (tmp_path / "transforms.json").write_bytes(b"\xff\xfe{\x00")
    assert_refused(tmp_path, "transforms.json", "UTF-8")


@pytest.mark.parametrize(
    ("holds", "reason"),
    [
        ([], "is empty"),
        (["photo.jpg"], "holds photo.jpg); make one by `ns-process-data"),
        (["sparse/"], "add `colmap`"),
        (["transforms_train.json"], "add `blender-data`"),
    ],
)
def test_folder_without_transforms(tmp_path: Path, holds: list[str], reason: str):
    for name in holds:
        path = tmp_path / name
        path.mkdir() if name.endswith("/") else path.touch()
    assert_refused(tmp_path, str(tmp_path), reason)


def test_places_that_are_no_capture(tmp_path: Path):
    assert_refused(tmp_path / "nowhere", "nowhere", "does not exist")
    assert_refused(tmp_path / "nowhere.json", "nowhere.json", "does not exist")
    (tmp_path / "clip.mp4").touch()
    assert_refused(tmp_path / "clip.mp4", "clip.mp4", "is a file")
    with pytest.raises(InputError, match="nowhere does not exist"):
        check_exists(tmp_path / "nowhere")
    check_exists(tmp_path)


def per_frame_intrinsics(capture: Capture) -> None:
    for index, frame in enumerate(capture.frames):
        frame.update({key: capture.meta[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")})
        frame["w"] = SIZE + index
        noise(SIZE + index, SIZE).save(capture.folder / frame["file_path"])
        disc_mask(SIZE + index, SIZE).save(capture.folder / frame["mask_path"])
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        del capture.meta[key]


def common_scale(capture: Capture) -> None:
    """Blender writes the scale of its camera object into the axes, and rays do not depend on it."""
    each_frame(
        capture,
        lambda frame: [row.__setitem__(k, 3 * row[k]) for row in frame["transform_matrix"][:3] for k in range(3)],
    )


VALID: dict[str, Callable[[Capture], object]] = {
    "as written": lambda c: None,
    "without masks": lambda c: each_frame(c, lambda frame: frame.pop("mask_path")),
    "per-frame intrinsics": per_frame_intrinsics,
    "some masks constant": lambda c: fill_masks(c, 0, 255, 0),
    "labels 0 and 1": lambda c: Image.fromarray(np.uint8(np.eye(SIZE))).save(c.folder / "masks/0.png"),
    "scaled axes": common_scale,
    "splits": lambda c: c.meta.update(ALL_SPLITS),
    "half-size copies": lambda c: large_with_half_size_copies(c, True),
    "half-size copies of photographs only": lambda c: large_with_half_size_copies(c, False),
    "fisheye": lambda c: c.meta.update(camera_model="OPENCV_FISHEYE"),
    "points": lambda c: write_cloud(c, cloud_bytes()),
    "points of text": lambda c: write_cloud(c, cloud_bytes("ascii").rstrip()),
    "points of text with other ends of lines": lambda c: write_cloud(c, cloud_bytes("ascii").replace(b"\n", b"\r\n")),
    "points, big-endian": lambda c: write_cloud(c, cloud_bytes("binary_big_endian") + b"more"),
    "no points": lambda c: write_cloud(c, cloud_bytes(count=0)),
    "points in another format": lambda c: write_cloud(c, b"1.0 2.0 3.0\n", "cloud.xyz"),
    "points that are absent": lambda c: c.meta.update(ply_file_path="nowhere.ply"),
    "applied": lambda c: c.meta.update(applied_transform=np.eye(4)[:3].tolist(), applied_scale=2.0),
}


@pytest.mark.parametrize("kind", VALID)
def test_sound_captures_pass_untouched(tmp_path: Path, kind: str):
    capture = valid_capture(tmp_path)
    VALID[kind](capture)
    capture.write()
    before = contents(tmp_path)
    check_capture(tmp_path)
    check_capture(capture.json_path)
    assert contents(tmp_path) == before


def test_a_given_downscale_factor_decides_which_files_are_read(tmp_path: Path):
    capture = valid_capture(tmp_path)
    large_with_half_size_copies(capture, masks_too=False)
    capture.write()
    check_capture(tmp_path, downscale_factor=1)
    disc_mask(802, 4).save(tmp_path / "masks_2/1.png")
    with pytest.raises(InputError, match="masks_2/0.png is missing"):
        check_capture(tmp_path, downscale_factor=2)
    for index in range(4):
        disc_mask(802, 4).save(tmp_path / f"masks_2/{index}.png")
        (tmp_path / f"images/{index}.png").unlink()
    check_capture(tmp_path, downscale_factor=2)
