"""neus-hash: NeuS rendering on a hash grid, marching only where the surface can be.

One step, in the order it happens:

    rays of nerfstudio's frame -> unit frame -> sections in occupied cells, refined where the weight is
    -> signed distance, gradient, feature -> alpha -> weights -> colour -> pixels, before the background -> losses
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import tyro
from jaxtyping import Bool, Float, Int64
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import Parameter

from neus_ns.data.frame import SceneFrame, transform_points
from neus_ns.data.grey_photos import GreyPhotos
from neus_ns.data.ground.plane import Plane
from neus_ns.data.region import SceneType
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.fields.surface_field import SurfaceField, SurfaceFieldConfig
from neus_ns.kernels.backend import BackendChoice, choose_backend
from neus_ns.kernels.packed import weights_from_alpha
from neus_ns.kernels.room import Room
from neus_ns.losses.geometric import below_bound, eikonal, normal_change, normal_variation, on_surface
from neus_ns.losses.photometric import colour_l1
from neus_ns.losses.silhouette import silhouette_bce
from neus_ns.models.appearance import Appearance
from neus_ns.models.behind import Behind
from neus_ns.models.border import cropped, depth_and_normals
from neus_ns.models.camera_poses import CameraPoses, CameraPosesConfig
from neus_ns.models.gloss import GlossWatch
from neus_ns.models.ground_witness import GroundWitness, Outline, before_random
from neus_ns.models.known_space import KnownPoints, KnownSpace
from neus_ns.models.loss_weights import LossWeights, terms_and_weights
from neus_ns.models.off_rays import OffRays, look_off_rays
from neus_ns.models.patch_witness import PatchConfig, PatchLoss, PatchWitness
from neus_ns.models.photographed import Photographed
from neus_ns.models.pictures import image_metrics_and_pictures
from neus_ns.models.samples import SurfaceSamples
from neus_ns.models.sampling import SamplingConfig
from neus_ns.models.scene_type import PRESETS, BackgroundChoice, background_for, suited_plain_times, suited_weights
from neus_ns.models.schedule import SurfaceSchedule
from neus_ns.rays.bounds import clip_to_unit_ball, without_sliding
from neus_ns.rays.look import look
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.refine import Allotment
from neus_ns.rays.sections import Rays, SampledRays
from neus_ns.rendering.composite import RenderedRays, composite
from neus_ns.rendering.neus import alpha_from_sdf, annealed_slope


@dataclass
class NeusHashModelConfig(ModelConfig):
    """Options of neus-hash."""

    _target: type = field(default_factory=lambda: NeusHashModel)
    scene_type: SceneType = "object"
    """What is photographed: an object from around it, a room from within, or something in a wide world."""
    background: BackgroundChoice = "auto"
    """What is behind the surface; auto: random colours with masks, a learned field without (nothing indoors)."""
    backend: BackendChoice = "auto"
    """Kernels to run: Warp where it can, else plain torch; tcnn: tiny-cuda-nn for the hash encoding, on CUDA."""
    appearance_width: int = 0
    """Numbers learned per photograph for exposure and white balance; 0 switches this off."""
    eval_num_rays_per_chunk: int = 8192
    """Rays rendered at once in evaluation."""
    sdf_field: SurfaceFieldConfig = field(default_factory=SurfaceFieldConfig)
    """Hash grid and networks."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Where rays are sampled."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    schedule: SurfaceSchedule = field(default_factory=SurfaceSchedule)
    """What changes while training."""
    cameras: CameraPosesConfig = field(default_factory=CameraPosesConfig)
    """Correction of the photographs' poses."""
    patches: PatchConfig = field(default_factory=PatchConfig)
    """How photographs are compared with one another."""
    # Inherited options that a surface in the unit ball has no use for.
    enable_collider: tyro.conf.Suppress[bool] = False
    collider_params: tyro.conf.Suppress[dict[str, float] | None] = None
    loss_coefficients: tyro.conf.Suppress[dict[str, float]] = field(default_factory=dict)
    prompt: tyro.conf.Suppress[str | None] = None


