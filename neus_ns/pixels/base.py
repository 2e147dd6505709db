"""The interface of every strategy that picks pixels: propose some, then hear how wrong they were."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace

import torch
import tyro
from jaxtyping import Float, Int64
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.errors import InputError


@dataclass(frozen=True)
class PixelBatch:
    """The pixels of one step.

    The objective of a run is the mean loss over a base distribution of pixels, which `UniformPixelSampler` states. A
    strategy that draws pixels from another distribution q may give each the weight base / q, so that the weighted mean
    over the batch estimates the same objective. With lesser weights, down to 1 for every pixel, the objective itself
    turns to the pixels that are drawn more often, which is what most of the published strategies do.
    """

    indices: Int64[Tensor, "rays 3"]
    """View, row and column."""
    flat: Int64[Tensor, " rays"]
    """The same pixels as positions in the store."""
    weight: Float[Tensor, " rays"]
    positions: Float[Tensor, "rays 2"] | None = None
    """The pixels' centres as (column, row), as a leaf of the graph, for a strategy that wants the loss's gradient by
    position. The backward pass leaves it in `.grad`."""
    number: Int64[Tensor, " rays"] | None = None
    """Where in the pool of a strategy that draws from one the pixels are, -1 for those that are not in it. Remembered,
    because to find it again for every ray takes longer than all else that most strategies do."""


@dataclass
class SurfacePixelSamplerConfig(PixelSamplerConfig):
    """What the strategies share. Options of nerfstudio's sampler that a pixel store answers itself are hidden."""

    _target: type = field(default_factory=lambda: SurfacePixelSampler)
    """Target class to instantiate."""
    # The datamanager's --train-num-rays-per-batch always overrides this one.
    num_rays_per_batch: tyro.conf.Suppress[int] = 4096
    # A store holds the whole photographs; no batch needs to carry them along.
    keep_full_image: tyro.conf.Suppress[bool] = False
    # The store knows the image circle of fisheye lenses and the region around the masks, so nothing is rejected.
    is_equirectangular: tyro.conf.Suppress[bool] = False
    fisheye_crop_radius: tyro.conf.Suppress[float | None] = None
    ignore_mask: tyro.conf.Suppress[bool] = False
    rejection_sample_mask: tyro.conf.Suppress[bool] = True
    max_num_iterations: tyro.conf.Suppress[int] = 100


class SurfacePixelSampler(PixelSampler, ABC):
    """A strategy. `num_rays_per_batch` may be set from outside before each step."""

    config: SurfacePixelSamplerConfig

    def __init__(self, config: SurfacePixelSamplerConfig, **kwargs) -> None:
        # nerfstudio's constructor writes its keyword arguments into the config, which train and eval samplers share.
        super().__init__(replace(config), **kwargs)
        self.progress, self.shines = 0.0, False
        for option in fields(config):
            value = getattr(config, option.name)
            if option.name.endswith("_share") and not 0.0 <= value <= 1.0:
                raise InputError(f"The pixel sampler's {option.name} is {value}: give a share from 0 to 1.")
        self._last_images: tuple[dict, PixelStore] | None = None

    @abstractmethod
    def propose(self, store: PixelStore, num_rays: int) -> PixelBatch:
        """Pick the pixels of the next step."""

    def set_progress(self, progress: float, shines: bool = False) -> None:
        """Hear what share of training is done, and whether what is photographed shines, as far as is known by then;
        every schedule of a strategy follows that."""
        self.progress, self.shines = progress, shines

    def observe(self, batch: PixelBatch, error_per_ray: Float[Tensor, " rays"]) -> None:
        """Hear the error of the rays of an earlier proposal. Strategies that do not learn ignore it, as here."""

    def even_weight(self, batch: PixelBatch) -> Float[Tensor, " rays"]:
        """What to weigh the rays of the last proposal by for a mean over the base distribution, whatever the loss does;
        1 for those who draw from it."""
        return torch.ones_like(batch.weight)

    def state_dict(self) -> dict[str, Tensor]:
        """What the strategy has learnt, as plain tensors for the checkpoint. Empty for one that does not learn."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what `state_dict` of the same strategy gave."""
        if state:
            raise InputError(
                f"The checkpoint holds the memory of another pixel sampler ({', '.join(sorted(state))}); "
                "resume with the sampler that the run was started with."
            )

    def sample(self, image_batch: dict) -> dict:
        """nerfstudio's own entrance: pixels of a collated batch of images, as tensor or as list of differing sizes."""
        store = self._store_of(image_batch)
        pixels = self.propose(store, self.num_rays_per_batch)
        rgb, foreground = store.gather(pixels.flat)
        image_idx = torch.as_tensor(image_batch["image_idx"], device=store.device)
        indices = torch.cat((image_idx[pixels.indices[:, :1]], pixels.indices[:, 1:]), dim=-1)
        batch = {"image": rgb, "indices": indices, "pixel_weight": pixels.weight[:, None]}
        return batch if foreground is None else {**batch, "fg_mask": foreground}

    def _store_of(self, image_batch: dict) -> PixelStore:
        """The batch as a store; kept, because nerfstudio's cached loaders hand out the same batch again and again."""
        if self._last_images is None or self._last_images[0] is not image_batch:
            images = [_to_bytes(image[..., :3]) for image in image_batch["image"]]
            masks = image_batch.get("fg_mask")
            levels = None if masks is None else [_to_bytes(mask[..., 0]) for mask in masks]
            self._last_images = (image_batch, store_images(images, levels, images[0].device))
        return self._last_images[1]


def _to_bytes(values: Tensor) -> Tensor:
    """Values in 0..1, or bytes already, as bytes."""
    return values if values.dtype == torch.uint8 else (values * 255.0).round().clamp(0, 255).to(torch.uint8)
