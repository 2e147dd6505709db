"""Meshes and clouds as PLY files."""

from pathlib import Path

import trimesh


def write_ply(file: Path, geometry: trimesh.Trimesh | trimesh.PointCloud) -> None:
    """Write a mesh or a cloud, with its colours if it has any."""
    content = geometry.export(file_type="ply")
    assert isinstance(content, bytes)
    file.write_bytes(content)
