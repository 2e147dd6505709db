"""nerfstudio's datamanager over a pixel store: checks the capture, hands out rays and pixels, hears their errors."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from jaxtyping import Float, Int64, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.data.utils.nerfstudio_collate import nerfstudio_collate
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from neus_ns.data.camera_rays import CameraRays
from neus_ns.data.checks_distortion import check_distortion_undoes
from neus_ns.data.checks_files import check_outline
from neus_ns.data.checks_splits import require_two
from neus_ns.data.contrast import plain_all_around
from neus_ns.data.dataset import SurfaceDataset
from neus_ns.data.free_memory import require_room_for_photographs
from neus_ns.data.photograph_scale import LONGEST_SIDE, suited_scales
from neus_ns.data.pinhole_views import pinhole_views
from neus_ns.data.pixel_store import PixelStore, store_dataset
from neus_ns.data.region import Region
from neus_ns.data.sources.auto import AutoDataParserConfig, format_name
from neus_ns.data.sources.masks import with_masks
from neus_ns.data.sources.settle import settled
from neus_ns.data.tracks.find import object_tracks, possible_frames, recorded_tracks
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.tracks.sources import TrainingPhotos
from neus_ns.data.views import Views
from neus_ns.data.world import applied_to_capture
from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch, SurfacePixelSampler
from neus_ns.pixels.choice import PixelSamplerChoice
from neus_ns.pixels.textured_error import TexturedErrorPixelSamplerConfig
from neus_ns.pixels.uniform import UniformPixelSamplerConfig


@dataclass
class SurfaceDataManagerConfig(VanillaDataManagerConfig):
    """Photographs as a pixel store. nerfstudio's options for its cache of float images, never built, are hidden."""

    _target: type = field(default_factory=lambda: SurfaceDataManager)
    """Target class to instantiate."""
    dataparser: AnnotatedDataParserUnion = field(default_factory=AutoDataParserConfig)
    """Reader of the capture; auto-data recognises the format."""
    pixel_sampler: PixelSamplerChoice = field(default_factory=TexturedErrorPixelSamplerConfig)
    """Which pixels of the training photographs get a ray: half of them where renderings of texture and edges were wrong
    lately; all evenly from 30 % of the training on, if what is photographed shines."""
    train_num_rays_per_batch: int = 1024
    """Rays of the first batch; of all, if --pipeline.samples-per-step is 0 and so leaves their number alone."""
    camera_res_scale_factor: float | None = None  # type: ignore[assignment]
    """How large photographs are read, next to their files; None: in full, but no larger than `longest_side`."""
    longest_side: int | None = None
    """How many pixels the larger side of a photograph is read with at most; None: as many as the finest cells of the
    hash grid need, 800 for 512 cells and 1600 for 1024 and more."""
    masks: bool = True
    """Use the capture's foreground masks, where there are any; without them, all that is in the region of interest is
    surface."""
    images_on_gpu: bool = True
    """Keep the photographs in GPU memory (4 bytes a pixel, masks included); without, each batch is copied there."""
    # Inherited options that a store of whole photographs has no use for: kept from the command line.
    masks_on_gpu: tyro.conf.Suppress[bool] = True
    train_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    train_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    eval_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_image_indices: tyro.conf.Suppress[tuple[int, ...] | None] = (0,)
    collate_fn: tyro.conf.Suppress[Any] = staticmethod(nerfstudio_collate)
    patch_size: tyro.conf.Suppress[int] = 1


