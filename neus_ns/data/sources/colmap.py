"""COLMAP models through nerfstudio's parser, kept from prompting, from writing, and from ending in a traceback.

The model may lie in colmap/sparse/0, sparse/0, sparse or the folder itself, the photographs in images/ and a few other
usual places. Its files are read by our own reader, which checks them. The world is COLMAP's.
"""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.colmap_dataparser import MAX_AUTO_RESOLUTION, ColmapDataParser, ColmapDataParserConfig
from nerfstudio.data.utils.colmap_parsing_utils import Camera
from nerfstudio.process_data.colmap_utils import parse_colmap_camera_params

from neus_ns.data.checks_files import picture_sizes
from neus_ns.data.checks_poses import check_pose_matrices
from neus_ns.data.checks_splits import check_split_names
from neus_ns.data.colmap.model import ColmapModel
from neus_ns.data.colmap.read import find_model, part_of_model, read_model
from neus_ns.data.sources.folders import reduced_copies
from neus_ns.data.sources.photos import opengl_pose
from neus_ns.data.sources.split_lists import listed_indices
from neus_ns.errors import InputError

_IMAGE_FOLDERS = ("images", "image", "input", "rgb", ".", "..", "../images", "../../images", "../../../images")
# From COLMAP's guess of gravity, -y, to nerfstudio's up, +z; nerfstudio's parser applies the same.
_NERFSTUDIO_FROM_COLMAP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@dataclass
class ColmapFolderConfig(ColmapDataParserConfig):
    """A COLMAP model and its photographs; nerfstudio's options, but nothing is asked and nothing written."""

    _target: type = field(default_factory=lambda: ColmapFolder)


def model_folder(data: Path) -> Path | None:
    """Where below the capture its model lies, relative to it; one that lacks files will be told so when it is read."""
    found = find_model([data]) or part_of_model(data) if data.is_dir() else None
    return None if found is None else found.relative_to(data)


def colmap_folder_config(given: ColmapDataParserConfig, data: Path) -> ColmapFolderConfig:
    """The same options for our parser, with the model's place found if it is not where the options say."""
    options = {item.name: getattr(given, item.name) for item in fields(given) if item.name not in ("_target", "data")}
    config = ColmapFolderConfig(data=data, **options)
    named, found = data / config.colmap_path, model_folder(data)
    if named.is_dir() and (found is None or any(named.iterdir())):
        return config
    if found is None:
        raise InputError(
            f"{data / config.colmap_path} does not exist, so there is no COLMAP model; name its folder by "
            "--colmap-path, or let COLMAP export it again."
        )
    return replace(config, colmap_path=found)


