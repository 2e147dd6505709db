"""What the kernel benchmarks run: the same steps on our grid, on its torch reference and on nerfstudio's HashEncoding.

Every step that trains also clears the table's gradient, each in the way that is cheapest for it: ours is zeroed and
scattered into, the others are dropped and made anew, as nerfstudio's trainer does.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from neus_ns.kernels import (
    torch_jet,
    torch_march,
    torch_packed,
    torch_stencil,
    warp_jet,
    warp_march,
    warp_packed,
    warp_stencil,
)
from neus_ns.kernels.cells import occupied_cells
from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.taps import tap_offsets

LAYOUTS = {
    "small": GridLayout(levels=14, features=2, log2_rows=17, coarsest=16, finest=512),
    "paper": GridLayout(levels=16, features=2, log2_rows=19, coarsest=16, finest=2048),
}
Step = Callable[[], object]


def ray_ordered(count: int) -> Tensor:
    """Points in [0, 1]^3 as a training step has them: 64 along each of many short rays."""
    start = torch.rand(count // 64, 1, 3)
    direction = F.normalize(torch.randn(count // 64, 1, 3), dim=-1)
    return ((start + 0.5 * torch.linspace(0, 1, 64)[None, :, None] * direction) % 1).reshape(-1, 3).contiguous()


def eikonal_loss(normal: Tensor) -> Tensor:
    return ((normal.norm(dim=-1) - 1) ** 2).mean()


def numerical_loss(values: Tensor, offsets: Tensor) -> Tensor:
    """Eikonal loss of the gradient that the taps give, and a loss on the value at the point itself."""
    gradient = 3 / offsets.square().sum() * values[:, 1:] @ offsets
    return eikonal_loss(gradient) + values[:, 0].square().mean()


class OurGrid:
    """The hash grid by one of our backends, in front of a linear head."""

    def __init__(self, layout: GridLayout, backend: str) -> None:
        self.layout, self.in_place = layout, backend == "warp"
        self.jet, self.stencil = {
            "warp": (warp_jet.jet, warp_stencil.stencil),
            "torch": (torch_jet.jet, torch_stencil.stencil),
        }[backend]
        self.head = torch.nn.Parameter(torch.randn(layout.width))
        self.half_width = 1 / layout.finest
        self.table = torch.nn.Parameter(1e-2 * torch.rand(layout.levels, layout.rows, layout.features))
        if self.in_place:
            self.table.scatter_into_grad = True  # type: ignore[attr-defined]
            self.table.grad = torch.zeros_like(self.table)

    def columns(self, points: Tensor, count: int) -> Tensor:
        return self.jet(points, self.table, self.layout, count, self.layout.levels) @ self.head

    def train(self, loss: Callable[[], Tensor]) -> None:
        if self.in_place and self.table.grad is not None:
            self.table.grad.zero_()
        else:
            self.table.grad = None
        loss().backward()

    def forward(self, points: Tensor) -> None:
        with torch.no_grad():
            self.columns(points, 1)

    def forward_backward(self, points: Tensor) -> None:
        self.train(lambda: self.columns(points, 1).square().mean())

    def eikonal(self, points: Tensor) -> None:
        self.train(lambda: eikonal_loss(self.columns(points, 4)[:, 1:]))

    def taps_apart(self, points: Tensor) -> None:
        offsets = tap_offsets(self.half_width, 6, points)
        places = [points, *(points + offset for offset in offsets)]
        self.train(lambda: numerical_loss(torch.cat([self.columns(place, 1) for place in places], 1), offsets))

    def _fused(self, points: Tensor, taps: int) -> None:
        offsets = tap_offsets(self.half_width, taps, points)
        given = (points, self.half_width, taps, self.table, self.layout, self.layout.levels)
        self.train(lambda: numerical_loss(self.stencil(*given) @ self.head, offsets))

    def seven_evaluations(self, points: Tensor) -> None:
        self._fused(points, 6)

    def five_evaluations(self, points: Tensor) -> None:
        self._fused(points, 4)


class PeerGrid:
    """nerfstudio's HashEncoding in plain torch, in front of the same head."""

    def __init__(self, layout: GridLayout) -> None:
        from nerfstudio.field_components.encodings import HashEncoding

        sizes = (layout.levels, layout.coarsest, layout.finest, layout.log2_rows, layout.features)
        self.encoding = HashEncoding(*sizes, implementation="torch")
        self.head = torch.nn.Parameter(torch.randn(layout.width))
        self.half_width = 1 / layout.finest

    def train(self, loss: Callable[[], Tensor]) -> None:
        self.encoding.zero_grad(set_to_none=True)
        loss().backward()

    def forward(self, points: Tensor) -> None:
        with torch.no_grad():
            torch.matmul(self.encoding(points), self.head)

    def forward_backward(self, points: Tensor) -> None:
        self.train(lambda: (self.encoding(points) @ self.head).square().mean())

    def eikonal(self, points: Tensor) -> None:
        def loss() -> Tensor:
            moving = points.clone().requires_grad_()
            value = (self.encoding(moving) @ self.head).sum()
            return eikonal_loss(torch.autograd.grad(value, moving, create_graph=True)[0])

        self.train(loss)

    def seven_evaluations(self, points: Tensor) -> None:
        offsets = tap_offsets(self.half_width, 6, points)
        places = [points, *(points + offset for offset in offsets)]
        self.train(lambda: numerical_loss(torch.stack([self.encoding(p) @ self.head for p in places], 1), offsets))


def grid_of(contender: str, layout: GridLayout) -> OurGrid | PeerGrid:
    return PeerGrid(layout) if contender == "nerfstudio" else OurGrid(layout, contender)


def march_steps(rays: int, resolution: int, step: float) -> dict[str, Step]:
    """Rays at a shell two to three cells thick, seen from a distance."""
    axis = (torch.arange(resolution) + 0.5) * 2 / resolution - 1
    squares = axis.square()
    radius = (squares[:, None, None] + squares[:, None] + squares).sqrt()
    occupied = (radius - 0.6).abs() < 2.5 / resolution
    origins = 2.5 * F.normalize(torch.randn(rays, 3), dim=-1)
    directions = F.normalize(0.35 * torch.randn(rays, 3) - origins, dim=-1)
    closest = -(origins * directions).sum(-1)
    half = (closest**2 - (origins**2).sum(-1) + 1).clamp_min(0).sqrt()
    given = (origins, directions, closest - half, closest + half, torch.rand(rays))
    return {
        # What skips emptiness is made once for many marches, whenever the cells change.
        "warp": functools.partial(warp_march.march, *given, occupied_cells(occupied), step),
        "torch": functools.partial(torch_march.march, *given, occupied, step),
    }


def compositing_steps(rays: int, samples: int) -> dict[str, Step]:
    """Forward and backward of compositing eight channels."""
    ray_index = torch.randint(0, rays, (samples,)).sort().values
    alpha, values = (0.3 * torch.rand(samples)).requires_grad_(), torch.randn(samples, 8).requires_grad_()

    def through(weights_from_alpha: Callable[..., tuple[Tensor, Tensor]], accumulate: Callable[..., Tensor]) -> None:
        weights, _ = weights_from_alpha(alpha, ray_index, rays)
        accumulate(weights[:, None] * values, ray_index, rays).square().sum().backward()
        alpha.grad = values.grad = None

    return {
        "warp": lambda: through(warp_packed.weights_from_alpha, warp_packed.accumulate),
        "torch": lambda: through(torch_packed.weights_from_alpha, torch_packed.accumulate),
    }
