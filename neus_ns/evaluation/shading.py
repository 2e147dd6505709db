"""Pictures of meshes: clay under a lamp and an open sky, the mesh's own colours, normals.

All pictures are uint8 on white, with 2x2 rays a pixel. Light is computed by casting rays against the mesh, so folds and
hollows darken as they do in a studio: that is what makes small relief readable.
"""

from collections.abc import Callable

import numpy as np
import trimesh
from jaxtyping import Bool, Float, UInt8

from neus_ns.errors import InputError
from neus_ns.evaluation.camera import Camera
from neus_ns.evaluation.raster import Raster, Renderable, rasterise, renderable

# Linear light: a warm lamp and a cool sky tell planes apart that are equally bright. The inside of an open mesh shows
# in another clay, so that holes and flipped faces are seen as such.
CLAY = np.array([0.68, 0.62, 0.56])
INSIDE_CLAY = np.array([0.30, 0.38, 0.50])
LAMP = 0.88 * np.array([1.05, 1.0, 0.91])
SKY = np.array([0.92, 0.98, 1.10])
SKY_ABOVE, SKY_BELOW = 0.50, 0.13
# Light that reaches a fold after bouncing off the mesh around it, as a share of the sky.
BOUNCE = 0.16
SKY_RAYS = 24
# The lamp hangs to the upper left of the camera, this much of the viewing distance away from it, and is this wide.
LAMP_LEFT, LAMP_UP, LAMP_WIDTH = 0.6, 0.6, 0.1
LAMP_RAYS = 8
RAYS_PER_CAST = 2_000_000
# Secondary rays start this far off the surface, in sizes of the mesh: beyond float32 rounding, below visible detail.
LIFT_OFF = 1e-4

PixelShader = Callable[[Raster, Camera, np.random.Generator], Float[np.ndarray, "h w 3"]]


