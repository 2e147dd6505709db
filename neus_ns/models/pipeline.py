"""The pipeline: the one place that owns both the photographs and the model.

It makes the scene frame once, tells the sampler the error of the rays it proposed, keeps the number of samples per step
level, and hands the trained surface to the exporters.
"""

import json
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from neus_ns.data.datamanager import SurfaceDataManager, SurfaceDataManagerConfig
from neus_ns.data.frame import SceneFrame, agree
from neus_ns.data.grey_photos import grey_photos
from neus_ns.data.ground.find import Ground, find_ground
from neus_ns.data.ground.room import above
from neus_ns.data.hull import carve
from neus_ns.data.photograph_scale import longest_side
from neus_ns.data.region_options import RegionOptions
from neus_ns.data.report.facts import frame_facts
from neus_ns.data.report.write import SceneReport, scene_report
from neus_ns.data.survey import Survey, survey
from neus_ns.data.views import Views
from neus_ns.errors import InputError
from neus_ns.kernels.resting import let_waiting_threads_sleep
from neus_ns.models.drawn_view import ViewerPicture
from neus_ns.models.gloss import AREAS_ACROSS
from neus_ns.models.ground_witness import with_ground
from neus_ns.models.memory_need import Photographs
from neus_ns.models.neus_hash import NeusHashModel, NeusHashModelConfig
from neus_ns.models.option_limits import check_options
from neus_ns.models.preset_choice import choose_sizes, finest_known
from neus_ns.models.preset_names import PresetChoice
from neus_ns.models.sample_level import SampleLevel
from neus_ns.models.sizes import refuse_other_meaning, sizes_of, take_over, what_tensors_mean
from neus_ns.pixels.drawn import DrawnPixels
from neus_ns.surface.source import SurfaceSource

# Half a pixel of blur, one of calibration error: what a mask's outline may be off by.
_MASK_MARGIN_PX = 2.0
_FRAME_NAME = "scene_frame.json"
# How often the viewer gets a new picture of where rays fall: every few seconds, and no share of the time to speak of.
_STEPS_PER_PICTURE = 200


def surface_pipeline(pipeline: object) -> "SurfacePipeline":
    """The pipeline of one of our methods, for callers to whom nerfstudio hands a more general type."""
    assert isinstance(pipeline, SurfacePipeline)
    return pipeline


@dataclass
class SurfacePipelineConfig(VanillaPipelineConfig):
    """Photographs and model, joined."""

    _target: type = field(default_factory=lambda: SurfacePipeline)
    datamanager: SurfaceDataManagerConfig = field(default_factory=SurfaceDataManagerConfig)
    """Photographs, masks, poses and the choice of pixels."""
    model: NeusHashModelConfig = field(default_factory=NeusHashModelConfig)
    """The surface model."""
    region: RegionOptions = field(default_factory=RegionOptions)
    """Where the surface is looked for. Found from masks, SfM points or cameras if nothing is given."""
    ground: bool = True
    """Find what an object without masks stands on, if that is a plane with some pattern: photographs that agree about
    it see past the object, which serves as masks do, and the plane is no part of the surface."""
    preset: PresetChoice = "cpu"
    """Sizes of the hash grid, the networks and a step: auto takes the largest set that fits into the memory that is
    free, and `cpu` on a processor; given takes every size from the options, which otherwise only count where they are
    not at their defaults."""
    samples_per_step: int = 12288
    """Samples that a training step evaluates, half at first (`model.schedule.batch_first`); the number of rays follows
    (0: keep the sampler's own number)."""
    max_rays: int = 8192
    """The most rays of a training step, however few samples they need."""

    def take_over(self, pipeline_state: dict[str, Any]) -> None:
        """Let a checkpoint decide about sizes before the pipeline that is to load it is made."""
        saved = pipeline_state.get("_extra_state", {})
        take_over(self, saved.get("sizes"))
        photographs = self.datamanager
        if photographs.camera_res_scale_factor is None and photographs.longest_side is None:
            # What the sampler remembers is of these pixels. Older runs read photographs in full.
            scale, photographs.longest_side = saved.get("photographs_read", (1.0, None))
            photographs.camera_res_scale_factor = scale


