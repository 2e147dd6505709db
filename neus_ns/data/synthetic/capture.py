"""Writes a synthetic capture to disk: photographs, masks, poses and points as nerfstudio reads them, and the truth.

folder/
    images/train_000.png ...  masks/train_000.png ...  transforms.json  sparse_pc.ply
    gt_mesh.ply  gt_points.npz  meta.json (written last: its presence says that the rest is whole)
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from neus_ns.data.ply import write_ply
from neus_ns.data.synthetic.cameras import Pinhole, held_out_cameras, train_cameras
from neus_ns.data.synthetic.demo import demo_shape
from neus_ns.data.synthetic.figurine import figurine_shape
from neus_ns.data.synthetic.materials import MaterialName, material_of
from neus_ns.data.synthetic.render import Photograph, photographs
from neus_ns.data.synthetic.shapes import Shape
from neus_ns.data.synthetic.truth import exact_mesh, visible_points
from neus_ns.errors import InputError

# Called with what is being made, how many of them are done, and how many there will be.
Progress = Callable[[str, int, int], None]

# Raise it when the same options give other pictures, so that captures of older versions are not reused.
_RECIPE = 1
_MARKER = ".neus_ns_capture"
_OWN_FILES = re.compile(
    r"(images|masks)/(train|test)_\d{3,}\.png|transforms\.json|sparse_pc\.ply|gt_mesh\.ply|gt_points\.npz"
    r"|meta\.json(\.partial)?|\.neus_ns_capture"
)
_SPARSE_POINTS = 4000
_TRUTH_DRAWS = 60_000


def _silent(what: str, done: int, total: int) -> None:
    """The progress report of a caller who wants none."""


@dataclass(frozen=True)
class CaptureOptions:
    """What the capture holds.

    `views` and `test_views` count photographs, `size` is their edge in pixels, `gloss` in [0, 1] adds a coat of varnish
    that looks different from every side, `masks` writes one foreground mask a photograph, `seed` moves the cameras.
    `material` varnish is the demo object; the others, which mirror a studio, are a smooth figurine.
    """

    views: int = 40
    test_views: int = 6
    size: int = 240
    seed: int = 0
    gloss: float = 0.0
    masks: bool = True
    material: MaterialName = "varnish"

    def __post_init__(self) -> None:
        if self.views < 3:
            raise InputError(f"A capture needs at least 3 training views, got {self.views}; ask for more.")
        if self.test_views < 1:
            raise InputError(f"A capture needs at least 1 test view to be judged by, got {self.test_views}.")
        if not 16 <= self.size <= 1600:
            raise InputError(
                f"The picture size must be from 16 to 1600 pixels (nerfstudio shrinks more), got {self.size}."
            )
        if not 0.0 <= self.gloss <= 1.0:
            raise InputError(f"Gloss goes from 0 (matt) to 1 (varnished), got {self.gloss}.")
        if self.gloss > 0.0 and self.material != "varnish":
            raise InputError(f"Gloss is a property of varnish; {self.material} has its own: leave it at 0.")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: the tensors are too small to share out, and on a busy machine threads mostly wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def capture_is_complete(folder: Path, options: CaptureOptions) -> bool:
    """Whether the folder holds a whole capture made by this version with exactly these options."""
    meta_file = folder / "meta.json"
    if not (folder / _MARKER).is_file() or not meta_file.is_file():
        return False
    meta = json.loads(meta_file.read_text())
    same = meta["recipe"] == _RECIPE and meta["options"] == asdict(options)
    return same and all((folder / name).is_file() for name in meta["files"])


@_one_thread()
def write_capture(folder: Path, options: CaptureOptions, progress: Progress = _silent) -> None:
    """Write the capture, or keep the one that is there if it was made with the same options.

    A capture of other options is replaced. A folder that holds anything else is refused with an InputError.
    """
    if capture_is_complete(folder, options):
        return
    _make_room(folder)
    shape = demo_shape() if options.material == "varnish" else figurine_shape()
    cameras = write_views(folder, shape, options, progress)
    progress("ground truth", 0, 1)
    mesh = exact_mesh(shape)
    write_ply(folder / "gt_mesh.ply", mesh)
    points, normals = visible_points(shape, mesh, cameras, _TRUTH_DRAWS, options.seed)
    np.savez(folder / "gt_points.npz", points=points.numpy(), normals=normals.numpy())
    progress("ground truth", 1, 1)
    meta = {
        "recipe": _RECIPE,
        "options": asdict(options),
        "unit": "mm",
        "object_bbox": np.asarray(mesh.bounds).round(4).tolist(),
        "centre": list(shape.centre),
        "radius": shape.radius,
        "files": sorted(name for name in _relative_files(folder) if name not in ("meta.json", _MARKER)),
    }
    # Renamed into place, so that a whole meta.json is there or none.
    unfinished = folder / "meta.json.partial"
    unfinished.write_text(json.dumps(meta, indent=2) + "\n")
    unfinished.replace(folder / "meta.json")


def write_views(folder: Path, shape: Shape, options: CaptureOptions, progress: Progress = _silent) -> list[Pinhole]:
    """Write the part that nerfstudio reads, of any shape seen from around it; returns the training cameras."""
    place = (shape.centre, shape.radius)
    train = train_cameras(*place, options.views, options.size, options.seed)
    test = held_out_cameras(*place, options.test_views, options.size, options.seed)
    write_photographs(folder, shape, train, test, options, progress)
    return train


@_one_thread()
def write_photographs(
    folder: Path,
    shape: Shape,
    train: Sequence[Pinhole],
    test: Sequence[Pinhole],
    options: CaptureOptions,
    progress: Progress = _silent,
) -> None:
    """Write the part that nerfstudio reads, as these cameras see the shape."""
    cameras = [*train, *test]
    names = [f"train_{i:03d}.png" for i in range(len(train))] + [f"test_{i:03d}.png" for i in range(len(test))]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if options.masks:
        (folder / "masks").mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(options.seed)
    sparse_points, sparse_colours = [], []
    material = material_of(options.material, options.gloss)
    for index, picture in enumerate(photographs(shape, cameras, material)):
        progress("photographs", index, len(names))
        image = (picture.image * 255.0).round().to(torch.uint8)
        Image.fromarray(image.numpy()).save(folder / "images" / names[index])
        if options.masks:
            mask = picture.mask.to(torch.uint8) * 255
            Image.fromarray(mask.numpy()).save(folder / "masks" / names[index])
        if index < len(train):
            share = -(-_SPARSE_POINTS // len(train))
            points, colours = _sparse_points(train[index], picture, image, share, shape.radius, generator)
            sparse_points.append(points)
            sparse_colours.append(colours)
    progress("photographs", len(names), len(names))
    cloud = trimesh.PointCloud(torch.cat(sparse_points).double().numpy(), colors=torch.cat(sparse_colours).numpy())
    write_ply(folder / "sparse_pc.ply", cloud)
    transforms = _transforms(cameras, names, len(train), options.masks)
    (folder / "transforms.json").write_text(json.dumps(transforms, indent=2) + "\n")


def _sparse_points(
    camera: Pinhole,
    picture: Photograph,
    image: UInt8[Tensor, "size size 3"],
    count: int,
    radius: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n 3"], UInt8[Tensor, "n 3"]]:
    """What structure from motion would find: some visible surface points, a little off, with the picture's colours."""
    hits = picture.mask.reshape(-1).nonzero()[:, 0]
    hits = hits[torch.randperm(len(hits), generator=generator)[:count]]
    pixels = torch.stack([hits % camera.size + 0.5, hits // camera.size + 0.5], dim=1)
    origins, directions = camera.rays(pixels)
    points = origins + picture.depth.reshape(-1)[hits, None] * directions
    noise = 0.002 * radius * torch.randn(points.shape, generator=generator)
    return points + noise, image.reshape(-1, 3)[hits]


def _transforms(cameras: Sequence[Pinhole], names: list[str], train_count: int, masks: bool) -> dict[str, object]:
    """The content of transforms.json: nerfstudio's border, hence a plain dict."""
    frames = []
    for camera, name in zip(cameras, names, strict=True):
        frame: dict[str, object] = {
            "file_path": f"images/{name}",
            "transform_matrix": camera.world_from_camera.tolist(),
        }
        if masks:
            frame["mask_path"] = f"masks/{name}"
        frames.append(frame)
    paths = [f"images/{name}" for name in names]
    size, focal = cameras[0].size, cameras[0].focal
    lens = {"fl_x": focal, "fl_y": focal, "cx": size / 2, "cy": size / 2, "w": size, "h": size}
    return {
        "camera_model": "OPENCV",
        **lens,
        **{name: 0.0 for name in ("k1", "k2", "p1", "p2")},
        "ply_file_path": "sparse_pc.ply",
        "train_filenames": paths[:train_count],
        "val_filenames": paths[train_count:],
        "test_filenames": paths[train_count:],
        "frames": frames,
    }


def _relative_files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]


def _make_room(folder: Path) -> None:
    """Empty the folder of an earlier capture of ours, and mark it as ours; refuse it if it holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder: name a new or an empty folder for the capture.")
    present = _relative_files(folder) if folder.is_dir() else []
    foreign = [name for name in present if not _OWN_FILES.fullmatch(name)] if _MARKER in present else present
    if foreign:
        raise InputError(
            f"{folder} holds files that are not of a demo capture (such as {sorted(foreign)[0]}): "
            "name a new or an empty folder, so that nothing of yours is overwritten."
        )
    # meta.json goes first: should this be interrupted, nothing half-removed may look complete.
    for name in sorted(present, key=lambda name: name != "meta.json"):
        (folder / name).unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARKER).write_text("This folder was written by neus_ns as a synthetic capture; it may be overwritten.\n")
