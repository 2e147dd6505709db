"""Reads a region of interest from a file of the user's: a mesh, a box, a ball, or the scene frame of another run."""

import json
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float
from numpy import ndarray

from neus_ns.errors import InputError

MESH_SUFFIXES = (".ply", ".obj", ".glb")
# A mesh is the object itself, and the surface to be found may lie a little further out.
_MESH_MARGIN = 1.05
_CONTENTS = "`low` and `high` (corners of a box), `centre` and `radius` (a ball) or `world_from_unit` (a run's frame)"

Ball = tuple[Float[ndarray, "3"], float]
Box = tuple[Float[ndarray, "3"], Float[ndarray, "3"]]


def read_region_file(path: Path) -> Ball | Box:
    """A ball (centre, radius) or a box (low, high) in world units; numbers are not yet checked to make sense."""
    if not path.is_file():
        raise InputError(f"{path}, which `region.file` names, is no file; correct the path.")
    if path.suffix.lower() in MESH_SUFFIXES:
        return _around_mesh(path)
    if path.suffix.lower() == ".json":
        return _from_json(path)
    raise InputError(
        f"{path}, which `region.file` names, is no mesh ({', '.join(MESH_SUFFIXES)}) and no .json; give one of these."
    )


def _around_mesh(path: Path) -> Ball:
    vertices = _vertices(path)
    if len(vertices) == 0:
        raise InputError(f"{path} has no finite vertices, so there is no region around them; give another file.")
    centre = (vertices.min(0) + vertices.max(0)) / 2
    return centre, _MESH_MARGIN * float(np.linalg.norm(vertices - centre, axis=1).max())


def _vertices(path: Path) -> Float[ndarray, "vertices 3"]:
    try:
        loaded = trimesh.load(path, process=False)
        # Nodes of a scene place their geometries; a file of one mesh or of bare points is a scene of one node.
        scene = loaded if isinstance(loaded, trimesh.Scene) else trimesh.Scene(loaded)
        placed = [(scene.geometry[scene.graph[node][1]], scene.graph[node][0]) for node in scene.graph.nodes_geometry]
        parts = [trimesh.transform_points(np.asarray(part.vertices), matrix) for part, matrix in placed]
    # What trimesh raises on damaged files is not documented to be of any one kind.
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(f"{path} cannot be read as a mesh ({reason}); export it again.") from error
    vertices = np.concatenate([np.zeros((0, 3)), *parts]).astype(np.float64)
    return vertices[np.isfinite(vertices).all(1)]


def _from_json(path: Path) -> Ball | Box:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON; correct or write it again.") from error
    if isinstance(content, dict):
        if "low" in content and "high" in content:
            return _numbers(content, "low", (3,), path), _numbers(content, "high", (3,), path)
        if "centre" in content and "radius" in content:
            return _numbers(content, "centre", (3,), path), float(_numbers(content, "radius", (), path))
        if "world_from_unit" in content:
            matrix = _numbers(content, "world_from_unit", (4, 4), path)
            return matrix[:3, 3], float(np.cbrt(abs(np.linalg.det(matrix[:3, :3]))))
    raise InputError(f"{path} describes no region; write an object with {_CONTENTS} there.")


def _numbers(content: dict, key: str, shape: tuple[int, ...], path: Path) -> ndarray:
    try:
        numbers = np.array(content[key], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.full((), np.nan)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        kind = "a finite number" if shape == () else f"{'x'.join(map(str, shape))} finite numbers"
        raise InputError(f"{path}: `{key}` is not {kind}; correct it.")
    return numbers