def shaded(mesh: trimesh.Trimesh | Renderable, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
    """The mesh in clay."""
    ready = _ready(mesh)

    def clay(raster: Raster, view: Camera, random: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
        facing = (raster.flat_normals * view.rays_world()).sum(-1, keepdims=True) < 0
        light = _light(ready, raster, view, random)
        return np.clip(np.where(facing, CLAY, INSIDE_CLAY) * light, 0, 1) ** (1 / 2.2)

    return _supersampled(ready, camera, clay)


def coloured(mesh: trimesh.Trimesh | Renderable, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
    """The mesh in its own vertex colours, which already hold the light of the photographs."""
    ready = _ready(mesh)
    if ready.corner_colours is None:
        raise InputError("The mesh has no vertex colours; export it with colours, or draw it in clay.")

    def own(raster: Raster, view: Camera, random: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
        del view, random
        assert raster.colours is not None
        return raster.colours

    return _supersampled(ready, camera, own)


def mesh_normals(mesh: trimesh.Trimesh | Renderable, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
    """The mesh's normals in camera axes, in the colours of `normal_picture`: what faces the camera is blue."""

    def normals(raster: Raster, view: Camera, random: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
        del random
        return (view.to_camera_axes(raster.normals) + 1) / 2

    return _supersampled(_ready(mesh), camera, normals)


def normal_picture(normals: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Normals as colours, (n + 1) / 2 on white, in the axes they are given in.

    A normal shorter than 1, as a rendered pixel at an outline has it, is that much of a normal over white.
    """
    return _bytes(1 + (normals - np.linalg.norm(normals, axis=-1, keepdims=True)) / 2)


def _ready(mesh: trimesh.Trimesh | Renderable) -> Renderable:
    return mesh if isinstance(mesh, Renderable) else renderable(mesh)


def _supersampled(mesh: Renderable, camera: Camera, shader: PixelShader) -> UInt8[np.ndarray, "h w 3"]:
    """The mean over 2x2 rays a pixel, on white; the noise in the light is the same at every call."""
    random = np.random.default_rng(0)
    total = np.zeros((camera.height, camera.width, 3))
    for right, down in ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)):
        view = _shifted(camera, right, down)
        raster = rasterise(mesh, view)
        total += np.where(raster.hit[..., None], shader(raster, view, random), 1.0)
    return _bytes(total / 4)


def _shifted(camera: Camera, right: float, down: float) -> Camera:
    """The camera whose pixel centres lie that many pixels to the right and below."""
    return Camera(
        camera.world_from_camera,
        camera.fx,
        camera.fy,
        camera.cx - right,
        camera.cy - down,
        camera.width,
        camera.height,
    )


def _light(mesh: Renderable, raster: Raster, camera: Camera, random: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Light that falls on each pixel's surface, from the side that the camera is on."""
    hit = raster.hit
    rays = camera.rays_world()[hit]
    points = (camera.centre_world + rays * raster.depth[hit][:, None] - mesh.centre_world) / mesh.size_world
    flat, smooth = (
        np.where((raster.flat_normals[hit] * rays).sum(1, keepdims=True) < 0, 1, -1) * normals[hit]
        for normals in (raster.flat_normals, raster.normals)
    )
    origins = points + LIFT_OFF * flat
    right, up = camera.world_from_camera[:, 0], camera.world_from_camera[:, 1]

    sky = np.zeros(len(points))
    spin = random.random(len(points))
    for ray in range(SKY_RAYS):
        towards = _cosine_direction(smooth, (ray + random.random(len(points))) / SKY_RAYS, spin + 0.618034 * ray)
        brightness = SKY_BELOW + (SKY_ABOVE - SKY_BELOW) * (towards @ up + 1) / 2
        sky += np.where(_free(mesh, origins, towards), brightness, BOUNCE * SKY_ABOVE) / SKY_RAYS

    eye = (camera.centre_world - mesh.centre_world) / mesh.size_world
    distance = np.linalg.norm(eye)
    lamp = np.zeros(len(points))
    for _ in range(LAMP_RAYS):
        wobble = (random.random((len(points), 2)) - 0.5) * LAMP_WIDTH
        shift = (wobble[:, :1] - LAMP_LEFT) * right + (wobble[:, 1:] + LAMP_UP) * up
        towards = eye + distance * shift - points
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        cosine = np.maximum((towards * smooth).sum(1), 0)
        lamp += cosine * _free(mesh, origins, towards) / LAMP_RAYS

    light = np.zeros((*hit.shape, 3))
    light[hit] = sky[:, None] * SKY + lamp[:, None] * LAMP
    return light


def _free(
    mesh: Renderable, origins: Float[np.ndarray, "rays 3"], towards: Float[np.ndarray, "rays 3"]
) -> Bool[np.ndarray, " rays"]:
    """Which rays leave the mesh without meeting it again."""
    steps = range(0, len(origins), RAYS_PER_CAST)
    parts = [slice(first, first + RAYS_PER_CAST) for first in steps]
    lengths = [mesh.caster.reach_unhindered(origins[part], towards[part]) for part in parts]
    return np.isinf(np.concatenate(lengths)) if lengths else np.zeros(0, dtype=bool)


def _cosine_direction(
    normals: Float[np.ndarray, "rays 3"], share: Float[np.ndarray, " rays"], turn: Float[np.ndarray, " rays"]
) -> Float[np.ndarray, "rays 3"]:
    """Directions over the hemisphere of each normal, as dense as light falls in: a disc lifted to the sphere."""
    # The axis least along the normal gives a tangent that cannot vanish.
    axis = np.eye(3)[np.abs(normals).argmin(1)]
    tangent = np.cross(normals, axis)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-30)
    bitangent = np.cross(normals, tangent)
    radius, angle = np.sqrt(share)[:, None], (2 * np.pi * turn)[:, None]
    flat = radius * (np.cos(angle) * tangent + np.sin(angle) * bitangent)
    return flat + np.sqrt(np.maximum(1 - share, 0))[:, None] * normals


def _bytes(picture: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
