"""The layout of IDR and NeuS, in which DTU, BlendedMVS and many private captures circulate.

image/000000.png ...   mask/000.png ... (optional)   cameras_sphere.npz or cameras.npz

The npz has world_mat_i, the 4x4 projection of photograph i (in the order of their names) from the world, in
millimetres for DTU, and scale_mat_i, which takes the unit ball to the ball in the world that holds the object. Pixel
centres are integers. The world here is that of world_mat, so that meshes come out in its unit.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from neus_ns.data.sources.folders import first_folder, paired_by_order, pictures_in
from neus_ns.data.sources.npz import read_matrices
from neus_ns.data.sources.parser import PosedPhotosConfig, PosedPhotosParser
from neus_ns.data.sources.photos import PosedPhotos, opengl_pose
from neus_ns.data.sources.projection import split_projection
from neus_ns.data.sources.text import require_no_skew
from neus_ns.errors import InputError

IMAGE_FOLDERS = ("image", "images")
MASK_FOLDERS = ("mask", "masks")
_CAMERA_FILES = ("cameras_sphere.npz", "cameras.npz")


@dataclass
class DTUDataParserConfig(PosedPhotosConfig):
    """DTU scans, and any capture in the layout of IDR and NeuS (image/, mask/, cameras_sphere.npz)."""

    _target: type = field(default_factory=lambda: DTUDataParser)


def camera_file(data: Path) -> Path | None:
    """The npz of a capture in this layout, or None."""
    return next((data / name for name in _CAMERA_FILES if (data / name).is_file()), None)


class DTUDataParser(PosedPhotosParser):
    """Reads the layout of IDR and NeuS."""

    def read(self, data: Path) -> PosedPhotos:
        npz = camera_file(data)
        if npz is None:
            raise InputError(f"{data} has no {' or '.join(_CAMERA_FILES)}; put the capture's cameras there.")
        folder = first_folder(data, IMAGE_FOLDERS)
        if folder is None:
            raise InputError(f"{data} has no photographs in {' or '.join(IMAGE_FOLDERS)}/; put them there.")
        images = pictures_in(folder)
        matrices = read_matrices(npz)
        count = sum(name.startswith("world_mat_") and not name.startswith("world_mat_inv_") for name in matrices)
        if count != len(images):
            raise InputError(
                f"{npz} has {count} cameras (world_mat_0 and so on) for {len(images)} photographs in {folder.name}/, "
                "which are paired in order; remove or add what is too many or missing."
            )
        cameras = [_camera(matrices, index, npz) for index in range(count)]
        lenses = np.stack([lens for lens, _ in cameras])
        region = _region(matrices, npz)
        mask_folder = first_folder(data, MASK_FOLDERS)
        masks = None
        if mask_folder is not None:
            masks = paired_by_order(pictures_in(mask_folder), images, mask_folder)
        return PosedPhotos(
            images=images,
            world_from_camera=np.stack([pose for _, pose in cameras]),
            fx=lenses[:, 0, 0],
            fy=lenses[:, 1, 1],
            # Here pixel 0 is centred on 0, in nerfstudio it covers [0, 1).
            cx=lenses[:, 0, 2] + 0.5,
            cy=lenses[:, 1, 2] + 0.5,
            masks=masks,
            region=region,
            region_source=f"the ball that scale_mat_0 of {npz.name} gives",
        )


def _matrix(matrices: dict[str, Float[ndarray, "_rows _columns"]], name: str, npz: Path) -> Float[ndarray, "3 4"]:
    matrix = matrices.get(name)
    if matrix is None or matrix.shape not in ((4, 4), (3, 4)):
        raise InputError(f"{npz} has no 4x4 matrix `{name}`; export the cameras again.")
    if not np.isfinite(matrix).all():
        raise InputError(f"{npz}: `{name}` holds NaN or infinite numbers; export the cameras again.")
    return matrix[:3]


def _camera(
    matrices: dict[str, Float[ndarray, "_rows _columns"]], index: int, npz: Path
) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "4 4"]]:
    """Intrinsics and OpenGL pose of one photograph."""
    name = f"world_mat_{index}"
    projection = _matrix(matrices, name, npz)
    # Scaled to rows of comparable length, as a determinant near zero is to be told from one in small units.
    rows = projection[:, :3] / np.maximum(np.linalg.norm(projection[:, :3], axis=1, keepdims=True), 1e-300)
    determinant = np.linalg.det(rows)
    if abs(determinant) < 1e-9:
        raise InputError(f"{npz}: `{name}` is singular, so it projects nothing (zero focal length?); correct it.")
    if determinant < 0:
        raise InputError(
            f"{npz}: `{name}` mirrors the world or looks backwards (its determinant is negative); write K [R | t] with "
            "OpenCV axes (x right, y down, z forward) there."
        )
    lens, rotation, centre = split_projection(projection)
    return require_no_skew(lens, f"`{name}`", npz), opengl_pose(rotation, centre)


def _region(
    matrices: dict[str, Float[ndarray, "_rows _columns"]], npz: Path
) -> tuple[Float[ndarray, "3"], float] | None:
    """The ball in the world that scale_mat_0 makes of the unit ball."""
    if "scale_mat_0" not in matrices:
        return None
    matrix = _matrix(matrices, "scale_mat_0", npz)
    axes = matrix[:, :3]
    radius = float(np.cbrt(abs(np.linalg.det(axes))))
    if radius == 0 or np.abs(axes @ axes.T / radius**2 - np.eye(3)).max() > 1e-3:
        raise InputError(
            f"{npz}: `scale_mat_0` is no scaling with the same factor along all axes, so it gives no ball around the "
            "object; correct or remove it."
        )
    return matrix[:, 3], radius
