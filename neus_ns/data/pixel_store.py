"""All photographs of a dataset as flat 8-bit tensors, so that a batch of pixels is one gather.

View v with width w holds its pixel (row, col) at offset[v] + row * w + col. Photographs of different sizes need no
special case, and a pixel costs four bytes where nerfstudio's cached float images cost sixteen.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from neus_ns.data.dataset import LoadView, SurfaceDataset

# Foreground coverage from which a pixel counts as object.
FOREGROUND_LEVEL = 128
# A mask is widened by this share of its bounding box's diagonal, but by no less than so many pixels.
_MARGIN_SHARE = 0.1
_MARGIN_PIXELS = 8.0
# Photographs that are worked on at once; each takes memory of its own.
_WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class PixelStore:
    """Every pixel of every photograph, and which of them are worth shooting a ray through.

    `candidates` lists the pixels on or near the object; `lit` lists the pixels that saw light at all, for fisheye
    lenses whose image circle does not fill the frame. None stands for every pixel: the common case costs no memory.

    Lookups are index_select, and a view is found by `view_at_block`, because torch spreads its other indexing and its
    binary search over threads even for a thousand pixels: on a busy machine waking them takes far longer than the work.
    """

    rgb: UInt8[Tensor, "pixels 3"]
    fg: UInt8[Tensor, " pixels"] | None
    offset: Int64[Tensor, " views"]
    width: Int64[Tensor, " views"]
    height: Int64[Tensor, " views"]
    candidates: Integer[Tensor, " candidates"] | None
    lit: Integer[Tensor, " lit"] | None
    # The view of the first pixel of every run of `block` pixels. A block is no longer than the smallest photograph, so
    # its pixels belong to that view or to the next one.
    view_at_block: Int64[Tensor, " blocks"]
    block: int

    @property
    def num_pixels(self) -> int:
        return self.rgb.shape[0]

    @property
    def shows_object(self) -> bool:
        """Whether any pixel is marked as foreground; True without masks."""
        return self.fg is None or bool((self.fg >= FOREGROUND_LEVEL).any())

    @property
    def device(self) -> torch.device:
        return self.rgb.device

    def draw_candidates(self, num: int) -> Int64[Tensor, " num"]:
        """Flat indices drawn uniformly, with replacement, from the pixels on or near the object."""
        return self._draw(self.candidates, num)

    def draw_anywhere(self, num: int) -> Int64[Tensor, " num"]:
        """Flat indices drawn uniformly, with replacement, from all pixels that saw light."""
        return self._draw(self.lit, num)

    def _draw(self, pool: Integer[Tensor, " pool"] | None, num: int) -> Int64[Tensor, " num"]:
        size = self.num_pixels if pool is None else pool.shape[0]
        pick = torch.randint(size, (num,), device=self.device)
        return pick if pool is None else pool.index_select(0, pick).long()

    def locate(self, flat: Int64[Tensor, " rays"]) -> Int64[Tensor, "rays 3"]:
        """The (view, row, col) of flat indices."""
        view = self.view_at_block.index_select(0, torch.div(flat, self.block, rounding_mode="floor"))
        size = self.width.index_select(0, view) * self.height.index_select(0, view)
        view = view + (flat - self.offset.index_select(0, view) >= size)
        within = flat - self.offset.index_select(0, view)
        width = self.width.index_select(0, view)
        row = torch.div(within, width, rounding_mode="floor")
        return torch.stack((view, row, within - row * width), dim=-1)

    def flatten(self, indices: Int64[Tensor, "rays 3"]) -> Int64[Tensor, " rays"]:
        """The flat index of (view, row, col); the inverse of `locate`."""
        view, row, col = indices.unbind(-1)
        return self.offset.index_select(0, view) + row * self.width.index_select(0, view) + col

    def gather(self, flat: Int64[Tensor, " rays"]) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 1"] | None]:
        """Colours and foreground coverage in 0..1."""
        rgb = self.rgb.index_select(0, flat).float() / 255.0
        return rgb, None if self.fg is None else self.fg.index_select(0, flat)[:, None].float() / 255.0

    def photo_and_foreground(self, view: int) -> "tuple[UInt8[Tensor, '_h _w 3'], UInt8[Tensor, '_h _w'] | None]":
        """A copy of one whole photograph and of its foreground, on the CPU."""
        begin, height, width = (int(values[view]) for values in (self.offset, self.height, self.width))
        run = slice(begin, begin + height * width)
        foreground = None if self.fg is None else self.fg[run].view(height, width).to("cpu", copy=True)
        return self.rgb[run].view(height, width, 3).to("cpu", copy=True), foreground

    def beside(self, indices: Int64[Tensor, "rays 3"], down: int, right: int) -> Int64[Tensor, " rays"]:
        """The flat index of the pixels so far away; beyond a photograph's border its last pixel stands for them."""
        view, row, col = indices.unbind(-1)
        row = torch.minimum((row + down).clamp_min(0), self.height.index_select(0, view) - 1)
        col = torch.minimum((col + right).clamp_min(0), self.width.index_select(0, view) - 1)
        return self.flatten(torch.stack((view, row, col), dim=-1))

    def areas(self, indices: Int64[Tensor, "rays 3"], across: int) -> Int64[Tensor, " rays"]:
        """Which of `across` by `across` equal parts of its photograph each pixel lies in, counted on from photograph to
        photograph."""
        view, row, col = indices.unbind(-1)
        down = torch.div(row * across, self.height.index_select(0, view), rounding_mode="floor")
        right = torch.div(col * across, self.width.index_select(0, view), rounding_mode="floor")
        return (view * across + down) * across + right

    def colour_slope(self, indices: Int64[Tensor, "rays 3"]) -> Float[Tensor, "rays 3 2"]:
        """How the photographs' colours change per pixel to the right and down, by central differences."""
        view, row, col = indices.unbind(-1)
        slopes = []
        for place, (down, right), size in ((col, (0, 1), self.width), (row, (1, 0), self.height)):
            # At the border the difference is one-sided, and a photograph of one pixel has none.
            apart = (place > 0).long() + (place < size.index_select(0, view) - 1).long()
            after, before = self.beside(indices, down, right), self.beside(indices, -down, -right)
            change = self.gather(after)[0] - self.gather(before)[0]
            slopes.append(change / apart.clamp_min(1)[:, None])
        return torch.stack(slopes, dim=-1)

    def foreground_masks(self) -> "list[Bool[Tensor, '_h _w']] | None":
        """One mask a view, on the CPU, or None without masks."""
        if self.fg is None:
            return None
        return [mask >= FOREGROUND_LEVEL for mask in self.by_view(self.fg.cpu())]

    def by_view(self, values: Shaped[Tensor, " pixels"]) -> "list[Shaped[Tensor, '_h _w']]":
        """What is known of every pixel, photograph by photograph, in the memory that it is in."""
        sizes = torch.stack((self.height, self.width), dim=-1).tolist()
        per_view = values.split([height * width for height, width in sizes])
        return [each.view(size) for each, size in zip(per_view, sizes, strict=True)]


