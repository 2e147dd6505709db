"""The photographs as witnesses of one another: small patches of the surface must look alike in all that see them.

Colours are learned, so a wrong surface can be excused by colours that depend on the view. That the same piece of
surface, moved from one photograph to another by the plane it lies in, shows the same pattern there is true or false
whatever the colour network says (Geo-NeuS).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int64
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from neus_ns.data.covisibility import best_sources
from neus_ns.data.grey_photos import GreyPhotos
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.errors import InputError
from neus_ns.kernels.backend import Backend
from neus_ns.losses.patches import (
    LEAST_SOURCES,
    Judged,
    PatchCosts,
    agreement,
    disagreement,
    how_much_of_its_middle,
    how_telling,
    judged,
    loss_when_off,
    standing_refuted,
)
from neus_ns.models.refuted_space import RefutedSpace
from neus_ns.rays.crossing import crossing_share, first_crossings
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.sections import SampledRays
from neus_ns.rays.sight import in_sight
from neus_ns.rendering.patch_warp import (
    PinholeCameras,
    SurfacePatches,
    image_points,
    patch_offsets,
    plane_points,
    warp_patches,
)

# The least cosine between the surface's normal and a line of sight: patches seen at a flatter angle are smeared.
_LEAST_COSINE = 0.3
# The least standard deviation of a patch, in grey levels of 255: below it is a picture's own noise.
_LEAST_DEVIATION = 3.0
# Shares of a patch's pixels that its own photograph must show, and that both photographs must show.
_LEAST_OWN, _LEAST_SHARED = 0.6, 0.5

SdfFn = Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]]


@dataclass
class PatchConfig:
    """How patches of photographs are compared."""

    side: int = 7
    """Side of a patch, in pixels. Larger ones pull from further away and tell the place less exactly."""
    every: int = 1
    """Take every so-manyeth pixel of a patch in both directions."""
    rays: int = 256
    """Rays of a step whose surface points are looked at; of them only those whose patches can be judged count."""
    candidates: int = 16
    """Photographs with which one may be compared, chosen once for each by what they see in common."""
    sources: int = 8
    """How many of these a patch is compared with: the first from which no other surface hides it."""
    best: int = 4
    """How many of these count, those that agree most."""


@dataclass(frozen=True)
class PatchLoss:
    """The loss, how many patches spoke, and how far they stand where nothing can be, if anybody keeps count of that."""

    value: Float[Tensor, ""]
    used: Int[Tensor, ""]
    refuted: Float[Tensor, ""] | None


def pinhole_cameras(views_unit: Views) -> PinholeCameras:
    """Cameras of the unit frame as patches need them, where their poses are."""
    poses = views_unit.world_from_camera
    focal, principal = torch.stack([views_unit.fx, views_unit.fy], -1), torch.stack([views_unit.cx, views_unit.cy], -1)
    return PinholeCameras(poses[:, :, :3], poses[:, :, 3], focal.to(poses), principal.to(poses))


class PatchWitness:
    """Photographs, cameras, and who is compared with whom. Derived from the capture when training starts, not saved."""

    refuted_space: RefutedSpace | None = None
    """Told of every patch that is judged, if anybody wants to know where they keep disagreeing; the model saves it."""

    def __init__(
        self,
        config: PatchConfig,
        photos: GreyPhotos,
        views_unit: Views,
        tracks_unit: SfmTracks | None,
        grid: OccupancyGrid,
        backend: Backend,
    ) -> None:
        if not 1 <= config.every < config.side:
            raise InputError(
                f"--pipeline.model.patches.every is {config.every} and .side {config.side}: a patch must be wider than "
                "the distance of the pixels that are taken of it, and that at least 1."
            )
        self.config = config
        self.photos = photos
        self.grid = grid
        self.backend: Backend = backend
        device = grid.distance.device
        poses = views_unit.world_from_camera.to(device, torch.float32)
        # Lenses beside the poses, which move: for what is on the host, the host would wait at every step. Masks are in
        # the grey photographs already.
        lenses = {name: getattr(views_unit, name).to(poses) for name in ("fx", "fy", "cx", "cy")}
        self._views = replace(views_unit, world_from_camera=poses, **lenses, masks=None)
        self.cameras = pinhole_cameras(self._views)
        self.candidates = best_sources(views_unit, tracks_unit, config.candidates).to(device)
        if self.candidates.shape[1] < LEAST_SOURCES:
            CONSOLE.log(
                f"patches of photographs are not compared, which takes {LEAST_SOURCES + 1} training photographs; "
                "set fewer apart for evaluation"
            )
        self.offsets = patch_offsets(config.side, config.every, device)
        # Whole numbers, since to pick by a mask the host would wait for a device. Four pixels at least.
        self.middle = torch.nonzero(self.offsets[:, :2].abs().amax(1) <= config.every)[:, 0]
        reach = self.offsets[:, :2].abs().amin(1)
        self.corners = self.offsets[torch.nonzero(reach == reach.max())[:, 0]]

    def move_cameras(self, corrected: Callable[[Views], Views]) -> None:
        """Let the cameras stand where training has moved them to, given those of the capture."""
        self.cameras = pinhole_cameras(corrected(self._views))

    def loss(
        self,
        on_rays: SampledRays,
        gradient: Float[Tensor, "samples 3"],
        view: Int64[Tensor, " rays"],
        sdf_fn: SdfFn | None,
    ) -> PatchLoss:
        """Disagreement of the photographs about where these rays, each of a view, first enter the surface.

        Gradients reach the samples' distances; with `sdf_fn` they go through that instead, and no ray is moved.
        """
        patches, facing = self.patches(on_rays, gradient.detach(), view, sdf_fn)
        held = replace(patches, t=patches.t.detach())
        costs = self.costs(held)
        fit = facing & self.seen_whole(held)
        found = judged(replace(costs, valid=costs.valid & fit[:, None]), self.config.best)
        return PatchLoss(disagreement(found, patches.t), found.used.sum(), self.refuted(found, held, patches.t))

    def refuted(self, found: Judged, patches: SurfacePatches, t: Float[Tensor, " patches"]) -> Float[Tensor, ""] | None:
        """How far patches stand where nearly all disagree; these are heard first."""
        if self.refuted_space is None:
            return None
        points = patches.points(self.cameras)
        self.refuted_space.hear(points, found.doubt, torch.where(found.used, found.telling, 0.0))
        return standing_refuted(found, self.refuted_space.refuted(points), t)

    def patches(
        self,
        on_rays: SampledRays,
        gradient: Float[Tensor, "samples 3"],
        view: Int64[Tensor, " rays"],
        sdf_fn: SdfFn | None,
    ) -> tuple[SurfacePatches, Bool[Tensor, " patches"]]:
        """Tangent planes at first crossings of random rays, and which of them face their rays enough to be judged."""
        rays, sections, sdf = on_rays.rays, on_rays.sections, on_rays.sdf
        found = first_crossings(sections, sdf.detach(), len(rays)).some(self.config.rays)
        pair = torch.cat([found.before, found.before + 1])
        before, behind = (sdf[pair] if sdf_fn is None else sdf_fn(rays.points(sections).detach()[pair])).chunk(2)
        # Where a ray does not enter anything will do, as long as it can be divided by.
        before, behind = torch.where(found.enters, before, 1.0), torch.where(found.enters, behind, -1.0)
        share = crossing_share(before, behind)
        first, last = sections.t_middle[pair].chunk(2)
        at_before, at_behind = gradient[pair].chunk(2)
        normals = F.normalize(torch.lerp(at_before, at_behind, share.detach()[:, None]), dim=-1)
        directions = rays.directions[found.ray_index].detach()
        patches = SurfacePatches(view[found.ray_index], directions, first + share * (last - first), normals)
        # The steepness along the ray bounds how far the surface moves for a change of distance.
        steep = before - behind > _LEAST_COSINE * (last - first)
        return patches, found.enters & steep & ((normals * directions).sum(-1) < -_LEAST_COSINE)

    @torch.no_grad()
    def costs(self, patches: SurfacePatches) -> PatchCosts:
        """How far each patch differs in each of its sources, how that changes with depth, and which can be told."""
        sources, seen = self.sources_of(patches)
        middle = image_points(self.cameras, patches)
        own_xy = middle[:, None] + self.offsets[:, :2]
        own = self.photos.sample(patches.view, own_xy[..., 0], own_xy[..., 1])
        warp = warp_patches(self.cameras, patches, sources, middle, self.offsets)
        flat = (sources.flatten(), warp.x.flatten(0, 1), warp.y.flatten(0, 1))
        other = self.photos.sample(*flat)
        counts = other.seen.view_as(warp.x) & own.seen[:, None]
        values = other.value.view_as(warp.x)
        found = agreement(own.value, values, counts)
        moves = other.right.view_as(warp.x) * warp.x_by_t + other.down.view_as(warp.x) * warp.y_by_t
        moves = torch.where(counts, moves, 0.0)
        by_t = -(found.by_source * moves).sum(-1)
        # Along the ray, a pixel is as long as it is wide on the surface.
        pixel = patches.t / self.cameras.focal[patches.view].mean(-1)
        telling = how_telling(loss_when_off(values, moves * pixel[:, None, None], counts))
        telling = telling * how_much_of_its_middle(own.value[:, self.middle])[:, None]

        pixels = own.seen.shape[1]
        enough = (counts.sum(-1) >= _LEAST_SHARED * pixels) & (own.seen.sum(-1) >= _LEAST_OWN * pixels)[:, None]
        textured = torch.minimum(found.reference_variance, found.source_variance) >= _LEAST_DEVIATION**2
        return PatchCosts(1 - found.correlation, by_t, found.apart, telling, enough & textured & seen)

    @torch.no_grad()
    def seen_whole(self, patches: SurfacePatches) -> Bool[Tensor, " patches"]:
        """Whether their own photographs show each patch to all its corners, with no other surface before them.

        Beside the outline of something nearer a patch shows that as well, and its pattern agrees where this is: the
        surface behind would be pulled up to it (what stereo calls foreground fattening).
        """
        points, shown = plane_points(self.cameras, patches, image_points(self.cameras, patches), self.corners)
        eyes = self.cameras.centre[patches.view][:, None].expand_as(points)
        # Of what lies outside the region of interest nothing is known.
        asked = shown & (points.square().sum(-1) < 1)
        return torch.where(asked, in_sight(self.grid, points, eyes, asked, self.backend), shown).all(1)

    def sources_of(
        self, patches: SurfacePatches
    ) -> tuple[Int64[Tensor, "patches sources"], Bool[Tensor, "patches sources"]]:
        """The first candidates that see each patch, and others where these are too few; which of them see it: not at
        too flat an angle, and with no other surface in between, for what hides it looks alike only by chance."""
        candidates = self.candidates[patches.view]
        eyes = self.cameras.centre[candidates]
        points = patches.points(self.cameras)[:, None].expand_as(eyes)
        facing = (F.normalize(eyes - points, dim=-1) * patches.normals[:, None]).sum(-1) > _LEAST_COSINE
        facing &= candidates != patches.view[:, None]
        seen = in_sight(self.grid, points, eyes, facing, self.backend)
        # Numbers, since on CUDA older versions of torch do not sort truth values.
        first = torch.argsort((~seen).byte(), dim=1, stable=True)[:, : self.config.sources]
        return candidates.gather(1, first), seen.gather(1, first)
