"""Vertex colours: the trained colour at each vertex, seen from straight in front of the surface."""

import numpy as np
import torch
import trimesh

from neus_ns.errors import InputError
from neus_ns.surface.evaluate import ChunkedField
from neus_ns.surface.progress import ProgressFn, silent
from neus_ns.surface.source import ColourFn

_VERTICES_AT_ONCE = 2**19


def vertex_normals(mesh: trimesh.Trimesh) -> np.ndarray:
    """Outward unit normals [vertices, 3], the area-weighted mean of the faces around each vertex.

    They come from the mesh and not from the field, because after simplification a vertex may lie off the zero level.
    """
    faces = np.asarray(mesh.faces)
    corners = np.asarray(mesh.vertices)[faces]
    twice_area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Units may be tiny, and products of their lengths next to nothing.
    twice_area /= max(float(np.abs(twice_area).max(initial=0.0)), np.finfo(np.float64).tiny)
    total = len(mesh.vertices)
    sums = np.zeros((total, 3))
    for axis in range(3):
        sums[:, axis] = np.bincount(faces.reshape(-1), np.repeat(twice_area[:, axis], 3), minlength=total)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-30)


def vertex_colours(
    mesh: trimesh.Trimesh, colour_fn: ColourFn, device: torch.device, progress: ProgressFn = silent
) -> np.ndarray:
    """RGBA uint8 [vertices, 4] of a unit-frame mesh."""
    field = ChunkedField(colour_fn, device)
    vertices, normals = np.asarray(mesh.vertices), vertex_normals(mesh)
    colours = np.full((len(vertices), 4), 255, np.uint8)
    for start in range(0, len(vertices), _VERTICES_AT_ONCE):
        chunk = slice(start, start + _VERTICES_AT_ONCE)
        rgb = field(vertices[chunk], normals[chunk])
        bad = 1 - np.isfinite(rgb).all(axis=1).mean()
        if bad > 0:
            raise InputError(
                f"The colour is not a number at {bad:.2%} of {len(rgb)} vertices; the training diverged: export an "
                "earlier checkpoint, or leave colours out with --colour False."
            )
        colours[chunk, :3] = np.round(np.clip(rgb, 0, 1) * 255)
        progress("Colouring", min(start + _VERTICES_AT_ONCE, len(vertices)) / len(vertices))
    return colours
