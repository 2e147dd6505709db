"""What the object of a capture stands on, and which pixels of its photographs show that, or something before it."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from neus_ns.data.camera_rays import CameraRays
from neus_ns.data.ground.atlas import Meeting, lay_out, surely_ground
from neus_ns.data.ground.labels import GROUND, OPEN, Colours, by_majority, covered_places, settled
from neus_ns.data.ground.plane import Plane, find_plane
from neus_ns.data.ground.room import room_above, without_refuted
from neus_ns.data.pinhole_views import pinhole_views
from neus_ns.data.pixel_store import PixelStore
from neus_ns.data.region import Region

# How far around the region's centre photographs are laid out, in its radii, in so many places along a side.
_REACH, _LEAST_SIDE, _MOST_SIDE = 2.0, 96, 640
# Pixels that a place is wide, and rays that are too flat to tell where they meet the plane (sine of their angle).
_PIXELS_A_PLACE, _FLAT = 1.5, 0.05
# Planes above that photographs must agree less about, in places.
_HEIGHTS = (2, 5, 12)
# How far around a place its surroundings reach, in places.
_AROUND = 7
# How far off the border of what the object stands on may be, in places.
_BORDER = 5
# Photographs laid out, and pixels looked at of all together; of more, every second or third.
_MOST_VIEWS, _MOST_PIXELS = 48, 10_000_000
# What the outlines of its pixels may be off by, and the share of pixels on known ground that must show it, or the
# photograph is of other light, or of something else.
_MARGIN_PX, _LEAST_SHOWN = 2.0, 0.2
# The ground around the object must be known by this share.
_LEAST_KNOWN = 0.5


@dataclass(frozen=True)
class Ground:
    """A plane in nerfstudio's parser frame, and what each pixel of the store shows: see `labels`."""

    plane: Plane
    labels: UInt8[Tensor, " pixels"]
    allowed: Bool[Tensor, "res res res"]
    """Cells of the region's cube that may hold object."""

    @property
    def share(self) -> float:
        """Of all pixels those that show the ground."""
        return float((self.labels == GROUND).double().mean())


def find_ground(
    store: PixelStore, rays: CameraRays, points: Float[Tensor, "points 3"] | None, region: Region, resolution: int
) -> Ground | None:
    """The ground of a capture of an object, in the frame of the cameras, and what it leaves of so many cells a side;
    None where there is none to be sure of."""
    cameras = rays.cameras.camera_to_worlds[:, :, 3].cpu()
    plane = None if points is None else find_plane(points.cpu(), cameras, region)
    if plane is None:
        return None
    survey = _Layout.of(store, rays, plane, region)
    some = torch.linspace(0, len(cameras) - 1, min(len(cameras), _MOST_VIEWS)).round().long().tolist()
    heights = [0.0, *(height * survey.place_size for height in _HEIGHTS)]
    laid = (lay_out((survey.meet(view, height) for view in some), survey.side**2) for height in heights)
    found, known = surely_ground(next(laid), laid, survey.side)
    known = by_majority(known, found, survey.side, _AROUND)
    distance = survey.distance()
    around = (distance > 0.6 * region.radius) & (distance < region.radius)
    if not bool(around.any()) or float(known[around].double().mean()) < _LEAST_KNOWN:
        return None
    covered = covered_places(known, distance < region.radius, survey.side)
    known, covered = settled(known, covered, found, survey.side, _BORDER)
    colours = Colours(found, known, covered, survey.side)
    labels = torch.cat([survey.labels(view, colours) for view in range(len(cameras))])
    views = pinhole_views(rays.cameras, [shown != GROUND for shown in store.by_view(labels)])
    allowed = room_above(plane, views, region, resolution, _MARGIN_PX)
    return Ground(plane, without_refuted(labels, allowed, views, region, store, rays), allowed)


@dataclass(frozen=True)
class _Layout:
    """A square of places on the plane around the region of interest, and photographs to be laid there."""

    store: PixelStore
    rays: CameraRays
    plane: Plane
    middle: Float[Tensor, "3"]
    axes: Float[Tensor, "3 2"]
    half: float
    side: int
    step: int

    @classmethod
    def of(cls, store: PixelStore, rays: CameraRays, plane: Plane, region: Region) -> "_Layout":
        """As fine as the photographs, as far as that can be afforded."""
        normal = plane.normal
        middle = region.centre.double() - plane.height(region.centre.double()) * normal
        across = torch.linalg.svd(normal[None], full_matrices=True)[2][1:]
        cameras, half = rays.cameras, _REACH * region.radius
        step = max(1, math.ceil(math.sqrt(store.num_pixels / _MOST_PIXELS)))
        away = (cameras.camera_to_worlds[:, :, 3].cpu().double() - middle).norm(dim=-1)
        pixel = step * float((away / cameras.fx[:, 0].cpu()).median())
        side = min(max(round(2 * half / (_PIXELS_A_PLACE * pixel)), _LEAST_SIDE), _MOST_SIDE)
        return cls(store, rays, plane, middle.float(), across.T.float(), half, side, step)

    @property
    def place_size(self) -> float:
        return 2 * self.half / self.side

    def distance(self) -> Float[Tensor, " places"]:
        """How far each place is from the middle."""
        along = self.half * ((torch.arange(self.side) + 0.5) * (2 / self.side) - 1)
        return (along[:, None].square() + along.square()).sqrt().view(-1)

    def _pixels(self, view: int) -> Int64[Tensor, "rows columns 2"]:
        """Rows and columns of the pixels that are looked at."""
        rows, columns = (torch.arange(0, int(size[view]), self.step) for size in (self.store.height, self.store.width))
        return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)

    def meet(self, view: int, height: float) -> Meeting:
        """Where a photograph's pixels meet the plane, or one that much above it."""
        at = self._pixels(view).view(-1, 2)
        bundle = self.rays(torch.cat([torch.full_like(at[:, :1], view), at], 1))
        origins, directions = bundle.origins.cpu(), bundle.directions.cpu()
        down = directions @ self.plane.normal.float()
        t = (height - self.plane.height(origins.double()).float()) / down
        places = (origins + t[:, None] * directions - self.middle) @ self.axes / self.half
        meets = (t > 0) & (down < -_FLAT) & (places.abs() < 1).all(-1)
        cell = ((places[meets] + 1) * (self.side / 2)).long().clamp(0, self.side - 1)
        flat = int(self.store.offset[view]) + at[meets, 0] * int(self.store.width[view]) + at[meets, 1]
        colour = self.store.rgb.index_select(0, flat.to(self.store.device)).cpu()
        return Meeting(torch.nonzero(meets)[:, 0], cell[:, 0] * self.side + cell[:, 1], colour)

    def labels(self, view: int, colours: Colours) -> UInt8[Tensor, " pixels"]:
        """What every pixel of a photograph shows; those that were not looked at show what the last before them does."""
        met = self.meet(view, 0.0)
        rows, columns = self._pixels(view).shape[:2]
        labels = torch.full((rows * columns,), OPEN, dtype=torch.uint8)
        shown = colours.labels(met.place, met.colour)
        if bool((shown[colours.known[met.place]] == GROUND).float().mean() > _LEAST_SHOWN):
            labels[met.pixel] = shown
        whole = labels.view(rows, columns).repeat_interleave(self.step, 0).repeat_interleave(self.step, 1)
        return whole[: int(self.store.height[view]), : int(self.store.width[view])].reshape(-1)
