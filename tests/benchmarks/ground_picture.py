"""The README's picture of an object without masks: photographs, what their pixels show, and the mesh.

    python -m tests.benchmarks.ground_picture SCENE MESH PICTURE [--photographs 0 30]

SCENE is a nerfstudio capture whose masks are not looked at, MESH what was exported of it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from neus_ns.cli.bench.run import METHODS
from neus_ns.data.ground.labels import COVERED, GROUND, OBJECT
from neus_ns.evaluation.camera import cameras_by_photo
from neus_ns.evaluation.shading import shaded
from neus_ns.models.pipeline import surface_pipeline
from tests.benchmarks.quality import Length, prepared, without_masks

_COLOURS = {GROUND: (70, 130, 180), OBJECT: (240, 140, 50), COVERED: (240, 140, 50)}


def tinted(photo: UInt8[Tensor, "h w 3"], labels: UInt8[Tensor, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph with the ground in blue and the object in orange; what nobody knows stays as it is."""
    picture = photo.numpy().astype(np.float32)
    for label, colour in _COLOURS.items():
        where = labels.numpy() == label
        picture[where] = 0.35 * picture[where] + 0.65 * np.array(colour, dtype=np.float32)
    return picture.round().astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("scene", "mesh", "picture"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--photographs", type=int, nargs="+", default=[0, 30])
    options = parser.parse_args()
    mesh = trimesh.load(options.mesh, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    cameras = cameras_by_photo(options.scene / "transforms.json")
    with tempfile.TemporaryDirectory() as name:
        config = METHODS["neuralangelo-mask-sfm"]()
        trainer = prepared(config, without_masks(options.scene, Path(name)), Length(1, "steps"), 0, Path(name))
        manager = surface_pipeline(trainer.pipeline).datamanager
        if manager.ground_labels is None:
            raise SystemExit(f"{options.scene} has no ground that photographs agree about.")
        rows = []
        for view in options.photographs:
            photo, _ = manager.train_store.photo_and_foreground(view)
            start = int(manager.train_store.offset[view])
            labels = manager.ground_labels[start : start + photo.shape[0] * photo.shape[1]].view(photo.shape[:2])
            file = manager.train_dataset.image_filenames[view].name
            camera = next(camera for photo_name, camera in cameras.items() if Path(photo_name).name == file)
            rows.append(np.concatenate([photo.numpy(), tinted(photo, labels), shaded(mesh, camera)], 1))
    Image.fromarray(np.concatenate(rows, 0)).save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