class SurfaceDataManager(VanillaDataManager[SurfaceDataset]):
    """Differs from its parent in how pixels are stored, picked and turned into rays; the datasets are the parent's."""

    config: SurfaceDataManagerConfig
    train_pixel_sampler: SurfacePixelSampler | None = None
    eval_pixel_sampler: SurfacePixelSampler | None = None
    train_store: PixelStore
    last_pixels: PixelBatch | None = None
    """Those of the last next_train."""
    ground_labels: UInt8[Tensor, " pixels"] | None = None
    """What training pixels show of what an object without masks stands on, if that is known."""
    plain_limit: float = 0.0
    """Contrast in grey levels below which batches call their photographs plain; 0: they do not, for it takes time."""

    def __init__(
        self,
        config: SurfaceDataManagerConfig,
        device: torch.device | str = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **kwargs,
    ) -> None:
        data = Path(config.dataparser.data if config.data is None else config.data)
        # A finished run must load where its photographs are no longer at hand, so inference only asks for the poses.
        self._reads_photographs = test_mode != "inference"
        config = replace(config, dataparser=settled(config.dataparser, data, self._reads_photographs))
        super().__init__(config, device, test_mode, world_size, local_rank, **kwargs)
        if (torch.linalg.det(self.train_dataset.cameras.camera_to_worlds[:, :, :3]) < 0).any():
            # nerfstudio's "pca" orientation flips two cameras where it means to flip two axes.
            raise InputError(
                f"{data}: orienting the poses mirrored some cameras; choose another "
                "--pipeline.datamanager.dataparser.orientation-method than pca (up is the default)."
            )

    def create_train_dataset(self) -> SurfaceDataset:
        """The training photographs, with masks that only this plugin finds."""
        # Exporters and the pipeline read the transform and the region from this attribute.
        # A finished run whose photographs are gone had masks, or its configuration would say that it had none.
        gone = not self._reads_photographs and not self._photographs_are_there(self.train_dataparser_outputs)
        wanted = False if not self.config.masks else True if gone else None
        self.train_dataparser_outputs, dataset = self._dataset(self.train_dataparser_outputs, wanted)
        require_two(dataset.image_filenames, self.get_datapath())
        check_distortion_undoes(dataset.cameras, dataset.image_filenames, self.get_datapath())
        masks = self.train_dataparser_outputs.mask_filenames
        if self._reads_photographs and masks:
            check_outline(masks, self.get_datapath())
        return dataset

    def create_eval_dataset(self) -> SurfaceDataset:
        """The evaluation photographs, likewise."""
        outputs = self.dataparser.get_dataparser_outputs(split=self.test_split)
        # The model is built for what the training photographs have, so batches of these have to have the same.
        return self._dataset(outputs, self.has_masks)[1]

    def _photographs_are_there(self, outputs: DataparserOutputs) -> bool:
        return all(path.is_file() for path in [*outputs.image_filenames, *(outputs.mask_filenames or [])])

    def _dataset(self, outputs: DataparserOutputs, masks: bool | None) -> tuple[DataparserOutputs, SurfaceDataset]:
        """The photographs with or without masks, or, for None, with those that they have."""
        found = replace(outputs, mask_filenames=None) if masks is False else with_masks(outputs, self.get_datapath())
        outputs = replace(found, metadata={**found.metadata, "crop_radius": self._crop_radius(found)})
        dataset = SurfaceDataset(outputs, self._scales(outputs), masks)
        if self._reads_photographs:
            dataset.check_files()
        return outputs, dataset

    def _scales(self, outputs: DataparserOutputs) -> Float[Tensor, "views 1"]:
        """How large each photograph is read, next to its file."""
        cameras, said = outputs.cameras, self.config.camera_res_scale_factor
        if said is not None:
            return torch.full(cameras.width.shape, said, dtype=torch.float64)
        scales = suited_scales(cameras, self.config.longest_side or LONGEST_SIDE)
        # Image circles have one radius for all.
        return scales if outputs.metadata["crop_radius"] is None or not len(scales) else scales.min().expand_as(scales)

    def _crop_radius(self, outputs: DataparserOutputs) -> float | None:
        """The radius of a fisheye's image circle in pixels of the files: nerfstudio reports that of the full size."""
        radius = (outputs.cameras.metadata or {}).get("fisheye_crop_radius")
        return None if radius is None else radius / (getattr(self.dataparser, "downscale_factor", None) or 1)

    def setup_train(self) -> None:
        sizes = [self.train_dataset.size_of(view) for view in range(len(self.train_dataset))]
        pixels = sum(width * height for width, height in sizes)
        scale = float(self.train_dataset.scales.min())
        require_room_for_photographs(pixels, scale, self.has_masks, torch.device(self._store_device))
        self.train_store = store_dataset(self.train_dataset, self._store_device)
        self.train_dataset.take_from(self.train_store.photo_and_foreground)
        if not self.train_store.shows_object:
            raise InputError(
                f"The masks of all training photographs of {self.get_datapath()} are empty; mark the object by bright "
                "pixels (or keep it by alpha), or remove the masks from the capture."
            )
        self.train_pixel_sampler = self.config.pixel_sampler.setup(
            num_rays_per_batch=self.config.train_num_rays_per_batch
        )
        self.train_ray_generator = CameraRays(self.train_dataset.cameras.to(self.device))

    def setup_eval(self) -> None:
        # Evaluation always draws evenly: an adaptive sampler knows nothing of these photographs, and its error
        # estimates would not compare between strategies.
        self.eval_pixel_sampler = UniformPixelSamplerConfig().setup(
            num_rays_per_batch=self.config.eval_num_rays_per_batch
        )
        self.eval_ray_generator = CameraRays(self.eval_dataset.cameras.to(self.device))
        # Now rather than at the first evaluation, in the middle of a training.
        self.eval_dataset.check_decodes()

    @property
    def _store_device(self) -> torch.device | str:
        return self.device if self.config.images_on_gpu else "cpu"

    @cached_property
    def eval_store(self) -> PixelStore:
        """The evaluation photographs, read when the first batch of them is asked for."""
        return store_dataset(self._eval_photos(), self._store_device)

    @cached_property
    def eval_dataloader(self) -> RandIndicesEvalDataloader:
        """Random whole evaluation photographs."""
        return RandIndicesEvalDataloader(input_dataset=self._eval_photos(), device=self.device)

    @cached_property
    def fixed_indices_eval_dataloader(self) -> FixedIndicesEvalDataloader:
        """Every evaluation photograph in turn."""
        return FixedIndicesEvalDataloader(input_dataset=self._eval_photos(), device=self.device)

    def _eval_photos(self) -> SurfaceDataset:
        if len(self.eval_dataset) == 0:
            raise InputError(
                f"No photographs of {self.get_datapath()} are set apart for evaluation; lower the dataparser's "
                "--train-split-fraction or list some as `val_filenames` and `test_filenames` in transforms.json."
            )
        return self.eval_dataset

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """Rays and pixels of a step: `image`, `fg_mask` (with masks), `indices`, `pixel_weight`, `plain` (if told),
        `ground` (if known)."""
        self.train_count += 1
        assert self.train_pixel_sampler is not None
        pixels = self.train_pixel_sampler.propose(self.train_store, self.train_pixel_sampler.num_rays_per_batch)
        self.last_pixels = pixels
        batch = self._batch(self.train_store, pixels)
        if self.ground_labels is not None:
            batch["ground"] = self.ground_labels.index_select(0, pixels.flat).to(self.device)
        return self._rays(pixels), batch

    def _rays(self, pixels: PixelBatch) -> RayBundle:
        """Rays through the pixels; the loss's gradient flows to their positions where the sampler asks for it."""
        if pixels.positions is None:
            return self.train_ray_generator(pixels.indices)
        device = self.train_ray_generator.cameras.device
        return self.train_ray_generator.rays_at(pixels.indices[:, 0].to(device), pixels.positions.to(device))

    def set_progress(self, progress: float, shines: bool) -> None:
        """Tell the sampler what share of training is done, and whether what is photographed shines."""
        if self.train_pixel_sampler is not None:
            self.train_pixel_sampler.set_progress(progress, shines)

    def next_eval(self, step: int) -> tuple[RayBundle, dict]:
        """As next_train, from the evaluation photographs."""
        self.eval_count += 1
        store = self.eval_store
        assert self.eval_pixel_sampler is not None
        pixels = self.eval_pixel_sampler.propose(store, self.eval_pixel_sampler.num_rays_per_batch)
        return self.held_out_rays(pixels.flat)

    def held_out_rays(self, flat: Int64[Tensor, " rays"]) -> tuple[RayBundle, dict]:
        """As next_eval, through these pixels of the evaluation store."""
        store = self.eval_store
        pixels = PixelBatch(store.locate(flat), flat, torch.ones(len(flat), device=store.device))
        return self.eval_ray_generator(pixels.indices), self._batch(store, pixels)

    def next_eval_image(self, step: int) -> tuple[Cameras, dict]:
        return next(self.eval_dataloader)

    def _batch(self, store: PixelStore, pixels: PixelBatch) -> dict[str, Tensor]:
        rgb, foreground = store.gather(pixels.flat)
        if pixels.positions is not None:
            # The photograph changes with the position too. This adds nothing to the colours but that gradient.
            moved = pixels.positions - pixels.positions.detach()
            rgb = rgb + (store.colour_slope(pixels.indices) @ moved[:, :, None])[:, :, 0]
        batch = {"image": rgb, "indices": pixels.indices, "pixel_weight": pixels.weight[:, None]}
        if foreground is not None:
            batch["fg_mask"] = foreground
        if self.plain_limit > 0:
            plain = plain_all_around(store, pixels, self.plain_limit)
            # What is not of the object says nothing of its surface.
            batch["plain"] = plain if foreground is None else plain * foreground[:, 0]
        return {key: value.to(self.device) for key, value in batch.items()}

    def observe(self, errors: Float[Tensor, " rays"]) -> None:
        """Tell the sampler the errors of the rays of the last next_train."""
        sampler, pixels = self._last_proposal()
        sampler.observe(pixels, errors.to(pixels.flat.device))

    def even_weight(self, device: torch.device) -> Float[Tensor, " rays"]:
        """What the pixels of the last next_train count in a mean as if they had been drawn evenly."""
        sampler, pixels = self._last_proposal()
        return sampler.even_weight(pixels).to(device)

    def last_areas(self, across: int) -> Int64[Tensor, " rays"]:
        """Which of all photographs' areas, `across` by `across` in each, every pixel of the last next_train lies in."""
        return self.train_store.areas(self._last_proposal()[1].indices, across).to(self.device)

    def _last_proposal(self) -> tuple[SurfacePixelSampler, PixelBatch]:
        if self.train_pixel_sampler is None or self.last_pixels is None:
            raise RuntimeError("Errors were reported before any training rays were handed out.")
        return self.train_pixel_sampler, self.last_pixels

    @property
    def nerfstudio_capture(self) -> Path | None:
        """The folder or json that nerfstudio's own dataparser read; None for every other parser."""
        return self.get_datapath() if isinstance(self.dataparser_config, NerfstudioDataParserConfig) else None

    @property
    def format_name(self) -> str:
        """The format that the capture is read as."""
        return format_name(self.dataparser_config)

    @property
    def train_photo_names(self) -> list[str]:
        """File names of the training photographs, for messages."""
        return [str(path) for path in self.train_dataset.image_filenames]

    @property
    def train_mask_names(self) -> list[str]:
        """Where the masks of the training photographs are, for messages: files of their own, or the photographs."""
        return [str(path) for path in self.train_dataset.mask_filenames or self.train_dataset.image_filenames]

    @property
    def has_masks(self) -> bool:
        """Whether the training photographs have foreground masks."""
        return self.train_dataset.has_masks

    @property
    def region_parser(self) -> Region | None:
        """The region of interest in nerfstudio's parser frame, where the capture itself gives one."""
        return self.train_dataparser_outputs.metadata.get("region")

    def views_parser(self, masks: bool) -> Views:
        """The training cameras in nerfstudio's parser frame; with their masks if asked for and there are any."""
        if masks and self.has_masks and not self._photographs_are_there(self.train_dataparser_outputs):
            CONSOLE.log(
                f"the masks of {self.get_datapath()} are no longer there, so cameras alone judge which parts of the "
                "surface belong to the object",
                style="yellow",
            )
            masks = False
        if not (masks and self.has_masks):
            return pinhole_views(self.train_dataset.cameras, None)
        if self.train_pixel_sampler is not None:
            return pinhole_views(self.train_dataset.cameras, self.train_store.foreground_masks())
        found = [self.train_dataset.foreground(view) for view in range(len(self.train_dataset))]
        return pinhole_views(self.train_dataset.cameras, found)

    def points_parser(self) -> Float[Tensor, "points 3"] | None:
        """The structure-from-motion points in nerfstudio's parser frame, or None if the capture brings none."""
        points = self.train_dataparser_outputs.metadata.get("points3D_xyz")
        if points is None:
            return None if self.recorded_tracks is None else self.recorded_tracks.points
        # nerfstudio multiplies the points by applied_scale, but not the cameras, which already stand where it put them.
        _, applied_scale = applied_to_capture(self.nerfstudio_capture)
        points = points[torch.isfinite(points).all(dim=-1)] / applied_scale
        return points if len(points) else None

    @cached_property
    def recorded_tracks(self) -> SfmTracks | None:
        """All tracks that a structure-from-motion tool left beside the capture, in nerfstudio's parser frame."""
        outputs, config, data = self.train_dataparser_outputs, self.dataparser_config, self.get_datapath()
        frames = possible_frames(outputs.dataparser_transform, outputs.dataparser_scale, self.nerfstudio_capture)
        photos = TrainingPhotos(self.train_dataset.image_filenames, self.train_dataset.cameras.to("cpu"), frames)
        model = data / config.colmap_path if isinstance(config, ColmapDataParserConfig) else None
        return recorded_tracks(data, model, photos, outputs.metadata.get("region"))

    def tracks_parser(self, views_parser: Views, region: Region) -> SfmTracks | None:
        """Which training views see which points of the object, in nerfstudio's parser frame; None without points.

        `views_parser` are the training views, with masks if there are any. Recorded tracks come before guessed ones.
        """
        return object_tracks(self.recorded_tracks, self.points_parser(), views_parser, region)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The sampler's memory. nn.Module puts it into the checkpoint with the rest of the pipeline."""
        return {} if self.train_pixel_sampler is None else self.train_pixel_sampler.state_dict()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        # Without a training sampler (evaluation, export) there is nobody to remember.
        if self.train_pixel_sampler is not None:
            self.train_pixel_sampler.load_state_dict(state)