def store_dataset(dataset: SurfaceDataset, device: torch.device | str) -> PixelStore:
    """Decode a whole dataset into a store."""
    sizes = [dataset.size_of(view) for view in range(len(dataset))]
    return build_store(sizes, dataset.has_masks, dataset.photo_and_foreground, device, dataset.crop_radius)


def store_images(
    images: "list[UInt8[Tensor, '_h _w 3']]", masks: "list[UInt8[Tensor, '_h _w']] | None", device: torch.device | str
) -> PixelStore:
    """A store of photographs that are in memory already."""
    sizes = [(image.shape[1], image.shape[0]) for image in images]
    return build_store(
        sizes, masks is not None, lambda view: (images[view], None if masks is None else masks[view]), device
    )


def build_store(
    sizes: list[tuple[int, int]],
    has_masks: bool,
    load_view: LoadView,
    device: torch.device | str,
    crop_radius: float | None = None,
) -> PixelStore:
    """Load every view, several at a time, straight to its place; sizes are (width, height)."""
    counts = np.array([width * height for width, height in sizes], dtype=np.int64)
    offset = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    total = int(counts.sum())
    rgb = torch.empty((total, 3), dtype=torch.uint8)
    fg = torch.empty(total, dtype=torch.uint8) if has_masks else None

    def fill(view: int) -> None:
        photo, foreground = load_view(view)
        begin, end = int(offset[view]), int(offset[view] + counts[view])
        rgb[begin:end] = photo.reshape(-1, 3)
        if fg is not None and foreground is not None:
            fg[begin:end] = foreground.reshape(-1)

    # Threads are enough: decoding happens outside the interpreter's lock, and processes would copy the pixels.
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        list(pool.map(fill, range(len(sizes))))
    candidates, lit = _regions(sizes, offset, fg, crop_radius)
    width, height = torch.tensor(sizes, dtype=torch.int64).view(-1, 2).unbind(-1)
    block = int(counts.min())
    view_at_block = np.searchsorted(offset, np.arange(0, total, block), side="right") - 1
    return PixelStore(
        rgb=rgb.to(device),
        fg=None if fg is None else fg.to(device),
        offset=torch.from_numpy(offset).to(device),
        width=width.to(device),
        height=height.to(device),
        candidates=None if candidates is None else candidates.to(device),
        lit=None if lit is None else lit.to(device),
        view_at_block=torch.from_numpy(view_at_block.astype(np.int64)).to(device),
        block=block,
    )


