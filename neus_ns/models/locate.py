"""The pose of one new photograph by the trained model alone (iNeRF): render, compare, move the camera, again.

The pose is a rigid motion of the unit frame applied to a start pose (see `neus_ns.data.se3`). Only the pose is learned.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from neus_ns.data.camera_rays import CameraRays
from neus_ns.data.mask_margin import grown_mask
from neus_ns.data.se3 import moved_poses
from neus_ns.losses.silhouette import silhouette_bce
from neus_ns.models.neus_hash import NeusHashModel
from neus_ns.pixels.interest import PixelChoice, drawn_points, interesting_pixels
from neus_ns.training.schedules import exponential

# Pixels of each trial when the start pose is sought, and of the last, unhurried look at how well it fits.
_TRIAL_PIXELS, _FINAL_PIXELS = 256, 2048
# Training poses that are tried as starts, evenly taken from them.
_MOST_STARTS = 64
# A pool with fewer pixels than this is no choice: all pixels are used then.
_LEAST_POOL = 64
# How far beyond its mask the object may be rendered at the start, as a share of the photograph's longer side.
_MASK_REACH = 0.1
_MASK_WEIGHT = 0.1
# With less than this share of the image points on the object, nothing can be compared.
_LEAST_SEEN = 0.01
# Sharpness of the surface at the first step; the trained one is reached half way.
_FIRST_INV_S = 40.0
# Adam's rate falls to this share of itself over the steps.
_LAST_RATE = 0.05


@dataclass(frozen=True)
class Photo:
    """What is to be located. `camera` is a single one, of which only the lens counts and not the pose."""

    rgb: UInt8[Tensor, "h w 3"]
    mask: Bool[Tensor, "h w"] | None
    camera: Cameras


@dataclass(frozen=True)
class LocatePlan:
    """How the pose is sought."""

    pixels: PixelChoice
    steps: int
    rays: int
    rate: float
    seed: int


@dataclass(frozen=True)
class Located:
    """A camera-to-unit-frame pose, and the mean absolute colour error (0..1) over the object that it leaves."""

    pose_unit: Float[Tensor, "3 4"]
    error: float


class Comparison:
    """Renders image points of one photograph from any pose and says how wrong they are."""

    def __init__(self, model: NeusHashModel, photo: Photo) -> None:
        self.model = model
        camera = replace_pose(photo.camera.to("cpu"), torch.eye(4)[:3])
        self._rays = CameraRays(camera)
        self._colour = photo.rgb.float() / 255.0
        self._mask = None if photo.mask is None else photo.mask.float()
        # A model with a background of its own explains every pixel; another one knows the object alone.
        self._knows_all = model.behind.world is not None

    def __call__(
        self, pose_unit: Float[Tensor, "3 4"], xy: Float[Tensor, "rays 2"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mean absolute colour error of the points that count, and the same with the mask's term: what is minimised."""
        model, device = self.model, self.model.device
        along = self._rays.rays_at(torch.zeros(len(xy), dtype=torch.int64), xy).directions.to(device)
        directions = along @ pose_unit[:, :3].T
        rays = model.clipped(pose_unit[:, 3].expand_as(directions), directions)
        appearance = model.appearance.weight.mean(0).expand(len(rays), -1)
        surface, _ = model.render_surface(rays, appearance)
        behind = model.behind(rays, appearance)
        rendered = surface.colour + (1 - surface.opacity)[:, None] * behind

        column, row = xy.long().unbind(-1)
        colour = self._colour[row, column].to(device)
        mask = None if self._mask is None else self._mask[row, column].to(device)
        # Without a mask the photograph's object is taken to be where the rendered one is.
        shown = torch.ones_like(surface.opacity) if self._knows_all else surface.opacity if mask is None else mask
        target = shown[:, None] * colour + (1 - shown)[:, None] * behind
        # Points that both say are background prove nothing; they would only make the mean look good.
        counts = torch.maximum(shown, surface.opacity).detach()
        if counts.sum() < _LEAST_SEEN * len(xy):
            nothing = pose_unit.sum() * 0 + 1.0
            return nothing, nothing
        error = ((rendered - target).abs().mean(-1) * counts).sum() / counts.sum()
        return error, error if mask is None else error + _MASK_WEIGHT * silhouette_bce(surface.opacity, mask)


