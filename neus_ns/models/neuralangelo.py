"""neuralangelo-mask-sfm: neus-hash with photographs, masks and SfM points as witnesses, and Neuralangelo's gradients.

What differs from neus-hash, and nothing else:

    gradients    if asked for, finite differences over one cell of the finest open level (`fields.sdf_numerical`)
    curvature    |Laplacian| from the same taps, fading as levels open
    patches      photographs compared at the surface (`models.patch_witness`)
    carving      inwards, where patches of photographs keep disagreeing about the surface (`models.refuted_space`)
    inwards      a push on what textured pixels show, of what photographs leave open towards less
    masks        cross-entropy and squared error of the opacity; pixels on an outline may count less
    SfM points   |distance| at the points that the batch's own photographs see, as sure as each point is
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from neus_ns.data.grey_photos import GreyPhotos
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.fields.numerical_field import NumericalFieldConfig
from neus_ns.fields.sdf import SdfSample
from neus_ns.fields.sdf_numerical import NumericalSdfNetwork
from neus_ns.losses.geometric import curvature, inward, near_surface
from neus_ns.losses.silhouette import silhouette_mse
from neus_ns.models.ground_witness import Outline
from neus_ns.models.loss_weights import LossWeights
from neus_ns.models.neus_hash import NeusHashModel, NeusHashModelConfig
from neus_ns.models.numerical_schedule import NumericalSchedule
from neus_ns.models.refuted_space import RefutedSpace
from neus_ns.models.samples import SurfaceSamples
from neus_ns.models.scene_type import PLAIN_WEIGHT, PRESETS, suited_carving
from neus_ns.models.seen_points import SeenPoints, SeenSpace

# Structure-from-motion points looked at per step; of them only the distance is asked, a fifth of a sample's cost.
_SEEN_POINTS = 512
# Contrast around a pixel, in grey levels of 255, at which it is half believed to tell where the surface is.
_PLAIN = 4.0
# A point's limit is no less than this many times its noise: nine in ten of the good ones lie well within.
_LEAST_LIMIT = 5.0


@dataclass
class WitnessWeights(LossWeights):
    """Weights of the loss terms; the colour loss is summed over channels, as in NeuS."""

    colour_plain: float = 0.2
    """How much colour counts where photographs are plain far and wide, if that is looked for (`smooth_plain`): it tells
    little of where the surface is, and sheen, which seems to lie behind it, would dig a bowl."""
    smooth_plain: float | None = None
    """How many times as much the change of normals counts in addition, with no regard for edges, where photographs are
    plain far and wide. None: 20, of objects without masks as well, if later (the schedule's `plain_from`): what is
    plain and shines would sink to where its reflections seem to lie, the further the longer a training lasts. In a wide
    world without masks 0."""
    curvature: float = 5e-4
    """Sum of the distance's second derivatives, before the schedule (Neuralangelo). Only taps know them, and by default
    there are none (the schedule's `analytic_from`)."""
    mask_mse: float = 0.1
    """Squared difference of opacity and foreground mask, wherever masks exist."""
    patches: float = 2.25
    """Disagreement of photographs about patches of the surface (Geo-NeuS); 0 leaves them out."""
    carve: float | None = None
    """Push inwards where nearly all patches disagree: what they show must lie behind. Only where patches are compared
    and nothing shines, once most of all agree, and only until the schedule's `carve_until`. None: 20 around objects
    without masks, whose outlines would have carved as much, if photographs are said to have neither changing exposure
    nor wrong poses, for which they disagree too."""
    inward: float = 1.0
    """Push inwards on what textured pixels show: colours alone leave it a little outside of the truth, more so where
    few photographs see it. Not where it shines, not indoors, and not while poses are corrected."""
    mask_edge: float = 1.0
    """How much a pixel on the outline of its mask counts in both mask losses, next to one away from it. Less than 1 is
    for masks that are off by a pixel: where they are right, their outlines carve what is thin."""


@dataclass
class NeuralangeloModelConfig(NeusHashModelConfig):
    """Options of neuralangelo-mask-sfm."""

    _target: type = field(default_factory=lambda: NeuralangeloModel)
    sdf_field: NumericalFieldConfig = field(default_factory=NumericalFieldConfig)
    """Hash grid, networks, and the taps of the numerical gradient."""
    weights: WitnessWeights = field(default_factory=WitnessWeights)
    """Weights of the losses."""
    schedule: NumericalSchedule = field(default_factory=NumericalSchedule)
    """What changes while training."""


class NeuralangeloModel(NeusHashModel):
    """Neuralangelo with masks and structure-from-motion points."""

    config: NeuralangeloModelConfig
    known_space: SeenSpace

    def populate_modules(self) -> None:
        super().populate_modules()
        self.known_space = SeenSpace(self.config.sampling.grid_resolution)
        self.refuted_space = RefutedSpace()

    def suit(self, outlined: bool) -> None:
        """As the parent's, but what is plain is flattened without outlines too; in neus-hash that cost more than it
        held."""
        super().suit(outlined)
        if self.config.scene_type == "object" and self.config.weights.smooth_plain is None:
            self.plain_weight = PLAIN_WEIGHT

    def enter_photographs(
        self, photos: Callable[[], GreyPhotos], views_parser: Views, tracks_parser: SfmTracks | None
    ) -> None:
        """As the parent's; what patches keep saying of a place is kept, if it is to be carved."""
        super().enter_photographs(photos, views_parser, tracks_parser)
        if self._patches is not None and self.carve_weight > 0:
            self._patches.refuted_space = self.refuted_space

    @property
    def carve_weight(self) -> float:
        """The user's, or by what photographs are said to be like."""
        config = self.config
        alike = config.appearance_width == 0 and self.camera_poses is None
        return suited_carving(config.scene_type, config.weights.carve, self.has_masks, alike)

    @property
    def sdf_network(self) -> NumericalSdfNetwork:
        """The network of the field, by its own type."""
        network = self.field.sdf_network
        assert isinstance(network, NumericalSdfNetwork)
        return network

    def set_progress(self, progress: float) -> None:
        """Set every schedule, those of the curvature and of the SfM points included."""
        super().set_progress(progress)
        schedule, network = self.config.schedule, self.sdf_network
        network.analytic = schedule.gradients_are_analytic(progress)
        # Without taps nobody knows the Laplacian.
        strength = schedule.curvature_strength(progress, network.grid.active, network.grid.layout)
        self.curvature_strength = 0.0 if network.analytic else strength
        self.points_reach = schedule.points_reach(progress)
        # Highlights disagree everywhere as well.
        carves = 0.0 if self.gloss.shines else schedule.carve_strength(progress)
        self.carve_strength = self.patches_strength * carves
        # Reflections look as if they lay inside already, poses would be bent instead of the surface, and rooms would
        # grow, where nobody has measured that they are too small.
        without = self.gloss.shines or self.camera_poses is not None or PRESETS[self.config.scene_type].inside_out
        self.inward_strength = 0.0 if without else schedule.inward_strength(progress)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """As the parent's; in training also the distance at points that the batch's own photographs see."""
        outputs = super().get_outputs(ray_bundle)
        if self.training and self.points_pull > 0 and ray_bundle.camera_indices is not None:
            seen = self.known_space.draw_seen_by(ray_bundle.camera_indices[:, 0], _SEEN_POINTS)
            outputs["seen"] = seen, self.field.sdf_network.sdf(seen.points)
        return outputs

    def term_weights(self) -> dict[str, float]:
        """What each loss term is multiplied by at this point of the training."""
        weights, factors = self.config.weights, super().term_weights()
        # Here the photographs speak for the points that they see.
        factors["sfm"] = factors.pop("points")
        factors["curvature"] = weights.curvature * self.curvature_strength
        factors["carve"] = self.carve_weight * self.carve_strength
        factors["inward"] = weights.inward * self.inward_strength
        return factors | {"mask_mse": weights.mask_mse} if "mask" in factors else factors

    def outline(self, batch: dict[str, Any]) -> Outline:
        """As the parent's; pixels on an outline may count less."""
        outline = super().outline(batch)
        if "mask_edge" not in batch:
            return outline
        off_edge = 1 - (1 - self.config.weights.mask_edge) * batch["mask_edge"].to(outline.mask)
        return replace(outline, sure=off_edge * outline.sure)

    def mask_losses(self, opacity: Float[Tensor, " rays"], outline: Outline) -> dict[str, Tensor]:
        """The silhouette, where anybody knows it."""
        squared = self.config.weights.mask_mse * silhouette_mse(opacity, outline.mask, outline.sure)
        return super().mask_losses(opacity, outline) | {"mask_mse": squared}

    def geometry_losses(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The parent's, curvature, and what the photographs' structure-from-motion points say."""
        losses, factor = super().geometry_losses(outputs, batch), self.term_weights()
        # Poses that are corrected must not learn from this: cameras would move to where the surface is flat.
        at: SurfaceSamples | SdfSample = outputs["samples"] if self.camera_poses is None else outputs["off_rays"].sample
        if at.laplacian is not None and factor["curvature"] > 0:
            losses["curvature"] = factor["curvature"] * curvature(at.laplacian)
        if "patches" in outputs and factor["carve"] > 0:
            losses["carve"] = factor["carve"] * outputs["patches"].refuted
        if factor["inward"] > 0:
            losses["inward"] = factor["inward"] * self.inward_loss(outputs["samples"], batch["contrast"])
        if "seen" in outputs:
            seen, sdf = outputs["seen"]
            losses["sfm"] = factor["sfm"] * self.seen_loss(seen, sdf)
        return losses

    def seen_loss(self, seen: SeenPoints, sdf: Float[Tensor, " points"]) -> Float[Tensor, ""]:
        """Mean |distance| at seen points; outliers let go as the surface closes in."""
        return near_surface(sdf, seen.noise, (_LEAST_LIMIT * seen.noise).clamp_min(self.points_reach))

    def inward_loss(self, samples: SurfaceSamples, contrast: Float[Tensor, " rays"]) -> Float[Tensor, ""]:
        """A push inwards on what textured pixels show. What is plain would give way to any push."""
        square = contrast.to(self.device).square()
        telling = square / (square + _PLAIN**2)
        on_rays = samples.on_rays
        seen = samples.weights * telling[on_rays.sections.ray_index]
        return inward(on_rays.sdf, seen, len(telling))

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """What the log shows beside the losses: the parent's, and the step of the numerical gradient."""
        metrics = super().get_metrics_dict(outputs, batch)
        if metrics and not self.sdf_network.analytic:
            metrics["tap_step"] = torch.tensor(self.sdf_network.step)
        return metrics
