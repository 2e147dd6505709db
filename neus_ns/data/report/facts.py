"""The facts of a scene report, each computed once from what the survey before training found anyway."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from neus_ns.data.datamanager import SurfaceDataManager
from neus_ns.data.focus import camera_centres
from neus_ns.data.frame import SceneFrame, transform_points
from neus_ns.data.region import Region
from neus_ns.data.report.angles import Angles, view_angles
from neus_ns.data.report.blur import blurred_views
from neus_ns.data.survey import Survey
from neus_ns.data.views import Views

# Of larger sets, so many masks and photographs, evenly spread, are looked at.
_MOST_LOOKED_AT = 200


@dataclass(frozen=True)
class Spread:
    """The least, the median and the largest of some numbers."""

    least: float
    median: float
    most: float


@dataclass(frozen=True)
class SceneFacts:
    """What is known of a scene; lengths and places are in the user's world. None: there is nothing to say of it."""

    capture: str
    format: str
    scene_type: str
    photographs: int
    held_out: int
    smallest_photograph: tuple[int, int]
    largest_photograph: tuple[int, int]
    photograph_scales: tuple[float, float]
    masks_from: str | None
    mask_coverage: Spread | None
    region_centre: tuple[float, float, float]
    region_radius: float
    region_how: str
    share_of_cameras_inside: float
    points: int
    share_of_points_inside: float | None
    track_points: int
    sightlines: int
    tracks_from: str | None
    object_diameter_px: Spread | None
    view_angles_degrees: Angles | None
    blurred_photographs: tuple[str, ...]


def scene_facts(manager: SurfaceDataManager, survey: Survey) -> SceneFacts:
    """The facts of the training photographs of a manager that holds them."""
    views, region, tracks = survey.views, survey.region, survey.tracks
    sizes = sorted(
        {(int(w), int(h)) for w, h in zip(views.width, views.height, strict=True)}, key=lambda s: s[0] * s[1]
    )
    looked_at = range(0, len(views.fx), -(-len(views.fx) // _MOST_LOOKED_AT))
    boxes = _mask_boxes(views, looked_at)
    around = survey.scene_type != "indoor"
    points_inside = None
    if survey.points is not None:
        distance = (survey.points.double() - region.centre).norm(dim=-1)
        points_inside = float((distance < region.radius).double().mean())
    inside = (camera_centres(views) - region.centre).norm(dim=-1) < region.radius
    centre_world = transform_points(survey.frame.world_from_parser, region.centre)
    blurred = blurred_views(manager.train_store, views, region.centre, looked_at)
    return SceneFacts(
        capture=str(manager.get_datapath()),
        format=manager.format_name,
        scene_type=survey.scene_type,
        photographs=len(views.fx),
        held_out=len(manager.eval_dataset),
        photograph_scales=(float(manager.train_dataset.scales.min()), float(manager.train_dataset.scales.max())),
        smallest_photograph=sizes[0],
        largest_photograph=sizes[-1],
        masks_from=_masks_from(manager),
        mask_coverage=_spread([box.coverage for box in boxes]),
        region_centre=_triple(centre_world),
        region_radius=survey.frame.world_units_per_unit,
        region_how=region.how,
        share_of_cameras_inside=float(inside.double().mean()),
        points=0 if survey.points is None else len(survey.points),
        share_of_points_inside=points_inside,
        track_points=0 if tracks is None else len(tracks),
        sightlines=0 if tracks is None else len(tracks.view),
        tracks_from=None if tracks is None else tracks.source,
        object_diameter_px=_object_diameter(views, region, boxes) if around else None,
        view_angles_degrees=view_angles(camera_centres(views).numpy(), region.centre.numpy()) if around else None,
        blurred_photographs=tuple(Path(manager.train_photo_names[view]).name for view in blurred),
    )


def frame_facts(frame: SceneFrame, how: str) -> dict:
    """The scene frame as it is kept beside a run, under the names that a mesh's frame.json uses."""
    return {
        "world_from_unit": frame.world_from_unit.tolist(),
        "world_units_per_unit": frame.world_units_per_unit,
        "parser_from_unit": frame.parser_from_unit.tolist(),
        "world_from_parser": frame.world_from_parser.tolist(),
        "how": how,
    }


def _triple(point: Float[Tensor, "3"]) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z


def _spread(values: "list[float] | Float[Tensor, ' values']") -> Spread | None:
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0:
        return None
    return Spread(float(numbers.min()), float(np.median(numbers)), float(numbers.max()))


def _masks_from(manager: SurfaceDataManager) -> str | None:
    if not manager.has_masks:
        return None
    files = manager.train_dataparser_outputs.mask_filenames
    return "the photographs' alpha channel" if files is None else str(files[0].parent)


@dataclass(frozen=True)
class _MaskBox:
    """How much of a mask is object, and the longer side of the box around that."""

    coverage: float
    diameter_px: int


def _mask_boxes(views: Views, looked_at: range) -> list[_MaskBox]:
    if views.masks is None:
        return []
    boxes = []
    for view in looked_at:
        mask: ndarray = views.masks[view].numpy()
        sides = [np.flatnonzero(mask.any(axis)) for axis in (0, 1)]
        diameter = max(int(side[-1] - side[0]) + 1 if len(side) else 0 for side in sides)
        boxes.append(_MaskBox(float(np.count_nonzero(mask)) / mask.size, diameter))
    return boxes


def _object_diameter(views: Views, region: Region, boxes: list[_MaskBox]) -> Spread | None:
    """As the masks show it; without any, the region's ball as seen from cameras outside of it."""
    if boxes:
        return _spread([float(box.diameter_px) for box in boxes if box.diameter_px])
    distance = (camera_centres(views) - region.centre).norm(dim=-1)
    outside = distance > region.radius
    # A ball of angular radius a is seen within a tangent cone, of radius f tan a when it is in the middle.
    tangent = region.radius / torch.sqrt((distance**2 - region.radius**2).clamp_min(1e-300))
    return _spread((2 * views.fx.double() * tangent)[outside])