class NeusHashModel(Model):
    """NeuS on a hash grid."""

    config: NeusHashModelConfig
    progress: Tensor
    samples: int | None = None
    """Samples of the next training batch; None: as many as its rays come to. Set by the pipeline before each step."""
    _patches: PatchWitness | None = None

    def populate_modules(self) -> None:
        super().populate_modules()
        config, metadata = self.config, self.kwargs.get("metadata", {})
        preset = PRESETS[config.scene_type]
        self.has_masks = bool(metadata.get("has_masks", False))
        device = torch.device(self.kwargs.get("device", "cpu"))
        self.backends = choose_backend(config.backend, device.type)
        kernels = self.backends.kernels
        self.field = SurfaceField(
            config.sdf_field, preset.initial_radius, preset.inside_out, config.appearance_width, self.backends.encoding
        )
        self.behind = Behind(
            background_for(config.scene_type, config.background, self.has_masks), config.appearance_width, kernels
        )
        self.suit(self.has_masks)
        self.grid = OccupancyGrid(config.sampling.grid_resolution, config.sampling.grid_parts)
        self.known_space = KnownSpace(config.sampling.grid_resolution)
        self.ground = GroundWitness()
        self.gloss = GlossWatch(self.num_train_data)
        self.appearance = Appearance(self.num_train_data, config.appearance_width)
        self.camera_poses = CameraPoses(self.num_train_data) if config.cameras.optimise else None
        self._room = Room()
        self.plan = config.sampling.plan(finer=1)
        # A picture is looked at closely and without the averaging of many steps, so it gets more samples.
        self.evaluation_plan = config.sampling.plan(finer=2)
        self.register_buffer("progress", torch.tensor(0.0))
        self.set_progress(0.0)

    # What the pipeline tells the model.

    def suit(self, outlined: bool) -> None:
        """Choose what depends on whether all that rays meet is wanted, as known by masks or from before the ground."""
        weights = suited_weights(self.config.scene_type, self.config.weights, outlined)
        self.points_weight, self.plain_weight, self.black = weights.points, weights.smooth_plain, weights.black
        self.plain_times = suited_plain_times(self.config.scene_type, outlined)

    def enter_scene(
        self,
        frame: SceneFrame,
        allowed: Bool[Tensor, "res res res"] | None,
        tracks_parser: SfmTracks | None,
        views_parser: Views,
        ground_parser: Plane | None = None,
    ) -> None:
        """Take in the scene frame, which cells are allowed, who sees which points, and what there is to stand on."""
        self.field.set_frame(frame)
        self.ground.learn(None if ground_parser is None else ground_parser.moved(frame.unit_from_parser))
        self.suit(self.has_masks or self.ground.known)
        if self.camera_poses is not None:
            self.camera_poses.set_cameras(views_parser.moved(frame.unit_from_parser).world_from_camera)
        if allowed is not None:
            self.known_space.learn_hull(self.grid.restrict(allowed))
        if tracks_parser is not None:
            tracks, views = tracks_parser.moved(frame.unit_from_parser), views_parser.moved(frame.unit_from_parser)
            self.known_space.learn_points(tracks, views, self.grid.allowed)

    def enter_photographs(
        self, photos: Callable[[], GreyPhotos], views_parser: Views, tracks_parser: SfmTracks | None
    ) -> None:
        """Take in whole photographs, made when asked for, if they are to be compared; after the scene frame."""
        if self.config.weights.patches > 0:
            to_unit = self.field.frame.unit_from_parser
            tracks = None if tracks_parser is None else tracks_parser.moved(to_unit)
            views, kernels = views_parser.moved(to_unit), self.backends.kernels
            self._patches = PatchWitness(self.config.patches, photos(), views, tracks, self.grid, kernels)

    def set_progress(self, progress: float) -> None:
        """Set every schedule: called before each step, and once after a checkpoint is loaded."""
        schedule = self.config.schedule
        self.progress.fill_(progress)
        self.gloss.progress = progress
        self.slope_sharpness = schedule.slope_sharpness(progress)
        self.field.colour_network.view_strength = schedule.view_strength(progress, self.gloss.matt, self.has_masks)
        self.ground.covers = progress < schedule.covered_until
        self.points_strength = schedule.points_strength(progress)
        self.points_pull = self.points_weight * self.points_strength
        self.plain_limit = schedule.plain_limit(progress, *self.plain_times) if self.plain_weight > 0 else 0.0
        # Reflections agree about another surface than the true one.
        self.patches_strength = 0.0 if self.gloss.mirrors else schedule.patches_strength(progress)
        if self.camera_poses is not None:
            self.camera_poses.shifts_too = progress >= self.config.cameras.turn_only_until
        self.field.sharpness.ceiling = schedule.sharpness_ceiling(progress, self.config.sdf_field.initial_inv_s)
        grid = self.field.sdf_network.grid
        grid.set_active_levels(schedule.active_levels(progress, grid.layout.levels))

    def update_grid(self, everything: bool) -> None:
        """Let the occupancy grid follow the surface."""
        self.grid.update(self.field.sdf_network.sdf, self.field.sharpness().detach(), everything)

    def scatter_into_gradients(self) -> None:
        """Let the kernels add table gradients straight into `.grad`, which the optimiser keeps from step to step."""
        for table in self.get_param_groups()["tables"]:
            table.scatter_into_grad = True  # type: ignore[attr-defined]

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        field_ = self.field
        networks = [*field_.sdf_network.hidden.parameters(), *field_.sdf_network.output.parameters()]
        networks += [*field_.colour_network.parameters(), *self.behind.network_parameters()]
        if self.config.appearance_width:
            networks += [*self.appearance.parameters()]
        tables = [*field_.sdf_network.grid.parameters(), *self.behind.table_parameters()]
        groups = {"tables": tables, "networks": networks, "sharpness": [*field_.sharpness.parameters()]}
        return groups if self.camera_poses is None else groups | {"cameras": [*self.camera_poses.parameters()]}

    # One batch of rays.

    def unit_rays(self, bundle: RayBundle) -> Rays:
        """Rays of nerfstudio's frame in the unit frame, clipped to the region of interest.

        In training their photographs' corrections move them; elsewhere poses are what the caller says they are.
        """
        origins = transform_points(self.field.unit_from_parser, bundle.origins)
        directions = bundle.directions
        if self.camera_poses is not None and self.training and bundle.camera_indices is not None:
            origins, directions = self.camera_poses(origins, directions, bundle.camera_indices[:, 0])
        return self.clipped(origins, directions)

    def clipped(self, origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"]) -> Rays:
        """Rays of the unit frame; gradients reach their origins and directions, and not where they are looked at."""
        near = 0.02 if self.config.scene_type == "indoor" else 0.0
        stretch = clip_to_unit_ball(origins.detach(), directions.detach(), near)
        if origins.requires_grad:
            origins = without_sliding(origins, directions)
        return self.ground.ending(Rays(origins, directions, stretch.t_near, stretch.t_far))

    def refined_views(self, views_parser: Views) -> Views:
        """The training views, in nerfstudio's frame, where training has moved them to."""
        if self.camera_poses is None:
            return views_parser
        frame = self.field.frame
        return self.camera_poses.refined(views_parser.moved(frame.unit_from_parser)).moved(frame.parser_from_unit)

    def render_surface(
        self, rays: Rays, appearance: Float[Tensor, "rays embedding"]
    ) -> tuple[RenderedRays, SurfaceSamples]:
        """Colour, opacity, depth and normal of every ray, and what they are made of."""
        count = len(rays)
        shift = torch.rand(count, device=rays.origins.device) if self.training else rays.t_near.new_full((count,), 0.5)
        inv_s = self.field.sharpness()
        plan = self.plan if self.training else self.evaluation_plan
        # Only in training batches are alike enough that sizes can be known before they are worked out.
        allotment = Allotment(shift, self.samples, self._room) if self.training else Allotment(shift)
        found = look(rays, self.grid, self._sdf_only, inv_s.detach(), plan, allotment, self.backends.kernels)
        sections, index = found.sections, found.sections.ray_index
        points, directions = rays.points(sections), rays.directions[index]
        sample = self.field.sdf_network.sample(points)
        slope = annealed_slope((sample.gradient * directions).sum(-1), self.slope_sharpness)
        alpha = alpha_from_sdf(sample.sdf, slope, sections.length, inv_s)
        weights, _ = weights_from_alpha(alpha, index, count, self.backends.kernels)
        colour = self.field.colour_network(points, directions, sample.gradient, sample.feature, appearance[index])
        surface = composite(weights, colour, sections.t_middle, sample.gradient, index, count, self.backends.kernels)
        # What a surface must be like says nothing of poses: cameras would move to where its gradient is of unit length.
        gradient = sample.gradient if self.camera_poses is None else sample.gradient.detach()
        on_rays = SampledRays(rays, sections, sample.sdf)
        return surface, SurfaceSamples(
            points.detach(), gradient, weights.detach(), sample.laplacian, on_rays, found.wanted
        )

    @torch.no_grad()
    def _sdf_only(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        return self.field.sdf_network.sdf(points)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """nerfstudio's border: rays of its frame in; rgb, depth (in its units), normals and accumulation out."""
        rays, units = self.unit_rays(ray_bundle), self.field.frame.parser_units_per_unit
        appearance, seen = self.appearance.of(ray_bundle), rays if self.training else cropped(rays, ray_bundle, units)
        surface, samples = self.render_surface(seen, appearance)
        behind = self.behind(rays, appearance, self.ground.stops(rays))
        outputs = {
            "rgb": surface.colour + (1 - surface.opacity)[:, None] * behind,
            "accumulation": surface.opacity[:, None],
            "behind": behind,
        }
        if self.training:
            outputs |= {"gradient": samples.gradient, "samples": samples}
            outputs["off_rays"] = look_off_rays(self.field, self.draw_known(), samples, self.config.weights)
            if self._patches is not None and self.patches_strength > 0:
                assert ray_bundle.camera_indices is not None
                outputs["patches"] = self.compare_patches(samples, ray_bundle.camera_indices[:, 0])
        return outputs if self.training else outputs | depth_and_normals(surface, rays, units)

    @torch.no_grad()
    def surface_colour(
        self, points: Float[Tensor, "points 3"], normals: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points 3"]:
        """Colour of surface points seen along their normals, with the photographs' mean appearance."""
        sample = self.field.sdf_network.sample(points)
        appearance = self.appearance.mean(len(points))
        return self.field.colour_network(points, -normals, sample.gradient, sample.feature, appearance)

    def draw_known(self) -> KnownPoints:
        """Random points where something is known, of what counts now."""
        # Fog before a camera within the scene explains its photograph; to the end sightlines say that there is none.
        in_sight = self.points_strength > 0 or PRESETS[self.config.scene_type].inside_out
        return self.known_space.draw_few(in_sight, surface=self.points_pull > 0)

    def compare_patches(self, samples: SurfaceSamples, view: Int64[Tensor, " rays"]) -> PatchLoss:
        """How far photographs disagree about the surface that rays of these views meet."""
        assert self._patches is not None
        if self.camera_poses is None:
            return self._patches.loss(samples.on_rays, samples.gradient, view, None)
        self._patches.move_cameras(self.camera_poses.refined)
        return self._patches.loss(samples.on_rays, samples.gradient, view, self.field.sdf_network.sdf)

    # What is wrong with it.

    def target_colour(self, outputs: dict[str, Any], batch: dict[str, Any]) -> Float[Tensor, "rays 3"]:
        """What the rendering should be, before the same background."""
        return Photographed.of(batch, self.has_masks, self.device).before(outputs["behind"])

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Every loss term, weighted; in training the metrics also show each before its weight, and every weight."""
        weights = self.config.weights
        counting = Photographed.of(batch, self.has_masks, self.device).counting(self.black, weights.colour_plain)
        opacity, rgb = outputs["accumulation"][:, 0], outputs["rgb"]
        if "ground" in batch:
            rgb = before_random(rgb, opacity, outputs["behind"], self.ground.told(batch["ground"].to(self.device)))
        colour, outputs["ray_error"] = colour_l1(rgb, self.target_colour(outputs, batch), counting)
        losses = {"colour": weights.colour * colour}
        if self.has_masks or "ground" in batch:
            losses |= self.mask_losses(opacity, self.outline(batch))
        if "off_rays" in outputs:
            losses |= self.geometry_losses(outputs, batch)
            if metrics_dict is not None:
                metrics_dict.update(terms_and_weights(losses, self.term_weights()))
        return losses

    def term_weights(self) -> dict[str, float]:
        """What each loss term is multiplied by at this point of the training."""
        weights = self.config.weights
        silhouette = {"mask": weights.mask} if self.has_masks or self.ground.known else {}
        return silhouette | {
            "colour": weights.colour,
            "eikonal": weights.eikonal,
            "free_space": weights.free_space,
            "smooth": weights.smooth,
            "flat": weights.smooth * self.plain_weight if self.plain_limit > 0 else 0.0,
            "points": self.points_pull,
            "patches": weights.patches * self.patches_strength,
        }

    def outline(self, batch: dict[str, Any]) -> Outline:
        """Which rays meet the object, by masks or before the ground."""
        return Outline.of((batch["fg_mask"] if self.has_masks else self.ground.told(batch["ground"])).to(self.device))

    def mask_losses(self, opacity: Float[Tensor, " rays"], outline: Outline) -> dict[str, Tensor]:
        """What the silhouette must be like."""
        return {"mask": self.config.weights.mask * silhouette_bce(opacity, outline.mask, outline.sure)}

    def geometry_losses(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the distance must be like whatever the photographs show, and where something is known of it."""
        weights = self.config.weights
        off_rays: OffRays = outputs["off_rays"]
        sample, known, on_rays = off_rays.sample, off_rays.known, off_rays.gradient_on_rays
        apart = self.camera_poses is not None
        gradient = sample.gradient if apart else torch.cat([outputs["gradient"], sample.gradient])
        losses = {"eikonal": weights.eikonal * eikonal(gradient)}
        free, surface = off_rays.sdf_at_known
        if len(on_rays):
            losses["smooth"] = weights.smooth * normal_change(on_rays, off_rays.gradient_beside)
        if len(on_rays) and "plain" in batch:
            plain = batch["plain"].to(self.device)[off_rays.ray_index]
            turns = normal_variation(on_rays, off_rays.gradient_beside, plain)
            losses["flat"] = weights.smooth * self.plain_weight * turns
        if len(surface):
            losses["points"] = self.points_pull * on_surface(surface)
        if len(free):
            losses["free_space"] = weights.free_space * below_bound(free, known.bound)
        if "patches" in outputs:
            losses["patches"] = weights.patches * self.patches_strength * outputs["patches"].value
        return losses

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the log shows beside the losses."""
        if "gradient" not in outputs:
            return {}
        error = outputs["colour_error"] = (outputs["rgb"] - self.target_colour(outputs, batch)).detach()
        patches = {"patches_used": outputs["patches"].used} if "patches" in outputs else {}
        return patches | {
            "psnr": -10 * torch.log10(error.square().mean()),
            "inv_s": self.field.sharpness().detach(),
            "view_strength": torch.tensor(self.field.colour_network.view_strength),
            "active_levels": self.field.sdf_network.grid.active_levels,
            "occupied_share": self.grid.share,
            "samples_per_ray": torch.tensor(len(outputs["gradient"]) / max(len(error), 1)),
            "rays": torch.tensor(float(len(error))),
        }

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Figures and pictures of one evaluated photograph, and a slice through the signed distance."""
        return image_metrics_and_pictures(outputs, batch, self._sdf_only, self.device)

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Colour and opacity: nerfstudio's exporters keep what is opaque."""
        return torch.cat((outputs[output_name], outputs["accumulation"]), dim=-1)
