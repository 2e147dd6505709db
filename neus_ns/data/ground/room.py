"""What the ground leaves of space: nothing below it, and above it only what no photograph sees past."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from torch import Tensor

from neus_ns.data.camera_rays import CameraRays
from neus_ns.data.ground.labels import OBJECT, OPEN
from neus_ns.data.ground.plane import Plane
from neus_ns.data.hull import carve, cell_centres
from neus_ns.data.pixel_store import PixelStore
from neus_ns.data.region import Region
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views

# Structure-from-motion points this near to the ground, in radii of the region of interest, are of it.
_NEAR = 0.01


def room_above(
    plane: Plane, views: Views, region: Region, resolution: int, margin_px: float
) -> Bool[Tensor, "res res res"]:
    """Cells of the region's cube that may hold object; the views' masks leave out what shows the ground."""
    allowed = carve(views, region.centre, region.radius, resolution, margin_px, unseen=True)
    index = torch.arange(resolution**3)
    centres = cell_centres(region.centre.double(), region.radius, resolution, index)
    # Those that the plane passes through stay: the object reaches down to it.
    reaches = plane.height(centres) > -region.radius / resolution
    return allowed & reaches.view_as(allowed).to(allowed.device)


def above(plane: Plane, tracks: SfmTracks, region: Region) -> SfmTracks:
    """The points that are not of the ground."""
    return tracks.subset(plane.height(tracks.points.double()) > _NEAR * region.radius)


def without_refuted(
    labels: UInt8[Tensor, " pixels"],
    allowed: Bool[Tensor, "res res res"],
    views: Views,
    region: Region,
    store: PixelStore,
    rays: CameraRays,
) -> UInt8[Tensor, " pixels"]:
    """The labels without objects where there is no room for any: a shadow that moves, or light, differs from the ground
    as well, but other photographs see past it."""
    resolution = len(allowed)
    cells = torch.nonzero(allowed.flatten())[:, 0].cpu()
    centres = cell_centres(region.centre.to(views.world_from_camera), region.radius, resolution, cells)
    kept = labels.clone()
    for view, (start, width, height) in enumerate(
        zip(store.offset.tolist(), store.width.tolist(), store.height.tolist(), strict=True)
    ):
        seen = _seen(centres, math.sqrt(3.0) * region.radius / resolution, views, view)
        pixel = torch.nonzero(labels[start : start + width * height] == OBJECT)[:, 0]
        indices = torch.stack([torch.full_like(pixel, view), pixel // width, pixel % width], 1)
        directions = rays(indices).directions.cpu() @ views.world_from_camera[view, :, :3]
        column, row = _projected(directions, views, view)
        at_all = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        shows = seen[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        kept[start + pixel[at_all & ~shows]] = OPEN
    return kept


def _seen(centres: Tensor, radius: float, views: Views, view: int) -> Bool[Tensor, "h w"]:
    """Which pixels of a pinhole photograph show any of the balls around these centres."""
    pose = views.world_from_camera[view]
    local = (centres - pose[:, 3]) @ pose[:, :3]
    local = local[local[:, 2] < -radius]
    height, width = int(views.height[view]), int(views.width[view])
    column, row = _projected(local, views, view)
    within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    seen = torch.zeros(height, width)
    seen[row[within], column[within]] = 1.0
    nearest = float(-local[:, 2].max()) if len(local) else radius
    reach = min(math.ceil(float(views.fx[view]) * radius / nearest) + 1, min(height, width) // 4)
    # Separable, for a wide window would cost as much as the rest.
    for window in ((1, 2 * reach + 1), (2 * reach + 1, 1)):
        seen = F.max_pool2d(seen[None, None], window, 1, (window[0] // 2, window[1] // 2))[0, 0]
    return seen > 0


def _projected(local: Tensor, views: Views, view: int) -> tuple[Tensor, Tensor]:
    """Column and row of the pixels in which a pinhole shows points before its camera; far off for those behind it."""
    depth = (-local[:, 2]).clamp_min(1e-9)
    column = views.fx[view] * local[:, 0] / depth + views.cx[view]
    row = -views.fy[view] * local[:, 1] / depth + views.cy[view]
    return column.clamp(-1, 1e6).floor().long(), row.clamp(-1, 1e6).floor().long()