@dataclass
class _Made:
    """In the place of a datamanager's configuration: one that is there already."""

    manager: SurfaceDataManager

    def setup(self, **kwargs: Any) -> SurfaceDataManager:
        del kwargs
        return self.manager


class SurfacePipeline(VanillaPipeline):
    """nerfstudio's pipeline with a scene frame, sampler feedback and a level number of samples."""

    config: SurfacePipelineConfig
    datamanager: SurfaceDataManager
    _report: SceneReport
    # The frame that all that is in no checkpoint is in; none where nothing is trained.
    _entered: SceneFrame | None = None

    def __init__(
        self, config: SurfacePipelineConfig, device: torch.device | str, test_mode: Any = "val", **kwargs: Any
    ) -> None:
        let_waiting_threads_sleep()
        check_options(config)
        if config.datamanager.longest_side is None:
            config.datamanager.longest_side = longest_side(finest_known(config, torch.device(device)))
        # Made first, because what they leave free decides about the model's sizes.
        ranks = {name: kwargs[name] for name in ("world_size", "local_rank") if name in kwargs}
        manager = config.datamanager.setup(device=device, test_mode=test_mode, **ranks)
        if test_mode == "val":
            photographs = Photographs(manager.train_store.num_pixels, manager.has_masks)
            CONSOLE.log(choose_sizes(config, photographs, torch.device(device)))
            # Whoever loads the finished run then knows without a look at the photographs, which may be gone.
            config.datamanager.masks = manager.has_masks
        with_photographs = copy(config)
        with_photographs.datamanager = cast(SurfaceDataManagerConfig, _Made(manager))
        super().__init__(with_photographs, str(device), test_mode=test_mode, **kwargs)
        self.config = config
        self._level = SampleLevel(config.samples_per_step, config.max_rays)
        self._heard_gloss = False
        self.drawn: DrawnPixels | None = None
        self.drawn_view = ViewerPicture("Where rays fell lately: white 16 times the mean, black a 16th or less")
        if test_mode == "val":
            self.drawn = DrawnPixels(self.datamanager.train_store)
            self._enter_scene()
            CONSOLE.log(self.surface_model.backends.reason)
            self.set_progress(0.0)
            if self.world_size == 1:
                # Under DDP its hooks must see the gradients, so there they take the ordinary way.
                self.surface_model.scatter_into_gradients()
            self._warm_up()

    @property
    def surface_model(self) -> NeusHashModel:
        model = self.model
        assert isinstance(model, NeusHashModel)
        return model

    def _enter_scene(self, checkpoint: SceneFrame | None = None) -> None:
        """Find the region of interest, or take a checkpoint's, and all that follows from it and is in no checkpoint."""
        manager, model = self.datamanager, self.surface_model
        cameras = model.config.cameras
        pose_error = cameras.largest_error if cameras.optimise else 0.0
        scene = survey(manager, model.config.scene_type, self.config.region, pose_error, checkpoint)
        self._report = scene_report(manager, scene)
        allowed = None
        if scene.views.masks is not None and model.config.scene_type != "indoor":
            centre, radius = scene.region.centre, scene.region.radius
            allowed = carve(scene.views, centre, radius, model.grid.resolution, _MASK_MARGIN_PX, unseen=False)
        ground, tracks = self._ground(scene), scene.tracks
        if ground is not None:
            allowed = ground.allowed
            tracks = None if tracks is None else above(ground.plane, tracks, scene.region)
        manager.ground_labels = None if ground is None else ground.labels.to(manager.train_store.device)
        model.enter_scene(scene.frame, allowed, tracks, scene.views, None if ground is None else ground.plane)
        photos = partial(grey_photos, manager.train_store, manager.train_dataset.cameras)
        model.enter_photographs(photos, scene.views, scene.tracks)
        self._entered = scene.frame

    def _ground(self, scene: Survey) -> Ground | None:
        """What an object without masks stands on, if that is asked for and can be told."""
        manager, model = self.datamanager, self.surface_model
        # Where photographs are not alike, or not where they are said to be, they agree about nothing.
        alike = model.config.appearance_width == 0 and model.camera_poses is None
        # What rays that end on the ground show, the world behind the surface has to learn.
        wanted = self.config.ground and model.config.scene_type == "object" and model.behind.world is not None
        if not (wanted and alike) or manager.has_masks:
            return None
        cells = model.grid.resolution
        ground = find_ground(manager.train_store, manager.train_ray_generator, scene.points, scene.region, cells)
        if ground is not None:
            CONSOLE.log(
                f"the object stands on a plane, which {ground.share:.0%} of all pixels show: these serve as masks, and "
                "the plane is no part of the surface (--pipeline.ground False leaves it there)"
            )
        return ground

    def _return_to_checkpoint(self, entered: SceneFrame) -> None:
        """Where the region of interest that a checkpoint was trained in is not the one found now, enter that."""
        loaded = self.surface_model.field.frame
        if not agree(loaded.world_from_parser, entered.world_from_parser):
            raise InputError(
                f"The cameras of {self.datamanager.get_datapath()} do not stand where they stood when this checkpoint "
                "was trained: their poses, or how nerfstudio centres and scales them, have changed. Resume with those "
                "of then, or train anew."
            )
        if not agree(loaded.parser_from_unit, entered.parser_from_unit):
            self._enter_scene(loaded)
            CONSOLE.log(f"region of interest: {self._report.facts.region_how}")

    def write_scene(self, folder: Path) -> None:
        """Print the scene report, and put it into a run's folder with the frame that the run is in."""
        self._report.print(CONSOLE)
        self._report.write(folder)
        frame = self.surface_model.field.frame
        text = json.dumps(frame_facts(frame, self._report.facts.region_how), indent=2, ensure_ascii=False)
        (folder / _FRAME_NAME).write_text(text, encoding="utf-8")

    def _warm_up(self) -> None:
        """One step that nobody hears of, so that kernels are compiled before the training clock starts."""
        with torch.random.fork_rng():
            self.train()
            _, losses, _ = super().get_train_loss_dict(0)
            sum(losses.values(), torch.zeros((), device=self.device)).backward()
        self.zero_grad(set_to_none=True)
        self.datamanager.train_count = 0
        self._shoot(self.datamanager.config.train_num_rays_per_batch)

    # Training.

    def set_progress(self, progress: float) -> None:
        """Set every schedule of the model by the share of training that is done."""
        self.surface_model.set_progress(progress)
        self._level.share = self.config.model.schedule.batch_share(progress)
        self.datamanager.set_progress(progress, self.surface_model.gloss.shines)
        self.datamanager.plain_limit = self.surface_model.plain_limit

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
        """One batch; its errors go back to the sampler, and its sample count decides how many rays come next."""
        outputs, losses, metrics = super().get_train_loss_dict(step)
        gloss = self.surface_model.gloss
        if gloss.listening:
            rendered, error = outputs["rgb"].detach().mean(-1), outputs["colour_error"].mean(-1)
            even, area = self.datamanager.even_weight(error.device), self.datamanager.last_areas(AREAS_ACROSS)
            gloss.hear(rendered, rendered - error, outputs["accumulation"][:, 0], even, area)
            self._heard_gloss = True
        elif self._heard_gloss and gloss.known:
            CONSOLE.log(gloss.sentence())
            self._heard_gloss = False
        self.datamanager.observe(outputs["ray_error"])
        if self.drawn is not None and self.datamanager.last_pixels is not None:
            self.drawn.note(self.datamanager.last_pixels.indices)
        self._level.hear(outputs["samples"].wanted, len(outputs["rgb"]))
        self._shoot(self._level.rays(self.datamanager.get_train_rays_per_batch()))
        return outputs, losses, metrics

    def _shoot(self, rays: int) -> None:
        """The next batch has so many rays, and as many samples as these should come to."""
        sampler = self.datamanager.train_pixel_sampler
        assert sampler is not None
        sampler.set_num_rays_per_batch(rays)
        self.surface_model.samples = self._level.samples(rays)

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """The occupancy grid follows the surface, and the viewer the choice of pixels."""
        model = self.surface_model

        def follow(step: int) -> None:
            model.update_grid(everything=step == 0)

        def show_drawn(step: int) -> None:
            if self.drawn is not None and self.drawn_view.installed:
                self.drawn_view.show(self.drawn.picture())

        every = model.config.sampling.grid_every
        before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        return [
            TrainingCallback([before], follow, update_every_num_iters=every),
            TrainingCallback([after], show_drawn, update_every_num_iters=_STEPS_PER_PICTURE),
        ]

    def get_eval_image_metrics_and_images(self, step: int) -> tuple[dict[str, float], dict[str, Tensor]]:
        """As nerfstudio's, with a picture of where on the training photographs rays have fallen lately."""
        figures, pictures = super().get_eval_image_metrics_and_images(step)
        return figures, pictures if self.drawn is None else pictures | {"drawn_pixels": self.drawn.picture()}

    # State that lives in the checkpoint beside the parameters.

    def get_extra_state(self) -> dict[str, Any]:
        """The running number of samples per ray, the number of rays that came of it, where rays fell lately, the sizes,
        those of photographs included, and options that tensors are read by; the sampler keeps its own."""
        rays = self.datamanager.get_train_rays_per_batch()
        per_ray = torch.tensor(self._level.per_ray, dtype=torch.float64)
        state: dict[str, Any] = {"samples_per_ray": per_ray, "rays": torch.tensor(rays)}
        state |= {"sizes": asdict(sizes_of(self.config)), "meant": what_tensors_mean(self.config.model)}
        photographs = self.config.datamanager
        state["photographs_read"] = photographs.camera_res_scale_factor, photographs.longest_side
        return state if self.drawn is None else state | {"drawn": self.drawn.counts.clone()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up where `get_extra_state` left off."""
        refuse_other_meaning(state.get("meant", {}), what_tensors_mean(self.config.model))
        self._level.per_ray = float(state["samples_per_ray"])
        if self.datamanager.train_pixel_sampler is not None:
            self.datamanager.train_pixel_sampler.set_num_rays_per_batch(int(state["rays"]))
        if self.drawn is not None and "drawn" in state and state["drawn"].shape == self.drawn.counts.shape:
            # Only a picture hangs on these counts: a checkpoint without them, or of other photographs, starts anew.
            self.drawn.counts.copy_(state["drawn"])

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Load a checkpoint, and set the schedules to where it was in its training."""
        super().load_pipeline(with_ground(loaded_state), step)
        had_ground = self.surface_model.ground.known
        if self._entered is not None:
            self._return_to_checkpoint(self._entered)
        if not had_ground:
            # A run that began without it goes on so.
            self.datamanager.ground_labels = None
            self.surface_model.ground.learn(None)
            self.surface_model.suit(self.surface_model.has_masks)
        self.set_progress(float(self.surface_model.progress))
        if self.datamanager.train_pixel_sampler is not None:
            self._shoot(self.datamanager.get_train_rays_per_batch())

    # Export.

    def views_world(self, masks: bool) -> Views:
        """The training views in the user's world, where training has moved them to; with masks if there are any."""
        views = self.datamanager.views_parser(masks=masks)
        # In float64, since the world's origin may be far from the scene.
        views = replace(views, world_from_camera=views.world_from_camera.double())
        return self.surface_model.refined_views(views).moved(self.surface_model.field.frame.world_from_parser)

    def surface_source(self) -> SurfaceSource:
        """The trained surface, for the exporters."""
        model = self.surface_model
        model.eval()

        def colour(points: Float[Tensor, "points 3"], normals: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
            return model.surface_colour(points, normals)

        model.update_grid(everything=True)
        return SurfaceSource(
            sdf_fn=model.field.sdf_network.sdf,
            colour_fn=colour,
            may_hold_surface=model.grid.occupied,
            frame=model.field.frame,
            views=self.views_world(masks=True),
        )
