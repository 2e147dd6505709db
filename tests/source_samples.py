"""One small scene, written in every format that is read: the same photographs, the same world, each its own way."""

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.scenes import Ball, tiny_capture

SIZE, VIEWS = 32, 9
# Photographs of formats that have a principal point are cut so that it lies off the centre.
CUT = (3, 1, 31, 29)
README = "The (tight) bounding box for the ball model is\n({} {} {})\n({} {} {})\n"


@dataclass(frozen=True)
class Shots:
    """What was photographed: pictures and masks, whole, with pixel centres at +0.5 and OpenGL poses."""

    ball: Ball
    pictures: list[Image.Image]
    masks: list[Image.Image]
    poses: np.ndarray
    focal: float

    def cut(self) -> tuple[list[Image.Image], list[Image.Image], np.ndarray]:
        """Pictures, masks and intrinsics (pixel centres at +0.5) of the part within CUT."""
        lens = np.array([[self.focal, 0, SIZE / 2 - CUT[0]], [0, self.focal, SIZE / 2 - CUT[1]], [0, 0, 1]])
        return [picture.crop(CUT) for picture in self.pictures], [mask.crop(CUT) for mask in self.masks], lens

    def world_to_camera(self) -> tuple[np.ndarray, np.ndarray]:
        """Rotations and translations with OpenCV axes."""
        axes = self.poses[:, :3, :3] * [1, -1, -1]
        rotations = axes.transpose(0, 2, 1)
        return rotations, -np.einsum("vij,vj->vi", rotations, self.poses[:, :3, 3])


def take_shots(folder: Path) -> Shots:
    """Render the scene once; `folder` keeps what the renderer writes."""
    ball = tiny_capture(folder, SIZE, VIEWS)
    meta = json.loads((folder / "transforms.json").read_text())
    frames = [frame for frame in meta["frames"] if "train_" in frame["file_path"]]
    return Shots(
        ball=ball,
        pictures=[Image.open(folder / frame["file_path"]).convert("RGB") for frame in frames],
        masks=[Image.open(folder / frame["mask_path"]).convert("L") for frame in frames],
        poses=np.array([frame["transform_matrix"] for frame in frames]),
        focal=meta["fl_x"],
    )


def save(pictures: Sequence[Image.Image], folder: Path, names: Sequence[str]) -> None:
    for picture, name in zip(pictures, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)


def numbered(pattern: str) -> list[str]:
    return [pattern.format(index) for index in range(VIEWS)]


def cut_out(shots: Shots) -> list[Image.Image]:
    """The pictures with their masks as alpha."""
    return [Image.merge("RGBA", (*p.split(), m)) for p, m in zip(shots.pictures, shots.masks, strict=True)]


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_nerfstudio(shots: Shots, folder: Path, mask_path: bool = True) -> None:
    """nerfstudio's own, with masks that the json names or that only lie there."""
    pictures, masks, lens = shots.cut()
    save(pictures, folder, numbered("images/{:03d}.png"))
    save(masks, folder, numbered("masks/{:03d}.png"))
    frames = [{"file_path": f"images/{v:03d}.png", "transform_matrix": shots.poses[v].tolist()} for v in range(VIEWS)]
    for view, frame in enumerate(frames):
        frame.update({"mask_path": f"masks/{view:03d}.png"} if mask_path else {})
    size = pictures[0].size
    numbers = {"fl_x": lens[0, 0], "fl_y": lens[1, 1], "cx": lens[0, 2], "cy": lens[1, 2], "w": size[0], "h": size[1]}
    write_json(folder / "transforms.json", {**numbers, "frames": frames})


def write_polycam(shots: Shots, folder: Path) -> None:
    """As ns-process-data writes Polycam's: intrinsics in every frame, no orientation, paths with a dot."""
    pictures, _, lens = shots.cut()
    save(pictures, folder, numbered("images/frame_{:05d}.png"))
    numbers = {"fl_x": lens[0, 0], "fl_y": lens[1, 1], "cx": lens[0, 2], "cy": lens[1, 2], "w": 28, "h": 28}
    names = numbered("./images/frame_{:05d}.png")
    poses = shots.poses.tolist()
    frames = [{**numbers, "file_path": n, "transform_matrix": p} for n, p in zip(names, poses, strict=True)]
    write_json(folder / "transforms.json", {"camera_model": "OPENCV", "orientation_override": "none", "frames": frames})


def write_record3d(shots: Shots, folder: Path) -> None:
    """As ns-process-data writes Record3D's: one lens, its centre in the middle."""
    save(shots.pictures, folder, numbered("images/frame_{:05d}.png"))
    names, poses = numbered("images/frame_{:05d}.png"), shots.poses.tolist()
    frames = [{"file_path": n, "transform_matrix": p} for n, p in zip(names, poses, strict=True)]
    lens = {"fl_x": shots.focal, "fl_y": shots.focal, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE}
    write_json(folder / "transforms.json", {**lens, "camera_model": "OPENCV", "frames": frames})


