"""Drops what the photographs do not support: floaters and hidden pockets go, loose parts of the object stay.

The judgement is over connected parts of the whole mesh. With masks a part stays when nearly every view that has it in
frame sees it within the mask; without masks, when it is not small beside the largest part. In both cases some cameras
must have it in plain sight, as they never have a pocket within the object.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import trimesh

from neus_ns.errors import InputError
from neus_ns.surface.components import Components, keep_components, sample_components, split_components
from neus_ns.surface.source import Views
from neus_ns.surface.witnesses import Witnesses, share_of_views_in_mask, views_in_sight

Keep = Literal["supported", "largest", "all"]

# Areas are shares of the largest part's. Below the first, a part is a speck whatever the masks say.
SPECK_AREA = 1e-4
SMALL_AREA_WITHOUT_MASKS = 0.05
MASK_SUPPORT = 0.8
VIEWS_IN_SIGHT = 2
_SAMPLES = 256


@dataclass(frozen=True)
class CleanReport:
    """How many connected parts were kept, and why the others were not."""

    kept: int
    dropped_small: int = 0
    dropped_outside_masks: int = 0
    dropped_out_of_sight: int = 0
    dropped_not_largest: int = 0

    @property
    def dropped(self) -> int:
        return self.dropped_small + self.dropped_outside_masks + self.dropped_out_of_sight + self.dropped_not_largest


def clean_mesh(
    mesh: trimesh.Trimesh, keep: Keep, views: Views | None, world_from_unit: torch.Tensor
) -> tuple[trimesh.Trimesh, CleanReport]:
    """The parts of a unit-frame mesh that `keep` asks for: all, the largest, or those the photographs support."""
    parts = split_components(mesh)
    if keep == "all":
        return mesh, CleanReport(kept=len(parts.areas))
    if keep == "largest":
        kept = np.arange(len(parts.areas)) == parts.areas.argmax()
        return keep_components(parts, kept), CleanReport(kept=1, dropped_not_largest=len(kept) - 1)
    kept, report = _supported(parts, views, world_from_unit.double().cpu().numpy())
    if report.kept == 0:
        raise InputError(
            f"None of the {len(kept)} parts of the mesh is supported by the photographs ({report.dropped_small} too "
            f"small, {report.dropped_outside_masks} outside the masks, {report.dropped_out_of_sight} out of sight): "
            "check that the masks show the object and not the background, or keep everything with --keep all."
        )
    return keep_components(parts, kept), report


def _supported(parts: Components, views: Views | None, world_from_unit: np.ndarray) -> tuple[np.ndarray, CleanReport]:
    has_masks = views is not None and views.masks is not None
    smallest = (SPECK_AREA if has_masks else SMALL_AREA_WITHOUT_MASKS) * parts.areas.max()
    large = parts.areas >= smallest
    in_masks = in_sight = large
    if views is not None:
        witnesses = Witnesses(views, world_from_unit)
        samples = sample_components(parts, large, _SAMPLES)
        if has_masks:
            in_masks = large & (share_of_views_in_mask(witnesses, samples, len(large)) >= MASK_SUPPORT)
        in_sight = in_masks
        if in_masks.any():
            samples = sample_components(parts, in_masks, _SAMPLES)
            in_sight = in_masks & (views_in_sight(witnesses, samples, parts, in_masks) >= VIEWS_IN_SIGHT)
    report = CleanReport(
        kept=int(in_sight.sum()),
        dropped_small=int((~large).sum()),
        dropped_outside_masks=int((large & ~in_masks).sum()),
        dropped_out_of_sight=int((in_masks & ~in_sight).sum()),
    )
    return in_sight, report
