"""What `neus-demo` shows at its end: the scores, and one picture of photograph, rendering, normals and mesh."""

from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from PIL import Image

from neus_ns.data.hull import hull_mesh
from neus_ns.evaluation.camera import cameras_by_photo, training_cameras
from neus_ns.evaluation.geometry import GroundTruth, Score, score_mesh
from neus_ns.evaluation.picture import Row, caption_of, comparison, cut, square_around
from neus_ns.evaluation.raster import rasterise, renderable
from neus_ns.evaluation.shading import coloured, normal_picture, shaded
from neus_ns.models.pipeline import SurfacePipeline

_PANEL_PIXELS = 480
_HULL_RESOLUTION = 200
# The evaluation photographs that make the picture's rows: two sides of the object.
_ROWS = (0, 3)


def scored(mesh: Path | trimesh.Trimesh, capture: Path) -> Score:
    """A mesh against the capture's exact surface."""
    loaded = trimesh.load(mesh, force="mesh", process=False) if isinstance(mesh, Path) else mesh
    assert isinstance(loaded, trimesh.Trimesh)
    return score_mesh(loaded, GroundTruth.load(capture), training_cameras(capture / "transforms.json"))


def hull_of(pipeline: SurfacePipeline) -> trimesh.Trimesh:
    """The visual hull of the training masks, in world units: what masks alone give."""
    frame = pipeline.surface_model.field.frame
    views = pipeline.datamanager.views_parser(masks=True).moved(frame.world_from_parser)
    world_from_unit = frame.world_from_unit
    return hull_mesh(views, world_from_unit[:3, 3], frame.world_units_per_unit, _HULL_RESOLUTION)


@torch.no_grad()
def rendering(
    pipeline: SurfacePipeline, cameras: Cameras, view: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
    """The field rendered from a camera: colour on white; normals in the camera's axes, shortened where see-through."""
    pipeline.eval()
    outputs = pipeline.model.get_outputs_for_camera(cameras[view : view + 1].to(pipeline.device))
    colour = (outputs["rgb"].clamp(0, 1) * 255).round().byte().cpu().numpy()
    normal_parser = (outputs["normals"] * 2 - 1) * outputs["accumulation"]
    camera_axes = cameras.camera_to_worlds[view, :3, :3].to(normal_parser)
    return colour, (normal_parser @ camera_axes).cpu().numpy()


def draw(path: Path, capture: Path, mesh_path: Path, pipeline: SurfacePipeline, score: Score, seconds: float) -> None:
    """Write the comparison picture of two evaluation photographs."""
    mesh = trimesh.load(mesh_path, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    model = renderable(mesh)
    dataset = pipeline.datamanager.eval_dataset
    placed = cameras_by_photo(capture / "transforms.json")
    rows = []
    for view in _ROWS:
        photo_path = dataset.image_filenames[view]
        camera = placed[photo_path.relative_to(dataset.image_filenames[0].parents[1]).as_posix()]
        window = square_around(rasterise(model, camera).hit)
        close = camera.cropped(*window).scaled(_PANEL_PIXELS / window[2])
        photo = np.asarray(Image.open(photo_path).convert("RGB"))
        colour, normal = rendering(pipeline, dataset.cameras, view)
        panels = [cut(photo, window), cut(colour, window), cut(normal_picture(normal), window)]
        rows.append(Row(photo_path.stem, "", [*panels, shaded(model, close), coloured(model, close)]))
    caption = caption_of(score.chamfer_percent, seconds, pipeline.surface_model.device.type)
    rows[0] = Row("neus-hash", caption, rows[0].panels)
    rows[1] = Row("seen from elsewhere", "", rows[1].panels)
    comparison(rows, ["photograph", "rendered", "normals", "mesh", "mesh, coloured"], path)
