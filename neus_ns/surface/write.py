"""Writes a unit-frame mesh in the user's world frame and units, with a small JSON file that tells how it came there."""

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.visual import ColorVisuals

from neus_ns.data.frame import SceneFrame
from neus_ns.errors import InputError
from neus_ns.places import require_file_can_be_written
from neus_ns.surface.glb import glb

MESH_SUFFIXES = (".ply", ".obj", ".glb")


def check_mesh_path(path: Path) -> None:
    """Raise before any work is done when the file could not be written in the end."""
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(
            f"{path}: a mesh is written as one of {', '.join(MESH_SUFFIXES)}; choose one of these suffixes."
        )
    require_file_can_be_written(path)


def frame_path_of(mesh_path: Path) -> Path:
    """Where the facts about a mesh file lie: mesh.ply has mesh.frame.json beside it."""
    return mesh_path.with_suffix(".frame.json")


def to_world(mesh_unit: trimesh.Trimesh, frame: SceneFrame) -> trimesh.Trimesh:
    """The mesh in the user's world frame; a frame that mirrors turns the faces too, so that they still point out."""
    matrix = frame.world_from_unit.double().cpu().numpy()
    vertices = np.asarray(mesh_unit.vertices) @ matrix[:3, :3].T + matrix[:3, 3]
    faces = np.asarray(mesh_unit.faces)
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]
    return trimesh.Trimesh(vertices, faces, process=False)


def write_mesh(
    mesh_unit: trimesh.Trimesh, colours: np.ndarray | None, frame: SceneFrame, path: Path, facts: dict[str, Any]
) -> trimesh.Trimesh:
    """Write the mesh and its frame.json, each whole or not at all; returns the mesh in the world frame.

    `colours` is RGBA uint8 [vertices, 4]; `facts` are more entries for the JSON file.
    """
    check_mesh_path(path)
    mesh = to_world(mesh_unit, frame)
    if colours is not None:
        mesh.visual = ColorVisuals(mesh, vertex_colors=colours)
    _warn_of_rounding(mesh, path)
    kind = path.suffix.lower()[1:]
    if kind == "glb":
        exported = glb(mesh, colours)
    elif kind == "obj":
        exported = mesh.export(file_type=kind, digits=_decimals(mesh))
    else:
        exported = mesh.export(file_type=kind)
    assert isinstance(exported, bytes | str)
    facts = {
        "world_from_unit": frame.world_from_unit.tolist(),
        "world_units_per_unit": frame.world_units_per_unit,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        **facts,
    }
    _write_whole(path, exported.encode() if isinstance(exported, str) else exported)
    _write_whole(frame_path_of(path), json.dumps(facts, indent=2).encode())
    return mesh


def _decimals(mesh: trimesh.Trimesh) -> int:
    """Decimals of an .obj by which a thousandth of an edge is told, whatever the units are."""
    edge = float(np.median(mesh.edges_unique_length))
    return max(8, math.ceil(3 - math.log10(edge))) if edge > 0 else 8


def _warn_of_rounding(mesh: trimesh.Trimesh, path: Path) -> None:
    """Far from the origin, as in survey coordinates, PLY and GLB's float32 is coarser than the mesh itself."""
    if path.suffix.lower() == ".obj":
        return
    step = float(np.spacing(np.float32(np.abs(mesh.bounds).max())))
    edge = float(np.median(mesh.edges_unique_length))
    if step > 0.05 * edge:
        warnings.warn(
            f"{path}: the mesh lies so far from the world's origin that {path.suffix} rounds vertices to {step:.2g} "
            f"units, beside edges of {edge:.2g}; write .obj, which keeps all digits, or move the origin of the poses.",
            stacklevel=3,
        )


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename, so that a kill in between leaves the old file or the new one."""
    temporary = _beside(path)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