def replace_pose(camera: Cameras, pose: Float[Tensor, "3 4"]) -> Cameras:
    """A single camera with another pose."""
    moved = camera[:1] if camera.camera_to_worlds.ndim == 3 else camera.reshape((1,))
    moved.camera_to_worlds = pose.to(moved.camera_to_worlds)[None]
    return moved


def locate(model: NeusHashModel, photo: Photo, starts_unit: Float[Tensor, "starts 3 4"], plan: LocatePlan) -> Located:
    """The pose from which the model looks most like the photograph, sought from the start pose that fits best."""
    model.eval()
    compare = Comparison(model, photo)
    generator = torch.Generator().manual_seed(plan.seed)
    pool, even = pixel_pools(photo, plan)
    start = best_start(compare, starts_unit.to(model.device), drawn_points(even, _TRIAL_PIXELS, generator))
    sharpness = model.field.sharpness
    ceiling, trained_inv_s = sharpness.ceiling, float(sharpness())
    motion = torch.zeros(6, device=model.device, requires_grad=True)
    optimizer = torch.optim.Adam([motion], lr=plan.rate)
    needs_gradient = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        for step in range(plan.steps):
            progress = step / plan.steps
            optimizer.param_groups[0]["lr"] = exponential(progress, plan.rate, _LAST_RATE * plan.rate)
            # A blurred surface is seen by rays that miss it by a little, so its outline can pull from further away.
            sharpness.ceiling = exponential(2 * progress, min(_FIRST_INV_S, trained_inv_s), trained_inv_s)
            optimizer.zero_grad()
            half = plan.rays // 2
            points = [drawn_points(pool, plan.rays - half, generator), drawn_points(even, half, generator)]
            _, loss = compare(moved_poses(start, motion), torch.cat(points))
            loss.backward()
            optimizer.step()
        sharpness.ceiling = ceiling
        with torch.no_grad():
            pose = moved_poses(start, motion)
            error, _ = compare(pose, drawn_points(even, _FINAL_PIXELS, generator))
    finally:
        sharpness.ceiling = ceiling
        for parameter, needed in zip(model.parameters(), needs_gradient, strict=True):
            parameter.requires_grad_(needed)
    return Located(pose.cpu(), float(error))


def pixel_pools(photo: Photo, plan: LocatePlan) -> tuple[Int64[Tensor, "chosen 2"], Int64[Tensor, "all 2"]]:
    """The pixels of the chosen strategy, and all that could be chosen: those near the mask, if there is one.

    Half of the pixels are drawn from either: corners alone do not see the outline, which pulls from furthest away.
    """
    near = None if photo.mask is None else grown_mask(photo.mask, _MASK_REACH * max(photo.mask.shape))
    even = interesting_pixels(photo.rgb, near, "random")
    # What is not the object has corners as well, which no model of the object explains.
    chosen = even if plan.pixels == "random" else interesting_pixels(photo.rgb, photo.mask, plan.pixels)
    return chosen if len(chosen) >= _LEAST_POOL else even, even


@torch.no_grad()
def best_start(
    compare: Comparison, starts_unit: Float[Tensor, "starts 3 4"], xy: Float[Tensor, "rays 2"]
) -> Float[Tensor, "3 4"]:
    """The start pose with the least loss, of as many as are worth trying."""
    if len(starts_unit) == 1:
        return starts_unit[0]
    tried = starts_unit[:: -(-len(starts_unit) // _MOST_STARTS)]
    losses = [float(compare(pose, xy)[1]) for pose in tried]
    return tried[losses.index(min(losses))]
