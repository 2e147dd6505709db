"""Blender captures (NeRF-synthetic) through nerfstudio's parser, checked, and content without evaluation photographs.

transforms_train.json, transforms_val.json, transforms_test.json   train/r_0.png ...   The world is that of the poses.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.blender_dataparser import Blender, BlenderDataParserConfig

from neus_ns.data.checks import read_frames, read_json
from neus_ns.data.checks_files import picture_sizes
from neus_ns.data.checks_poses import check_poses
from neus_ns.data.sources.angle_lens import camera_angle, refuse_more_than_angles, refuse_other_lenses
from neus_ns.errors import InputError

TRAIN_JSON = "transforms_train.json"
_CURE = "write all frames into one transforms.json in nerfstudio's format"
_EVALUATION = ("val", "test")


@dataclass
class BlenderFolderConfig(BlenderDataParserConfig):
    """A Blender capture; nerfstudio's options."""

    _target: type = field(default_factory=lambda: BlenderFolder)


def blender_folder_config(given: BlenderDataParserConfig, data: Path) -> BlenderFolderConfig:
    """The same options for our parser."""
    options = {item.name: getattr(given, item.name) for item in fields(given) if item.name not in ("_target", "data")}
    return BlenderFolderConfig(data=data, **options)


class BlenderFolder(Blender):
    """nerfstudio's Blender parser, which looks at each json before it is used."""

    config: BlenderFolderConfig

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:
        # Many captures have only one of the two sets of evaluation photographs, some have neither.
        wanted = [split] if split == "train" else [split, *(name for name in _EVALUATION if name != split)]
        present = [name for name in wanted if (self.data / f"transforms_{name}.json").is_file()]
        if present:
            _check(self.data, self.data / f"transforms_{present[0]}.json", least=2 if split == "train" else 1)
            outputs = super()._generate_dataparser_outputs(present[0])
            # nerfstudio leaves the focal length in double precision, and rays with it.
            outputs.cameras.fx, outputs.cameras.fy = outputs.cameras.fx.float(), outputs.cameras.fy.float()
            return outputs
        if split == "train":
            raise InputError(f"{self.data} has no {TRAIN_JSON}; put the capture's training poses there.")
        train = self._generate_dataparser_outputs("train")
        return replace(train, image_filenames=[], cameras=train.cameras[:0])


def _check(data: Path, path: Path, least: int) -> None:
    meta: dict[str, Any] = read_json(path)
    camera_angle(meta, path)
    frames = read_frames(meta, path, least)
    check_poses(frames, path)
    # The names as nerfstudio makes them of the json's.
    images = [data / (frame["file_path"].replace("./", "") + ".png") for frame in frames]
    missing = [image for image in images if not image.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]} is missing ({len(missing)} of {len(images)} photographs that {path.name} lists are); put "
            "the files there, as png, or correct the paths, which are written without suffix."
        )
    refuse_more_than_angles(meta, frames, path, _CURE)
    refuse_other_lenses(meta, frames, path, picture_sizes(images), _CURE)
    if any("mask_path" in frame for frame in frames):
        raise InputError(
            f"{path} names masks by `mask_path`, which nerfstudio's Blender parser does not read; {_CURE}, or remove "
            f"it and put the masks into {data / 'masks'}, under the photographs' names."
        )
