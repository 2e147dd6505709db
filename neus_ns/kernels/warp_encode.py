"""How an encoding in Warp, the jet or the stencil, becomes a function that torch can differentiate.

Both are linear in the table, so one hand-written scatter is the whole table gradient. The gradient at the positions is
a node of its own in the graph, present only when the positions ask for one: torch tells a custom function what to
differentiate when it is built, not when it is asked, and a shared node would always do both.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.threads import on_threads, thread_ranges
from neus_ns.kernels.warp_cell import row_type
from neus_ns.kernels.warp_launch import array, launch, prepared

# Fewer points than this are not worth waking a second thread for.
_SHORTEST_RUN = 1024


@dataclass(frozen=True)
class Encoding:
    """A linear function of the table: its kernels, and what of them is no tensor."""

    layout: GridLayout
    active_levels: int
    columns: int
    """Encoded rows of a point."""
    gather: wp.Kernel
    scatter: wp.Kernel
    at_positions: wp.Kernel
    parameters: tuple[float, ...] = ()
    """What the kernels are told beyond the layout."""


def encode(
    positions: Float[Tensor, "points 3"], table: Float[Tensor, "levels rows features"], encoding: Encoding
) -> Float[Tensor, "points columns width"]:
    """Encode positions in [0, 1]^3; levels from the active ones on are zero and receive no gradient.

    A table with the attribute `scatter_into_grad = True` has its gradient added straight into an existing `table.grad`,
    which saves a zero fill and an addition of the whole table; hooks on the table then see nothing.
    """
    if positions.dtype != torch.float32 or table.dtype != torch.float32:
        raise ValueError(f"Warp's encoding is float32; got positions {positions.dtype} and table {table.dtype}")
    if not table.is_contiguous():
        raise ValueError("Warp's encoding reads a contiguous table")
    positions = positions.contiguous()
    encoded = _OfTable.apply(positions.detach(), table, encoding)
    if positions.requires_grad and torch.is_grad_enabled():
        encoded = _OfPositions.apply(encoded, positions, table.detach(), encoding)
    return encoded  # type: ignore[return-value]


class _OfTable(torch.autograd.Function):
    """The encoding as a function of the table alone."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, table: Tensor, encoding: Encoding) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.encoding = encoding
        ctx.table_shape = table.shape
        ctx.owner = table if getattr(table, "scatter_into_grad", False) else None
        return _gather(positions, table, encoding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (positions,) = ctx.saved_tensors
        kept = None if ctx.owner is None else ctx.owner.grad
        if kept is not None and kept.dtype == torch.float32 and kept.is_contiguous():
            _scatter(positions, gradient.contiguous(), kept, ctx.encoding)
            return None, None, None
        total = gradient.new_zeros(ctx.table_shape)
        _scatter(positions, gradient.contiguous(), total, ctx.encoding)
        return None, total, None


class _OfPositions(torch.autograd.Function):
    """Passes the encoding through and adds the gradient that flows to the positions."""

    @staticmethod
    def forward(ctx: Any, encoded: Tensor, positions: Tensor, table: Tensor, encoding: Encoding) -> Tensor:
        ctx.save_for_backward(positions, table)
        ctx.encoding = encoding
        return encoded.view_as(encoded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, table = ctx.saved_tensors
        return gradient, _at_positions(positions, table, gradient.contiguous(), ctx.encoding), None, None


@functools.lru_cache(maxsize=32)
def _levels_on(layout: GridLayout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Resolution of every level, and one where it is dense, as the kernels read them."""
    resolutions = torch.tensor(layout.resolutions, dtype=torch.int32, device=device)
    return resolutions, torch.tensor(layout.dense, dtype=torch.int32, device=device)


def _shared_inputs(encoding: Encoding, device: torch.device) -> tuple[Any, ...]:
    resolutions, dense = _levels_on(encoding.layout, device)
    rows = wp.uint32(encoding.layout.rows - 1)
    return array(resolutions, wp.int32), array(dense, wp.int32), rows, *encoding.parameters


def _by_level(columns: Tensor, layout: GridLayout) -> Any:
    """Encoded columns seen as points x columns x levels of table rows."""
    return array(columns.view(*columns.shape[:2], layout.levels, layout.features), row_type(layout.features))


def _gather(positions: Tensor, table: Tensor, encoding: Encoding) -> Tensor:
    layout, active_levels = encoding.layout, encoding.active_levels
    count = len(positions)
    out = torch.empty(count, encoding.columns, layout.width, dtype=torch.float32, device=positions.device)
    out[:, :, active_levels * layout.features :].zero_()
    read = (array(positions, wp.vec3), array(table, row_type(layout.features)))
    _over_points(encoding.gather, read, positions, encoding, _by_level(out, layout))
    return out


def _at_positions(positions: Tensor, table: Tensor, gradient: Tensor, encoding: Encoding) -> Tensor:
    layout = encoding.layout
    out = torch.zeros_like(positions)
    read = (array(positions, wp.vec3), array(table, row_type(layout.features)), _by_level(gradient, layout))
    _over_points(encoding.at_positions, read, positions, encoding, array(out, wp.vec3))
    return out


def _over_points(kernel: wp.Kernel, read: tuple[Any, ...], positions: Tensor, encoding: Encoding, out: Any) -> None:
    """Launch a kernel that writes to its own points only."""
    count, levels = len(positions), encoding.active_levels
    if count == 0 or levels == 0:
        return
    kernel = prepared(kernel, positions.device)
    inputs = (*read, *_shared_inputs(encoding, positions.device))
    if positions.is_cuda:
        launch(kernel, (levels, count), (*inputs, 0, count, 1, out), positions)
        return

    def run(begin: int, end: int) -> None:
        launch(kernel, (levels, 1), (*inputs, begin, end, end - begin, out), positions)

    # One long run a thread: a level's slice of the table is fetched once a run; short runs measured up to 3x slower.
    on_threads([functools.partial(run, *part) for part in thread_ranges(count, _SHORTEST_RUN)])


def _scatter(positions: Tensor, gradient: Tensor, table: Tensor, encoding: Encoding) -> None:
    """Add the transpose of the encoding, applied to `gradient`, to `table`."""
    layout, active_levels = encoding.layout, encoding.active_levels
    count = len(positions)
    if count == 0 or active_levels == 0:
        return
    kernel = prepared(encoding.scatter, positions.device)
    read = (array(positions, wp.vec3), _by_level(gradient, layout))
    inputs = (*read, *_shared_inputs(encoding, positions.device))
    out = array(table, row_type(layout.features))
    if positions.is_cuda:
        launch(kernel, (active_levels, count), (*inputs, 0, count, 1, out), positions)
        return

    def run(level: int) -> None:
        launch(kernel, (1, 1), (*inputs, level, count, count, out), positions)

    # The finest levels miss the cache most; the longest parts go first so that the threads end together.
    on_threads([functools.partial(run, level) for level in reversed(range(active_levels))])