def _regions(
    sizes: list[tuple[int, int]],
    offset: Int64[ndarray, " views"],
    fg: UInt8[Tensor, " pixels"] | None,
    crop_radius: float | None,
) -> tuple[Integer[Tensor, " candidates"] | None, Integer[Tensor, " lit"] | None]:
    """The flat lists of pixels near the object and of pixels that saw light; None where that is all of them."""
    if fg is None and crop_radius is None:
        return None, None
    total = sum(width * height for width, height in sizes)
    index_type = np.int32 if total < 2**31 else np.int64

    def found(view: int) -> "tuple[Integer[ndarray, '_near'], Integer[ndarray, '_lit'] | None]":
        (width, height), begin = sizes[view], int(offset[view])
        saw_light = np.ones((height, width), dtype=bool) if crop_radius is None else _disc(width, height, crop_radius)
        near = saw_light
        if fg is not None:
            mask = fg[begin : begin + width * height].numpy().reshape(height, width) >= FOREGROUND_LEVEL
            near = saw_light & near_mask(mask)
        listed = [near] if crop_radius is None else [near, saw_light]
        near_part, *lit_part = ((np.flatnonzero(each) + begin).astype(index_type) for each in listed)
        return near_part, lit_part[0] if lit_part else None

    with ThreadPoolExecutor(max_workers=_WORKERS) as threads:
        parts = list(threads.map(found, range(len(sizes))))
    near_parts, lit_parts = [part[0] for part in parts], [part[1] for part in parts if part[1] is not None]
    del parts
    candidates, lit = _joined(near_parts), _joined(lit_parts) if lit_parts else None
    # A set that never shows the object (evaluation photographs may) has no surroundings of it to prefer.
    return candidates if candidates.numel() else lit, lit


def _joined(parts: "list[Integer[ndarray, '_part']]") -> Integer[Tensor, " whole"]:
    """All parts in one, each let go once it is copied: together they take as much as the photographs."""
    whole = torch.from_numpy(np.empty(sum(map(len, parts)), dtype=parts[0].dtype))
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = torch.from_numpy(part)
        end -= len(part)
    return whole


def near_mask(mask: Bool[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Pixels of the mask and those within a margin of it: rays on both sides of the outline teach where it runs."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return np.zeros_like(mask)
    diagonal = math.hypot(rows[-1] - rows[0] + 1, cols[-1] - cols[0] + 1)
    margin = max(_MARGIN_PIXELS, _MARGIN_SHARE * diagonal)
    # What is further from the mask's box than the margin is too far from the mask.
    reach = math.ceil(margin)
    box = tuple(slice(max(0, int(side[0]) - reach), int(side[-1]) + reach + 1) for side in (rows, cols))
    distance = cv2.distanceTransform((~mask[box]).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = np.zeros_like(mask)
    near[box] = distance <= margin
    return near


def _disc(width: int, height: int, radius: float) -> Bool[ndarray, "h w"]:
    """The image circle of a fisheye lens, centred as nerfstudio centres it."""
    row, col = np.ogrid[:height, :width]
    return np.hypot(col + 0.5 - width / 2, row + 0.5 - height / 2) <= radius
