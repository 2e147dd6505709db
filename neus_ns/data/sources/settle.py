"""The parser that a run really uses: the chosen one, made safe, or the one that reads what was recognised."""

import json
from dataclasses import replace
from pathlib import Path

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.utils.rich_utils import CONSOLE

from neus_ns.data.checks import check_capture, check_exists
from neus_ns.data.checks_cloud import named_cloud
from neus_ns.data.checks_splits import check_split_options
from neus_ns.data.sources.auto import AutoDataParserConfig
from neus_ns.data.sources.blender import blender_folder_config
from neus_ns.data.sources.colmap import colmap_folder_config
from neus_ns.errors import InputError


def settled(dataparser: DataParserConfig, data: Path, photographs_needed: bool) -> DataParserConfig:
    """The parser to use for a capture, after a look at it that raises InputError for what the parser would choke on.

    Without `photographs_needed` only the poses are looked at, so that a finished run loads where the rest is gone.
    """
    check_exists(data)
    dataparser = _with_whole_factor(dataparser)
    if isinstance(dataparser, AutoDataParserConfig):
        dataparser = dataparser.recognised(data)
    check_split_options(dataparser)
    if isinstance(dataparser, NerfstudioDataParserConfig):
        if photographs_needed:
            check_capture(data, dataparser.downscale_factor, dataparser.eval_mode)
        return _with_present_points(dataparser, data, photographs_needed)
    # nerfstudio's own parsers, when named on the command line.
    if type(dataparser) is ColmapDataParserConfig:
        return colmap_folder_config(dataparser, data)
    if type(dataparser) is BlenderDataParserConfig:
        return blender_folder_config(dataparser, data)
    return dataparser


def _with_whole_factor(dataparser: DataParserConfig) -> DataParserConfig:
    """ns-render hands a float over, which nerfstudio would look for as images_2.0."""
    factor = getattr(dataparser, "downscale_factor", None)
    if factor is None:
        return dataparser
    if factor < 1 or factor != int(factor):
        raise InputError(f"--downscale-factor is {factor:g}: give a whole number, or leave it out for full size.")
    return replace(dataparser, **{"downscale_factor": int(factor)})


def _with_present_points(
    dataparser: NerfstudioDataParserConfig, data: Path, says_absent: bool
) -> NerfstudioDataParserConfig:
    """nerfstudio's own parser with SfM points loaded where the capture names a file of them, and only there.

    nerfstudio's default is not to load them, which suits methods that do not look at them. Asked for points that are
    not there it would prompt on the terminal, rewrite transforms.json, or print a warning about another method.
    """
    json_path = data if data.suffix == ".json" else data / "transforms.json"
    if not json_path.is_file():
        return dataparser
    cloud = named_cloud(json.loads(json_path.read_text(encoding="utf-8")), json_path)
    has_points = cloud is not None and cloud.is_file()
    if cloud is not None and not has_points and says_absent:
        # Paths may hold brackets, which the console would take for its own.
        CONSOLE.log(
            f"{cloud}, which `ply_file_path` of {json_path.name} names, is no file, so no points are read from it; put "
            "it there or correct the name.",
            style="yellow",
            markup=False,
        )
    return replace(dataparser, load_3D_points=has_points)
