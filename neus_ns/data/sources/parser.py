"""What every reader of ours shares: options, the way to nerfstudio's parser outputs, and the checks of the numbers."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from neus_ns.data.checks_files import picture_sizes
from neus_ns.data.checks_poses import check_pose_matrices
from neus_ns.data.region import Region
from neus_ns.data.sources.folders import reduced_copies
from neus_ns.data.sources.photos import PosedPhotos, parser_from_world
from neus_ns.errors import InputError

# A focal length below this share of the image side would be a field of view above 174 degrees: it is not in pixels.
_LEAST_FOCAL_SHARE = 0.025
# The object's ball lies within this many times the cameras' spread, and is neither larger nor so much smaller than it.
_FARTHEST = 1e4


@dataclass
class PosedPhotosConfig(DataParserConfig):
    """Options of every reader of posed photographs."""

    data: Path = Path()
    """Folder of the capture."""
    downscale_factor: int | None = None
    """Train on photographs this many times smaller: from a folder like images_2 if there is one, else while reading."""
    eval_interval: int = 8
    """Every so many photographs one is kept for evaluation; 0 keeps none."""


class PosedPhotosParser(DataParser):
    """Hands posed photographs to nerfstudio; a reader says how to find them."""

    config: PosedPhotosConfig

    @abstractmethod
    def read(self, data: Path) -> PosedPhotos:
        """The photographs of the capture; raises InputError for numbers that make no cameras."""

    @cached_property
    def photos(self) -> PosedPhotos:
        """What `read` found, with the numbers checked."""
        photos = self.read(self.config.data)
        check_photos(photos, self.config.data)
        return photos

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        factor = self.config.downscale_factor or 1
        interval = self.config.eval_interval
        count = len(self.photos.images)
        # So few photographs are all needed for training.
        held_out = [0 < interval < count and index % interval == 0 for index in range(count)]
        chosen = [index for index, is_held in enumerate(held_out) if is_held != (split == "train")]
        return parser_outputs(self.photos, chosen, factor, self._sizes)

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        return picture_sizes(self.photos.images)


def parser_outputs(
    photos: PosedPhotos, chosen: list[int], factor: int, sizes: list[tuple[int, int]]
) -> DataparserOutputs:
    """The chosen photographs as nerfstudio wants them, `factor` times smaller than their files of these sizes."""
    motion, scale = parser_from_world(photos)
    poses = np.einsum("ij,vjk->vik", motion[:, :3], photos.world_from_camera[:, :3])
    poses[:, :, 3] = scale * (poses[:, :, 3] + motion[:, 3])
    pick = np.array(chosen, dtype=np.int64)

    def per_view(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values[pick].astype(np.float32))[:, None]

    width, height = np.array(sizes, dtype=np.int64).reshape(-1, 2).T
    cameras = Cameras(
        camera_to_worlds=torch.from_numpy(poses[pick].astype(np.float32)),
        fx=per_view(photos.fx),
        fy=per_view(photos.fy),
        cx=per_view(photos.cx),
        cy=per_view(photos.cy),
        width=torch.from_numpy(width[pick])[:, None],
        height=torch.from_numpy(height[pick])[:, None],
        camera_type=CameraType.PERSPECTIVE,
    )
    cameras.rescale_output_resolution(1.0 / factor)
    images, image_reduction = reduced_copies(photos.images, factor)
    metadata: dict[str, Any] = {"image_reduction": image_reduction}
    masks = None
    if photos.masks is not None:
        masks, metadata["mask_reduction"] = reduced_copies(photos.masks, factor)
        masks = [masks[index] for index in chosen]
    if photos.region is not None:
        centre = scale * (motion[:, :3] @ photos.region[0] + motion[:, 3])
        metadata["region"] = Region(torch.from_numpy(centre), scale * photos.region[1], photos.region_source)
    return DataparserOutputs(
        image_filenames=[images[index] for index in chosen],
        cameras=cameras,
        scene_box=SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
        mask_filenames=masks,
        metadata=metadata,
        dataparser_transform=torch.from_numpy(motion.astype(np.float32)),
        dataparser_scale=scale,
    )


def check_photos(photos: PosedPhotos, data: Path) -> None:
    """Raise InputError unless these are at least two sound cameras in a common place."""
    if len(photos.images) < 2:
        raise InputError(
            f"{data} holds {len(photos.images)} photograph{'' if len(photos.images) == 1 else 's'}, but a surface "
            "needs at least two from different places; add more to the capture."
        )
    lenses = np.stack([photos.fx, photos.fy, photos.cx, photos.cy], axis=1)
    for image, lens in zip(photos.images, lenses, strict=True):
        if not np.isfinite(lens).all() or (lens[:2] <= 0).any():
            raise InputError(
                f"{data}: the camera of {image.name} has focal lengths {lens[0]:g}, {lens[1]:g} and centre "
                f"{lens[2]:g}, {lens[3]:g}, but positive, finite numbers of pixels are needed; correct its calibration."
            )
    check_pose_matrices(photos.world_from_camera, [f"the pose of {image.name}" for image in photos.images], data)
    _check_region(photos, data)
    for image, lens, size in zip(photos.images, lenses, picture_sizes(photos.images), strict=True):
        if (lens[:2] < _LEAST_FOCAL_SHARE * np.array(size)).any():
            raise InputError(
                f"{data}: the focal length of {image.name} is {lens[:2].min():g} for a photograph of "
                f"{size[0]}x{size[1]} pixels, which looks like millimetres or a share of the image; correct its "
                "calibration."
            )


def _check_region(photos: PosedPhotos, data: Path) -> None:
    """A ball that is out of all proportion to the cameras' places comes of other units, or of damage."""
    if photos.region is None:
        return
    centres = photos.world_from_camera[:, :3, 3]
    middle = centres.mean(0)
    spread = float(np.linalg.norm(centres - middle, axis=1).max())
    centre, radius = photos.region
    away = float(np.linalg.norm(centre - middle))
    if not (away < _FARTHEST * spread and spread / _FARTHEST < radius < _FARTHEST * spread):
        raise InputError(
            f"{data}: {photos.region_source} has the radius {radius:.3g} and lies {away:.3g} from the cameras' middle, "
            f"but they stand within {spread:.3g} of it; correct it, or remove it to have the region found."
        )
