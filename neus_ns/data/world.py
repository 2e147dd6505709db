"""The way back from nerfstudio's parser frame to the coordinates in which transforms.json gives its poses."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

# What nerfstudio assumes for folders made by its early versions, which did not write down what they had applied.
_LEGACY_APPLIED_TRANSFORM = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]


def world_from_parser(
    dataparser_transform: Float[Tensor, "3 4"], dataparser_scale: float, data_path: Path | None
) -> Float[Tensor, "4 4"]:
    """The similarity, float64, that undoes what nerfstudio's dataparser did to the poses.

    The parser computes x_parser = scale * T x for the poses x in transforms.json. What it reports is T A and
    scale * applied_scale instead, where A (`applied_transform`) and `applied_scale` say how ns-process-data had already
    moved the poses before it wrote them. A and applied_scale are taken out again, so that world is what the json says.
    `data_path` is the folder or json that nerfstudio's own dataparser read; for other dataparsers it is None, and their
    transform is undone as reported.
    """
    reported = _as_4x4(dataparser_transform.double().cpu())
    applied, applied_scale = applied_to_capture(data_path)
    parser_from_world = reported @ torch.linalg.inv(applied)
    parser_from_world[:3] *= dataparser_scale / applied_scale
    return torch.linalg.inv(parser_from_world)


def _as_4x4(matrix: Float[Tensor, "3 4"]) -> Float[Tensor, "4 4"]:
    return torch.cat([matrix, matrix.new_tensor([[0, 0, 0, 1]])])


def applied_to_capture(data_path: Path | None) -> tuple[Float[Tensor, "4 4"], float]:
    """A and applied_scale exactly as nerfstudio's parser takes them, in its precision for A."""
    identity = torch.eye(4, dtype=torch.float64)
    if data_path is None:
        return identity, 1.0
    json_path = data_path if data_path.suffix == ".json" else data_path / "transforms.json"
    if not json_path.is_file():
        return identity, 1.0
    meta = json.loads(json_path.read_text(encoding="utf-8"))
    applied_scale = float(meta.get("applied_scale", 1.0))
    rows = meta.get("applied_transform")
    # The parser looks for the COLMAP model below `data_path` itself, so never when that is the json.
    if rows is None and (data_path / "colmap/sparse/0").exists():
        rows = _LEGACY_APPLIED_TRANSFORM
    if rows is None:
        return identity, applied_scale
    return _as_4x4(torch.tensor(rows, dtype=torch.float32).double()), applied_scale
