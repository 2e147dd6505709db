"""Fewer triangles for the same shape: quadric edge collapse."""

import numpy as np
import trimesh

from neus_ns.errors import InputError


def check_target(target_faces: int) -> None:
    """Raise before any work is done for what no mesh can be simplified to."""
    if target_faces < 4:
        raise InputError(f"The target is {target_faces} faces, but the simplest closed mesh has 4; ask for more.")


def simplify_mesh(mesh: trimesh.Trimesh, target_faces: int) -> trimesh.Trimesh:
    """The mesh with at most about `target_faces` faces, its holes and parts kept; colours are not carried over."""
    check_target(target_faces)
    if len(mesh.faces) <= target_faces:
        return mesh
    # Imported here because it loads a large library that only this option needs.
    import pymeshlab

    # pymeshlab adds its names when it is imported, so that no type checker finds them.
    meshes = pymeshlab.MeshSet()  # type: ignore
    mesh_in = pymeshlab.Mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int32))  # type: ignore
    meshes.add_mesh(mesh_in)
    meshes.meshing_decimation_quadric_edge_collapse(
        targetfacenum=target_faces, preservetopology=True, preservenormal=True, preserveboundary=True
    )
    result = meshes.current_mesh()
    return trimesh.Trimesh(result.vertex_matrix(), result.face_matrix(), process=False)
