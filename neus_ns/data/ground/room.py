"""What the ground leaves of space: nothing below it, and above it only what no photograph sees past."""

import math

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from neus_ns.data.camera_rays import CameraRays
from neus_ns.data.ground.labels import OBJECT, OPEN, grown
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
    for view, shown in enumerate(store.by_view(kept)):
        seen = _seen(centres, math.sqrt(3.0) * region.radius / resolution, views, view)
        row, column = torch.nonzero(shown == OBJECT).unbind(1)
        bundle = rays(torch.stack([torch.full_like(row, view), row, column], 1))
        at = views.project(view, (bundle.origins + bundle.directions).cpu())
        refuted = at.in_frame.clone()
        refuted[at.in_frame] = ~seen[at.row[at.in_frame].long(), at.column[at.in_frame].long()]
        shown[row[refuted], column[refuted]] = OPEN
    return kept


def _seen(centres: Float[Tensor, "cells 3"], radius: float, views: Views, view: int) -> Bool[Tensor, "h w"]:
    """Which pixels of a pinhole photograph show any of the balls around these centres."""
    at = views.project(view, centres)
    height, width = int(views.height[view]), int(views.width[view])
    ahead = at.depth > radius
    shown = at.in_frame & ahead
    seen = torch.zeros(height, width, dtype=torch.bool)
    seen[at.row[shown].long(), at.column[shown].long()] = True
    nearest = float(at.depth[ahead].min()) if bool(ahead.any()) else radius
    return grown(seen, min(math.ceil(float(views.fx[view]) * radius / nearest) + 1, min(height, width) // 4))
