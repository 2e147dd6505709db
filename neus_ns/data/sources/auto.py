"""Which format a folder is in, told by what only that format has, the most certain first."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.utils.rich_utils import CONSOLE

from neus_ns.data.sources import blended_mvs, colmap, dtu, middlebury
from neus_ns.data.sources.angle_json import OmniObjectDataParserConfig, json_of
from neus_ns.data.sources.blender import TRAIN_JSON, blender_folder_config
from neus_ns.data.sources.folders import first_folder, says_what_it_holds
from neus_ns.errors import InputError

_KNOWN = (
    "transforms.json (nerfstudio, Polycam, Record3D, OmniObject3D), transforms_train.json (Blender), image/ with "
    "cameras_sphere.npz or cameras.npz (DTU, IDR, NeuS), blended_images/ with cams/ (BlendedMVS), *_par.txt "
    "(Middlebury) and sparse/0 or colmap/sparse/0 (COLMAP)"
)


@dataclass
class AutoDataParserConfig(DataParserConfig):
    """Any capture: its format is recognised from what the folder holds."""

    data: Path = Path()
    """Folder of the capture, or its transforms.json."""
    downscale_factor: int | None = None
    """Train on photographs this many times smaller. If not set, the format's own rule holds."""

    def setup(self, **kwargs: Any) -> DataParser:
        """The parser of the format that is recognised."""
        return self.recognised(self.data).setup(**kwargs)

    def recognised(self, data: Path) -> DataParserConfig:
        """The options of the parser that reads this folder; says which it is. Raises InputError if none does."""
        name, config = recognise(data, self.downscale_factor)
        CONSOLE.log(f"format recognised: {name}")
        return config


def recognise(data: Path, downscale_factor: int | None) -> tuple[str, DataParserConfig]:
    """The name of the format of a capture, and the options of the parser that reads it."""
    if not data.exists():
        raise InputError(f"{data} does not exist; check the path after --data.")
    for name, is_it, config, _ in _FORMATS:
        if is_it(data):
            return name, config(data, downscale_factor)
    if data.is_file():
        raise InputError(
            f"{data} is a file, but the folder of a capture is needed; turn a video or photographs into one by "
            "`ns-process-data`."
        )
    raise InputError(
        f"{data} {says_what_it_holds(data)}, which is no capture in a format known here, that is {_KNOWN}; make one by "
        "`ns-process-data images`, or name the parser at the end of the command."
    )


def format_name(config: DataParserConfig) -> str:
    """The name of the format that these options read; the options' own where the format is not one of ours."""
    found = next((name for name, _, _, kind in _FORMATS if isinstance(config, kind)), None)
    return found or type(config).__name__.removesuffix("Config").removesuffix("DataParser")


def _is_angle_json(data: Path) -> bool:
    path = json_of(data)
    if not path.is_file():
        return False
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Whoever reads the json as nerfstudio's says what is wrong with it.
        return False
    if not isinstance(meta, dict):
        return False
    frames = meta.get("frames")
    frames = [frame for frame in frames if isinstance(frame, dict)] if isinstance(frames, list) else []
    says = set().union(meta, *frames)
    return "camera_angle_x" in says and "fl_x" not in says


def _nerfstudio(data: Path, downscale_factor: int | None) -> DataParserConfig:
    return NerfstudioDataParserConfig(data=data, downscale_factor=downscale_factor, load_3D_points=True)


def _blender(data: Path, downscale_factor: int | None) -> DataParserConfig:
    if downscale_factor not in (None, 1):
        raise InputError(
            f"{data} is a Blender capture, whose photographs nerfstudio reads at full size only; use "
            f"--pipeline.datamanager.camera-res-scale-factor {1 / downscale_factor:g} instead of --downscale-factor."
        )
    # Cut-outs keep their alpha: a white background would be learnt as the colour of the outline.
    return blender_folder_config(BlenderDataParserConfig(alpha_color=None), data)


def _colmap(data: Path, downscale_factor: int | None) -> DataParserConfig:
    return colmap.colmap_folder_config(ColmapDataParserConfig(downscale_factor=downscale_factor), data)


_Format = tuple[str, Callable[[Path], bool], Callable[[Path, int | None], DataParserConfig], type[DataParserConfig]]
_FORMATS: tuple[_Format, ...] = (
    (
        "OmniObject3D or Blender script (transforms.json with camera_angle_x)",
        _is_angle_json,
        lambda data, factor: OmniObjectDataParserConfig(data=data, downscale_factor=factor),
        OmniObjectDataParserConfig,
    ),
    (
        "nerfstudio (transforms.json)",
        lambda data: json_of(data).is_file(),
        _nerfstudio,
        NerfstudioDataParserConfig,
    ),
    ("Blender (transforms_train.json)", lambda data: (data / TRAIN_JSON).is_file(), _blender, BlenderDataParserConfig),
    (
        "DTU, IDR or NeuS (image/ and the cameras' npz)",
        lambda data: dtu.camera_file(data) is not None and first_folder(data, dtu.IMAGE_FOLDERS) is not None,
        lambda data, factor: dtu.DTUDataParserConfig(data=data, downscale_factor=factor),
        dtu.DTUDataParserConfig,
    ),
    (
        "BlendedMVS (blended_images/ and cams/)",
        lambda data: bool(blended_mvs.camera_files(data)) and (data / blended_mvs.IMAGE_FOLDER).is_dir(),
        lambda data, factor: blended_mvs.BlendedMVSDataParserConfig(data=data, downscale_factor=factor),
        blended_mvs.BlendedMVSDataParserConfig,
    ),
    (
        "Middlebury (*_par.txt)",
        lambda data: bool(middlebury.parameter_files(data)),
        lambda data, factor: middlebury.MiddleburyDataParserConfig(data=data, downscale_factor=factor),
        middlebury.MiddleburyDataParserConfig,
    ),
    (
        "COLMAP (cameras and images, .bin or .txt)",
        lambda data: colmap.model_folder(data) is not None,
        _colmap,
        ColmapDataParserConfig,
    ),
)