def angle_json(shots: Shots, names: list[str], views: Sequence[int]) -> dict:
    frames = [
        {"file_path": names[view], "rotation": 0.01, "transform_matrix": shots.poses[view].tolist()} for view in views
    ]
    return {"camera_angle_x": 2 * math.atan(SIZE / 2 / shots.focal), "frames": frames}


def write_blender(shots: Shots, folder: Path) -> None:
    """NeRF-synthetic: cut-out photographs, names without suffix; the first view is for validation."""
    save(cut_out(shots), folder, numbered("train/r_{}.png"))
    names = numbered("./train/r_{}")
    write_json(folder / "transforms_train.json", angle_json(shots, names, range(1, VIEWS)))
    write_json(folder / "transforms_val.json", angle_json(shots, names, [0]))


def write_omniobject(shots: Shots, folder: Path) -> None:
    """OmniObject3D: names without folder or suffix, photographs over black, a scale beside every pose."""
    names = numbered("r_{}")
    black = Image.new("RGB", (SIZE, SIZE))
    pictures = [Image.composite(p, black, m) for p, m in zip(shots.pictures, shots.masks, strict=True)]
    save(pictures, folder, numbered("images/r_{}.png"))
    save(shots.masks, folder, numbered("masks/r_{}.png"))
    meta = angle_json(shots, names, range(VIEWS))
    for frame in meta["frames"]:
        frame["scale"] = 0.01
    write_json(folder / "transforms.json", meta)


def projections(shots: Shots) -> np.ndarray:
    """K [R | t] with integer pixel centres."""
    lens = shots.cut()[2]
    lens[:2, 2] -= 0.5
    rotations, translations = shots.world_to_camera()
    return lens @ np.concatenate([rotations, translations[..., None]], axis=2)


def scale_matrix(ball: Ball) -> np.ndarray:
    matrix = np.diag([1.5 * ball.radius] * 3 + [1.0])
    matrix[:3, 3] = ball.centre
    return matrix


def dtu_matrices(shots: Shots) -> dict[str, np.ndarray]:
    matrices = {}
    for index, projection in enumerate(projections(shots)):
        # A projection means the same at every positive scale.
        matrices[f"world_mat_{index}"] = (1.0 + index) * np.concatenate([projection, [[0, 0, 0, 1 / (1.0 + index)]]])
        matrices[f"scale_mat_{index}"] = scale_matrix(shots.ball)
    return matrices


def write_dtu(shots: Shots, folder: Path) -> None:
    """DTU as IDR and NeuS have it: masks numbered by three digits, photographs by six."""
    pictures, masks, _ = shots.cut()
    save(pictures, folder, numbered("image/{:06d}.png"))
    save([mask.convert("RGB") for mask in masks], folder, numbered("mask/{:03d}.png"))
    np.savez(folder / "cameras_sphere.npz", **dtu_matrices(shots))


def write_neus(shots: Shots, folder: Path) -> None:
    """A private capture in that layout, without masks."""
    save(shots.cut()[0], folder, numbered("image/{:03d}.png"))
    np.savez(folder / "cameras.npz", **dtu_matrices(shots))


def write_blended_mvs(shots: Shots, folder: Path) -> None:
    """BlendedMVS's own layout, whose pixel centres are at +0.5."""
    pictures, masks, lens = shots.cut()
    save(pictures, folder, numbered("blended_images/{:08d}.png"))
    black = Image.new("RGB", pictures[0].size)
    masked = [Image.composite(p, black, m) for p, m in zip(pictures, masks, strict=True)]
    save(masked, folder, numbered("blended_images/{:08d}_masked.png"))
    (folder / "cams").mkdir()
    (folder / "cams/pair.txt").write_text("0\n")
    rotations, translations = shots.world_to_camera()
    for view in range(VIEWS):
        extrinsic = np.eye(4)
        extrinsic[:3] = np.concatenate([rotations[view], translations[view][:, None]], axis=1)
        rows = ["extrinsic", *(" ".join(map(str, row)) for row in extrinsic), "", "intrinsic"]
        rows += [" ".join(map(str, row)) for row in lens] + ["", "1.0 0.01 128 3.0", ""]
        (folder / f"cams/{view:08d}_cam.txt").write_text("\n".join(rows))


