"""What a camera sees of a mesh: depth, normals and colours per pixel, by ray casting on CPU without a display."""

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from trimesh.visual.color import ColorVisuals

from neus_ns.errors import InputError
from neus_ns.evaluation.camera import Camera
from neus_ns.evaluation.raycast import RayCaster

# Faces that meet at less than this share a smooth normal; sharper edges stay sharp.
CREASE_DEGREES = 50.0
# Faces per step of the normal smoothing, which holds about eighteen neighbours a face at a time.
FACES_PER_STEP = 100_000


@dataclass(frozen=True)
class Renderable:
    """A mesh made ready for many pictures. Positions of the ray caster are (world - centre) / size."""

    caster: RayCaster
    centre_world: Float[np.ndarray, "3"]
    size_world: float
    face_normals: Float[np.ndarray, "faces 3"]
    corner_normals: Float[np.ndarray, "faces 3 3"]
    corner_colours: Float[np.ndarray, "faces 3 3"] | None


@dataclass(frozen=True)
class Raster:
    """One picture's worth of surface. Pixels without a hit hold inf depth and zeros.

    Normals are of length 1, in world axes, and point out of the mesh. `normals` is smooth across soft edges,
    `flat_normals` is that of the face. Depth is along the optical axis, in world units.
    """

    hit: Bool[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]
    flat_normals: Float[np.ndarray, "h w 3"]
    colours: Float[np.ndarray, "h w 3"] | None


def renderable(mesh: trimesh.Trimesh) -> Renderable:
    """Prepare a mesh in world units: build its ray caster and its normals."""
    if len(mesh.faces) == 0:
        raise InputError("The mesh has no faces, so there is nothing to draw; check that the export found a surface.")
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    low, high = vertices.min(0), vertices.max(0)
    centre, size = (low + high) / 2, float(np.linalg.norm(high - low))
    vertices = (vertices - centre) / size
    colours = _vertex_colours(mesh)
    corners = vertices[faces]
    area_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return Renderable(
        caster=RayCaster(vertices, faces),
        centre_world=centre,
        size_world=size,
        face_normals=_unit(area_normals),
        corner_normals=_corner_normals(vertices, faces, area_normals),
        corner_colours=None if colours is None else colours[faces],
    )


def rasterise(mesh: Renderable, camera: Camera) -> Raster:
    """Cast one ray through every pixel centre."""
    height, width = camera.height, camera.width
    rays = camera.rays_world().reshape(-1, 3)
    eye = (camera.centre_world - mesh.centre_world) / mesh.size_world
    hits = mesh.caster.first_hits(eye[None], rays)
    hit = np.isfinite(hits.length)
    face, weights = hits.face[hit], hits.barycentric[hit][..., None]

    def picture(values: Float[np.ndarray, "hits 3"]) -> Float[np.ndarray, "h w 3"]:
        pixels = np.zeros((height * width, 3))
        pixels[hit] = values
        return pixels.reshape(height, width, 3)

    colours = None if mesh.corner_colours is None else picture((weights * mesh.corner_colours[face]).sum(1))
    return Raster(
        hit=hit.reshape(height, width),
        depth=(hits.length.astype(np.float64) * mesh.size_world).reshape(height, width),
        normals=picture(_unit((weights * mesh.corner_normals[face]).sum(1))),
        flat_normals=picture(mesh.face_normals[face]),
        colours=colours,
    )


def _vertex_colours(mesh: trimesh.Trimesh) -> Float[np.ndarray, "vertices 3"] | None:
    """Colours in [0, 1], or None where the mesh has none of its own (trimesh then makes up a grey)."""
    visual = mesh.visual
    if not isinstance(visual, ColorVisuals) or visual.kind != "vertex":
        return None
    return np.asarray(visual.vertex_colors)[:, :3] / 255.0


def _corner_normals(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    area_normals: Float[np.ndarray, "faces 3"],
) -> Float[np.ndarray, "faces 3 3"]:
    """For each corner of each face, the area-weighted mean normal of the faces around it that meet it softly."""
    # Vertices at one place count as one, so that seams of a texture or an unindexed STL do not show.
    _, place = np.unique(vertices, axis=0, return_inverse=True)
    corner_place = place.reshape(-1)[faces].reshape(-1)
    # Faces around place p are around[start[p] : start[p] + degree[p]].
    around = np.argsort(corner_place, kind="stable") // 3
    degree = np.bincount(corner_place)
    start = np.cumsum(degree) - degree
    unit, softest = _unit(area_normals), np.cos(np.radians(CREASE_DEGREES))

    normals = np.empty((len(corner_place), 3))
    for first in range(0, len(corner_place), 3 * FACES_PER_STEP):
        corner = np.arange(first, min(first + 3 * FACES_PER_STEP, len(corner_place)))
        count = degree[corner_place[corner]]
        owner = np.repeat(np.arange(len(corner)), count)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        neighbour = around[start[corner_place[corner]][owner] + step]
        soft = (unit[neighbour] * unit[corner // 3][owner]).sum(1) >= softest
        weighted = area_normals[neighbour] * soft[:, None]
        total = np.stack([np.bincount(owner, weighted[:, axis], len(corner)) for axis in range(3)], 1)
        normals[corner] = _unit(total)
    return normals.reshape(-1, 3, 3)


def _unit(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
