"""The connected parts of a whole mesh, and sample points to judge them by."""

from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Components:
    """Faces grouped by the connected part that they belong to; parts are numbered from zero."""

    mesh: trimesh.Trimesh
    of_face: np.ndarray
    """Part of each face, int64 [faces]."""
    areas: np.ndarray
    """Surface area of each part in square unit lengths, float64 [parts]."""


def split_components(mesh: trimesh.Trimesh) -> Components:
    """Parts of the mesh that share no vertex."""
    faces = np.asarray(mesh.faces)
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    links = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(mesh.vertices),) * 2)
    _, of_vertex = connected_components(links, directed=False)
    # Vertices without a face would count as parts of their own, so the labels are made dense over faces.
    _, of_face = np.unique(of_vertex[faces[:, 0]], return_inverse=True)
    return Components(mesh, of_face.astype(np.int64), np.bincount(of_face, weights=mesh.area_faces))


def keep_components(parts: Components, kept: np.ndarray) -> trimesh.Trimesh:
    """The mesh of the kept parts (bool [parts]) alone."""
    faces = np.asarray(parts.mesh.faces)[kept[parts.of_face]]
    used, faces = np.unique(faces, return_inverse=True)
    return trimesh.Trimesh(np.asarray(parts.mesh.vertices)[used], faces.reshape(-1, 3), process=False)


@dataclass(frozen=True)
class Samples:
    """Face centres that stand for their parts; equally many for each part, up to the number of its faces."""

    points: np.ndarray
    """Unit coordinates, float64 [samples, 3]."""
    of_part: np.ndarray
    """Part of each sample, int64 [samples]."""


def sample_components(parts: Components, among: np.ndarray, per_part: int, seed: int = 0) -> Samples:
    """Faces drawn without repetition, from each of the parts in `among` (bool [parts])."""
    faces = np.flatnonzero(among[parts.of_face])
    # A random order sorted stably by part is a random draw within each part; its first few are the sample.
    faces = np.random.default_rng(seed).permutation(faces)
    faces = faces[np.argsort(parts.of_face[faces], kind="stable")]
    labels = parts.of_face[faces]
    start = np.searchsorted(labels, labels)
    faces = faces[np.arange(len(faces)) - start < per_part]
    centres = np.asarray(parts.mesh.vertices)[np.asarray(parts.mesh.faces)[faces]].mean(axis=1)
    return Samples(centres, parts.of_face[faces])