def write_middlebury(shots: Shots, folder: Path) -> None:
    """Middlebury: one line a photograph, the object's box in the README."""
    pictures, _, lens = shots.cut()
    lens[:2, 2] -= 0.5
    names = numbered("ball{:04d}.png")
    save(pictures, folder, names)
    rotations, translations = shots.world_to_camera()
    lines = [str(VIEWS)]
    for name, rotation, translation in zip(names, rotations, translations, strict=True):
        lines.append(" ".join([name, *map(str, [*lens.ravel(), *rotation.ravel(), *translation])]))
    (folder / "ball_par.txt").write_text("\n".join(lines) + "\n")
    low, high = (np.array(shots.ball.centre) + sign * shots.ball.radius for sign in (-1, 1))
    (folder / "README.txt").write_text(README.format(*low, *high))


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """w x y z of a rotation, by the eigenvector that the four of them form."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    matrix = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, d + b, c + g],
            [c - g, d + b, e - a - i, h + f],
            [d - b, c + g, h + f, i - a - e],
        ]
    )
    return np.linalg.eigh(matrix)[1][:, -1]


def write_colmap_text(shots: Shots, folder: Path) -> None:
    """A text model of two cameras, photographs in subfolders, masks in COLMAP's naming, no points."""
    pictures, masks, lens = shots.cut()
    names = [f"side {view % 2}/ünï_{view:03d}.png" for view in range(VIEWS)]
    save(pictures, folder / "images", names)
    save(masks, folder / "masks", [f"{name}.png" for name in names])
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    camera = f"PINHOLE 28 28 {lens[0, 0]} {lens[1, 1]} {lens[0, 2]} {lens[1, 2]}"
    (model / "cameras.txt").write_text(f"# cameras\n1 {camera}\n2 {camera}\n")
    rotations, translations = shots.world_to_camera()
    lines = ["# images"]
    for view, name in enumerate(names):
        numbers = " ".join(map(str, [*quaternion(rotations[view]), *translations[view]]))
        lines += [f"{view + 1} {numbers} {1 + view % 2} {name}", ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    (model / "points3D.txt").write_text("# points\n")


def write_colmap_binary(shots: Shots, folder: Path) -> None:
    """A binary model below colmap/, with points on the ball."""
    pictures, masks, lens = shots.cut()
    names = numbered("{:03d}.png")
    save(pictures, folder / "images", names)
    save(masks, folder / "masks", names)
    model = folder / "colmap/sparse/0"
    model.mkdir(parents=True)
    camera = struct.pack("<QiiQQ4d", 1, 1, 1, 28, 28, lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2])
    (model / "cameras.bin").write_bytes(camera)
    rotations, translations = shots.world_to_camera()
    images = struct.pack("<Q", VIEWS)
    for view, name in enumerate(names):
        images += struct.pack("<i7di", view + 1, *quaternion(rotations[view]), *translations[view], 1)
        images += name.encode() + b"\0" + struct.pack("<Q", 0)
    (model / "images.bin").write_bytes(images)
    directions = np.random.default_rng(0).normal(size=(60, 3))
    points = shots.ball.centre + shots.ball.radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    data = struct.pack("<Q", len(points))
    for index, point in enumerate(points):
        data += struct.pack("<Q3d3BdQ2i", index + 1, *point, 9, 9, 9, 0.5, 1, 1 + index % VIEWS, 0)
    (model / "points3D.bin").write_bytes(data)


@dataclass(frozen=True)
class Sample:
    """How to write the scene in a format, the words by which it is to be recognised, and what is known then."""

    write: Callable[[Shots, Path], None]
    recognised: str
    is_cut: bool = True
    masks: bool = True
    region: bool = False
    subcommand: str | None = None


SAMPLES: dict[str, Sample] = {
    "nerfstudio": Sample(write_nerfstudio, "nerfstudio", subcommand="nerfstudio-data"),
    "nerfstudio, masks beside": Sample(lambda s, f: write_nerfstudio(s, f, mask_path=False), "nerfstudio"),
    "Polycam": Sample(write_polycam, "nerfstudio", masks=False),
    "Record3D": Sample(write_record3d, "nerfstudio", is_cut=False, masks=False),
    "Blender": Sample(write_blender, "Blender", is_cut=False, subcommand="blender-data"),
    "OmniObject3D": Sample(write_omniobject, "OmniObject3D", is_cut=False, subcommand="omniobject-data"),
    "DTU": Sample(write_dtu, "DTU", region=True, subcommand="dtu-data"),
    "NeuS without masks": Sample(write_neus, "DTU", masks=False, region=True),
    "BlendedMVS": Sample(write_blended_mvs, "BlendedMVS", masks=False, subcommand="blended-mvs-data"),
    "Middlebury": Sample(write_middlebury, "Middlebury", masks=False, region=True, subcommand="middlebury-data"),
    "COLMAP text": Sample(write_colmap_text, "COLMAP", subcommand="colmap"),
    "COLMAP binary": Sample(write_colmap_binary, "COLMAP"),
}