class ColmapFolder(ColmapDataParser):
    """nerfstudio's COLMAP parser where it would ask, write, or fail without a sentence."""

    config: ColmapFolderConfig
    # nerfstudio sets this to 1 where photographs may be absent, for the parsers that have it.
    downscale_factor: int | None = None
    _image_reduction: int = 1
    _mask_reduction: int = 1
    _k4_of_fisheye: float = 0.0

    @cached_property
    def model(self) -> ColmapModel:
        """The model, all checked."""
        return read_model(self.config.data / self.config.colmap_path)

    def _get_all_images_and_cameras(self, recon_dir: Path) -> dict[str, Any]:
        """What nerfstudio's reader of that name returns."""
        model = self.model
        names = model.images.names
        if len(names) < 2:
            raise InputError(
                f"{recon_dir} has {len(names)} registered photograph, but a surface needs at least two from different "
                "places; let COLMAP match more of them."
            )
        lenses = [_lens(model, camera, recon_dir) for camera in range(len(model.cameras.ids))]
        used = sorted({lenses[camera]["camera_model"] for camera in model.image_camera})
        if len(used) > 1:
            raise InputError(
                f"{recon_dir} mixes cameras of the kinds {' and '.join(used)}, of which nerfstudio takes one at a "
                "time; let COLMAP undistort the photographs."
            )
        self._k4_of_fisheye = _common_k4([lenses[camera] for camera in model.image_camera], recon_dir)
        poses = np.stack([opengl_pose(pose[:, :3], -pose[:, :3].T @ pose[:, 3]) for pose in model.cv_from_world])
        check_pose_matrices(poses, [f"the pose of {name}" for name in names], recon_dir)
        out: dict[str, Any] = {"camera_model": used[0]}
        if self.config.assume_colmap_world_coordinate_convention:
            poses = _NERFSTUDIO_FROM_COLMAP @ poses
            out["applied_transform"] = _NERFSTUDIO_FROM_COLMAP[:3].tolist()
        folder = self.config.data / self._find_images(names[0])
        # In COLMAP's order of images, as nerfstudio has it.
        out["frames"] = [
            {"file_path": (folder / names[view]).as_posix(), "transform_matrix": poses[view]}
            | lenses[model.image_camera[view]]
            | self._mask_path(names[view])
            for view in np.argsort(model.images.ids)
        ]
        return out

    def _find_images(self, name: str) -> Path:
        """The folder of photographs, relative to the capture; where none has any, the one that the options name."""
        places = [self.config.images_path, *map(Path, _IMAGE_FOLDERS)]
        found = next((place for place in places if (self.config.data / place / name).is_file()), places[0])
        if found != self.config.images_path:
            self.config = replace(self.config, images_path=found)
        return found

    def _mask_path(self, name: str) -> dict[str, str]:
        """The mask under the photograph's name with .png in place of its suffix, or, as COLMAP has it, after it."""
        if self.config.masks_path is None:
            return {}
        mask = (self.config.data / self.config.masks_path / name).with_suffix(".png")
        appended = mask.with_name(f"{Path(name).name}.png")
        return {"mask_path": (appended if appended.is_file() else mask).as_posix()}

    def _get_image_indices(self, image_filenames: list[Path], split: str) -> np.ndarray:
        listed = listed_indices(self.config.data, self.config.data / self.config.images_path, image_filenames, split)
        if listed is not None:
            return listed
        if self.config.eval_mode == "filename":
            check_split_names(image_filenames, self.config.data)
        return super()._get_image_indices(image_filenames, split)

    def _setup_downscale_factor(
        self, image_filenames: list[Path], mask_filenames: list[Path], depth_filenames: list[Path]
    ) -> tuple[list[Path], list[Path], list[Path], int]:
        """Reduced copies where there are any; a factor that has none is left to whoever reads the pictures."""
        factor = self.downscale_factor or self.config.downscale_factor
        if factor is None:
            missing = [path for path in image_filenames if not path.is_file()]
            if missing:
                raise InputError(
                    f"{missing[0]} is missing ({len(missing)} of {len(image_filenames)} photographs of the COLMAP "
                    "model are); put the files there, or name their folder by --images-path."
                )
            factor, largest = 1, max(picture_sizes(image_filenames[:1])[0])
            while largest / factor > MAX_AUTO_RESOLUTION and self._reduced(image_filenames, 2 * factor)[1] == 1:
                factor *= 2
        images, self._image_reduction = self._reduced(image_filenames, factor)
        if self._image_reduction > 1:
            # What is reduced while it is read has no pixel that is only partly covered, however copies are made.
            self.config = replace(self.config, downscale_rounding_mode="floor")
        masks, self._mask_reduction = reduced_copies(mask_filenames, factor)
        self._downscale_factor = factor
        return images, masks, depth_filenames, factor

    def _reduced(self, paths: list[Path], factor: int) -> tuple[list[Path], int]:
        """As `reduced_copies`, with the photographs' subfolders below the reduced folder."""
        images = self.config.data / self.config.images_path
        copies = [images.with_name(f"{images.name}_{factor}") / path.relative_to(images) for path in paths]
        if factor > 1 and images.name and all(copy.is_file() for copy in copies):
            return copies, 1
        return paths, factor

    def _load_3D_points(self, colmap_path: Path, transform_matrix: torch.Tensor, scale_factor: float) -> dict[str, Any]:
        points = self.model.points
        if len(points.ids) == 0:
            return {}
        moved = torch.from_numpy(points.xyz).float() @ transform_matrix[:, :3].T + transform_matrix[:, 3]
        # nerfstudio's pipeline wants colours beside points, which nothing here looks at.
        colours = torch.full((len(moved), 3), 128, dtype=torch.uint8)
        return {"points3D_xyz": moved * scale_factor, "points3D_rgb": colours}

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        outputs = super()._generate_dataparser_outputs(split, **kwargs)
        if self._k4_of_fisheye != 0:
            assert outputs.cameras.distortion_params is not None
            outputs.cameras.distortion_params[:, 3] = self._k4_of_fisheye
        reductions = {"image_reduction": self._image_reduction, "mask_reduction": self._mask_reduction}
        return replace(outputs, metadata={**outputs.metadata, **reductions})


def _common_k4(lenses: list[dict[str, Any]], folder: Path) -> float:
    """Take k4 out of the lenses: nerfstudio's reader refuses any, though it means the same by a fisheye's as COLMAP."""
    found = {lens.get("k4", 0.0) for lens in lenses}
    if len(found) > 1:
        raise InputError(
            f"{folder} has fisheye lenses of different k4, of which nerfstudio takes one; let COLMAP undistort the "
            "photographs."
        )
    for lens in lenses:
        lens.pop("k4", None)
    return found.pop()


def _lens(model: ColmapModel, index: int, folder: Path) -> dict[str, Any]:
    """Intrinsics and distortion of one camera in nerfstudio's words."""
    cameras = model.cameras
    size = int(cameras.widths[index]), int(cameras.heights[index])
    camera = Camera(int(cameras.ids[index]), cameras.models[index], *size, cameras.params[index])
    try:
        lens = parse_colmap_camera_params(camera)
    except NotImplementedError as error:
        raise InputError(
            f"{folder}: nerfstudio cannot express the {camera.model} lens of camera {camera.id}; let COLMAP "
            "undistort the photographs."
        ) from error
    if any(lens.get(key, 0.0) for key in ("k4", "k5", "k6")) and camera.model != "OPENCV_FISHEYE":
        raise InputError(
            f"{folder}: nerfstudio gives another meaning to k4 of the {camera.model} lens of camera {camera.id}; let "
            "COLMAP undistort the photographs."
        )
    return lens
