"""The photographs of a capture with their foreground masks, in nerfstudio's dataset shape."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from numpy import ndarray
from PIL import Image
from torch import Tensor

from neus_ns.data.checks_files import picture_sizes
from neus_ns.data.decode import Decoded, is_cut_out, mask_coverage, open_smaller, split_alpha
from neus_ns.errors import InputError

Kind = Literal["image", "mask"]
LoadView = Callable[[int], "tuple[UInt8[Tensor, '_h _w 3'], UInt8[Tensor, '_h _w'] | None]"]


class SurfaceDataset(InputDataset):
    """An InputDataset whose masks say what is object, not where sampling is forbidden.

    An item has `image` [H, W, 3] and, when the capture has masks, `fg_mask` [H, W, 1] in 0..1. It has no `mask` key,
    because nerfstudio's samplers and metrics would take one as "do not look here", and the outline could then not be
    learnt from its outer side. Masks are the files of the capture or, when there are none, the photographs' alpha.
    """

    exclude_batch_keys_from_device = ["image", "fg_mask"]

    def __init__(
        self,
        dataparser_outputs: DataparserOutputs,
        scales: Float[Tensor, "views 1"] | None = None,
        masks: bool | None = None,
    ) -> None:
        """`scales` say how large each photograph is read, next to its file; `masks` whether items have one, and None
        leaves it to what the photographs have."""
        super().__init__(dataparser_outputs)
        self.scales = torch.ones(len(self), 1) if scales is None else scales
        self.cameras.rescale_output_resolution(self.scales.to(self.cameras.fx))
        self._masks = masks
        self._decoded: LoadView | None = None
        # The model is built from this dictionary, and masks decide what it needs.
        self.metadata["has_masks"] = self.has_masks

    @cached_property
    def has_masks(self) -> bool:
        """Whether foreground masks exist: mask files, or an alpha channel that is not opaque everywhere.

        Screenshots and re-saved photographs are often RGBA without a single transparent pixel. That alpha is no mask:
        taken as one it would claim that every photograph shows nothing but object.
        """
        if self._masks is not None:
            return self._masks
        return self.mask_filenames is not None or any(map(is_cut_out, self.image_filenames))

    @property
    def mask_filenames(self) -> list[Path] | None:
        """The files of the foreground masks, if they come as files."""
        return self._dataparser_outputs.mask_filenames

    def size_of(self, image_idx: int) -> tuple[int, int]:
        """Width and height in pixels of one photograph: its camera's."""
        return int(self.cameras.width[image_idx]), int(self.cameras.height[image_idx])

    def cameras_of_files(self) -> Cameras:
        """The cameras in pixels of the photographs' files, which may be larger than what is read of them."""
        cameras = deepcopy(self._dataparser_outputs.cameras)
        cameras.rescale_output_resolution(self._reduction("image"))
        return cameras

    @property
    def crop_radius_of_files(self) -> float | None:
        """`crop_radius` in pixels of the files."""
        radius = self.metadata.get("crop_radius")
        return None if radius is None else radius * self._reduction("image")

    def photo_and_foreground(self, image_idx: int) -> tuple[UInt8[Tensor, "h w 3"], UInt8[Tensor, "h w"] | None]:
        """One photograph and, when the capture has masks, how much of each pixel is foreground (0..255)."""
        if self._decoded is not None:
            return self._decoded(image_idx)
        path = self.image_filenames[image_idx]
        decoded = open_smaller(path, self.size_of(image_idx))
        colours, alpha = split_alpha(self._fit_to_camera(decoded, image_idx, path, "image"))
        foreground = self._foreground(image_idx, alpha) if self.has_masks else None
        alpha_color = self._dataparser_outputs.alpha_color
        if alpha is not None and alpha_color is not None:
            colours = _composite(colours, alpha, alpha_color.numpy())
        elif alpha is not None and self.mask_filenames is None:
            # Colours under full transparency are whatever the editing program left there.
            colours = np.where(alpha[..., None] == 0, np.uint8(0), colours)
        if foreground is not None and self.mask_color:
            unknown = np.round(np.asarray(self.mask_color) * 255).astype(np.uint8)
            colours = np.where(foreground[..., None] < 128, unknown, colours)
        # np.array copies: torch wants writable memory, and decoded pictures are read-only.
        photo = torch.from_numpy(np.array(colours))
        return photo, None if foreground is None else torch.from_numpy(np.array(foreground))

    def take_from(self, decoded: LoadView) -> None:
        """Have photographs from where they are decoded already: the viewer asks for all of them, one by one."""
        self._decoded = decoded

    def get_numpy_image(self, image_idx: int) -> UInt8[ndarray, "h w 3"]:
        return self.photo_and_foreground(image_idx)[0].numpy()

    def get_image_uint8(self, image_idx: int) -> UInt8[Tensor, "h w 3"]:
        return self.photo_and_foreground(image_idx)[0]

    def get_image_float32(self, image_idx: int) -> Float[Tensor, "h w 3"]:
        return self.get_image_uint8(image_idx).float() / 255.0

    def get_data(self, image_idx: int, image_type: Literal["uint8", "float32"] = "float32") -> dict:
        photo, foreground = self.photo_and_foreground(image_idx)
        data: dict = {"image_idx": image_idx, "image": photo if image_type == "uint8" else photo.float() / 255.0}
        if foreground is not None:
            data["fg_mask"] = foreground[..., None].float() / 255.0
        data.update(self.get_metadata(data))
        return data

    def foreground(self, image_idx: int) -> Bool[Tensor, "h w"]:
        """The mask of one photograph without decoding more than it takes. Only for captures with masks."""
        if self.mask_filenames is None:
            alpha = self.photo_and_foreground(image_idx)[1]
            assert alpha is not None
            return alpha >= 128
        return torch.from_numpy(np.array(self._foreground(image_idx, None))) >= 128

    def _foreground(self, image_idx: int, alpha: UInt8[ndarray, "h w"] | None) -> UInt8[ndarray, "h w"]:
        if self.mask_filenames is not None:
            path = self.mask_filenames[image_idx]
            # What the numbers in a mask mean is told by the whole of it, before any pixels are averaged.
            picture = Image.fromarray(mask_coverage(path))
            return np.asarray(self._fit_to_camera(Decoded(picture, picture.size), image_idx, path, "mask"))
        if alpha is None:
            raise InputError(
                f"{self.image_filenames[image_idx]} has neither a mask nor an alpha channel, while other photographs "
                "of the capture have; cut out all of them or none."
            )
        return alpha

    def _fit_to_camera(self, decoded: Decoded, image_idx: int, path: Path, kind: Kind) -> Image.Image:
        """The picture at its camera's resolution; one whose file's size contradicts the camera is refused.

        Intrinsics belong to a resolution, so a picture of another size would give rays in wrong directions.
        """
        width, height = self.size_of(image_idx)
        self._require_size(decoded.file_size, image_idx, path, kind)
        picture, shrink = decoded.picture, self._shrink(kind, image_idx) / decoded.reduced_by
        if shrink == 1.0:
            return picture if picture.size == (width, height) else picture.crop((0, 0, width, height))
        # The part that the camera's pixels cover: intrinsics are divided exactly, sizes are rounded down.
        across, down = (side / decoded.reduced_by for side in decoded.file_size)
        seen = (0, 0, min(width * shrink, across), min(height * shrink, down))
        # For whole factors a box filter is the mean of the pixels, and a mask's coverage is exact. For others Hamming's
        # comes nearest to the mean over a pixel's area: half as far as the bilinear one, which blurs.
        resample = Image.Resampling.BOX if shrink == round(shrink) else Image.Resampling.HAMMING
        return picture.resize((width, height), resample=resample, box=seen)

    def _shrink(self, kind: Kind, image_idx: int) -> float:
        """How many times smaller the file of a photograph or mask has to be made."""
        return self._reduction(kind) / float(self.scales[image_idx])

    def _reduction(self, kind: Kind) -> int:
        """The part of that which the reader of the capture asks for."""
        return int(self._dataparser_outputs.metadata.get(f"{kind}_reduction", 1))

    def _require_size(self, found: tuple[int, int], image_idx: int, path: Path, kind: Kind) -> None:
        shrink = self._shrink(kind, image_idx)
        excess = [pixels / shrink - camera for pixels, camera in zip(found, self.size_of(image_idx), strict=True)]
        # Up to one pixel too much is trimmed: tools that shrink photographs disagree about sizes that do not divide.
        if not all(-0.01 <= pixels_over < 1.99 for pixels_over in excess):
            width, height = (round(camera * shrink) for camera in self.size_of(image_idx))
            cure = "use the pictures that the poses were made from, or correct the intrinsics"
            if kind == "mask":
                cure = "save the mask at the size of its photograph"
            raise InputError(f"{path} is {found[0]}x{found[1]} pixels but its camera says {width}x{height}; {cure}.")

    def check_files(self) -> None:
        """Raise InputError for the first picture that is missing, damaged or of another size, by the headers alone."""
        sets: list[tuple[Kind, list[Path]]] = [("image", self.image_filenames), ("mask", self.mask_filenames or [])]
        for kind, paths in sets:
            for view, (path, size) in enumerate(zip(paths, picture_sizes(paths), strict=True)):
                self._require_size(size, view, path, kind)

    def check_decodes(self) -> None:
        """Raise InputError for the first photograph or mask that cannot be decoded, or has no mask beside others."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for _ in pool.map(self.photo_and_foreground, range(len(self))):
                pass

    @property
    def crop_radius(self) -> float | None:
        """Radius in pixels of the image circle of a fisheye lens that does not fill the frame."""
        radius = self.metadata.get("crop_radius")
        return None if radius is None else radius * float(self.scales.min())


def _composite(
    colours: UInt8[ndarray, "h w 3"], alpha: UInt8[ndarray, "h w"], background: ndarray
) -> UInt8[ndarray, "h w 3"]:
    """The photograph over a plain background, as nerfstudio does it."""
    share = alpha[..., None].astype(np.float32) / 255.0
    blend = colours * share + background.astype(np.float32) * 255.0 * (1.0 - share)
    return np.clip(np.round(blend), 0, 255).astype(np.uint8)
