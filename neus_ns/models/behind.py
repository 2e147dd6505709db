"""What is behind the surface: nothing, a colour, random colours, or a learned world outside the unit ball."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.model_components import renderers
from torch import Tensor, nn
from torch.nn import Parameter

from neus_ns.fields.background import BackgroundField, contract
from neus_ns.kernels.backend import Backend
from neus_ns.models.scene_type import Background
from neus_ns.rays.sections import Rays

SAMPLES = 8
# Rays that miss the unit ball start looking for the world here; the contraction makes the distance beyond it finite.
_NEAREST = 0.05


class Behind(nn.Module):
    """The colour that shows through where the surface does not cover a ray."""

    def __init__(self, background: Background, appearance: int, backend: Backend) -> None:
        super().__init__()
        self.background = background
        self.world = BackgroundField(64, appearance, backend) if background == "learned" else None

    @property
    def shade(self) -> float:
        """Grey value of a background of one colour; `random` is white outside training."""
        return 1.0 if self.background in ("white", "random") else 0.0

    def table_parameters(self) -> list[Parameter]:
        return [] if self.world is None else [self.world.grid.table]

    def network_parameters(self) -> list[Parameter]:
        return [] if self.world is None else [*self.world.density.parameters(), *self.world.colour.parameters()]

    def forward(
        self,
        rays: Rays,
        appearance: Float[Tensor, "rays embedding"],
        on_ground: Bool[Tensor, " rays"] | None = None,
    ) -> Float[Tensor, "rays 3"]:
        """Colours behind the surface, those of the ground itself for rays that end there; evaluation shows `random` as
        white, and nerfstudio's own choice before all else, which the viewer makes for what it crops."""
        chosen = None if self.training else renderers.BACKGROUND_COLOR_OVERRIDE
        if chosen is not None:
            return chosen.to(rays.directions).expand_as(rays.directions)
        if self.world is not None:
            return self._render_world(self.world, rays, appearance, on_ground)
        if self.background == "random" and self.training:
            return torch.rand_like(rays.directions)
        return torch.full_like(rays.directions, self.shade)

    def _render_world(
        self,
        world: BackgroundField,
        rays: Rays,
        appearance: Float[Tensor, "rays embedding"],
        on_ground: Bool[Tensor, " rays"] | None,
    ) -> Float[Tensor, "rays 3"]:
        """Composite samples spaced evenly in inverse distance, from the far side of the unit ball to infinity."""
        count = len(rays)
        first = rays.t_far.clamp_min(_NEAREST)[:, None]
        edge = torch.linspace(1, 0, SAMPLES + 1, device=first.device)
        spread = torch.rand(count, 1, device=first.device) if self.training else first.new_full((count, 1), 0.5)
        # One shift per ray, within a section; the last sample stays short of infinity.
        inverse = (edge[:-1] - spread / SAMPLES).clamp_min(1e-3)
        # The ground is met where its ray ends, and hides the rest.
        ends = None if on_ground is None else F.pad(on_ground[:, None], (0, SAMPLES - 1))
        inverse = inverse.expand(count, -1) if ends is None else torch.where(ends, 1.0, inverse)
        t = first / inverse
        placed = contract((rays.origins[:, None] + t[..., None] * rays.directions[:, None]).reshape(-1, 3))
        density, feature = world(placed)
        at = placed.view(count, SAMPLES, 3)
        gap = (at[:, 1:] - at[:, :-1]).norm(dim=-1)
        length = torch.cat([gap, gap[:, -1:]], 1)
        alpha = 1 - torch.exp(-density.view(count, SAMPLES) * length * SAMPLES)
        # Whatever reaches infinity takes the last sample's colour, so that the world is never see-through.
        alpha = torch.cat([alpha[:, :-1], torch.ones_like(alpha[:, -1:])], 1)
        alpha = alpha if ends is None else torch.where(ends, 1.0, alpha)
        clear = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], 1), 1)
        met = ((clear * alpha)[:, None] @ feature.view(count, SAMPLES, -1))[:, 0]
        return world.shade(met, rays.directions, appearance)
