"""The hash grid's jet in Warp, CPU and CUDA from one source; same values and index rule as `torch_jet`.

The jet is linear in the table, so one hand-written scatter is its whole table gradient. The gradient at the positions
is a node of its own in the graph, present only when the positions ask for one: torch tells a custom function what to
differentiate when it is built, not when it is asked, and a shared node would always do both.
"""

import functools
from typing import Any

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.warp_jet_kernels import at_positions_kernel, gather_kernel, row_type, scatter_kernel
from neus_ns.kernels.warp_launch import array, launch, on_threads, prepared, thread_ranges

# Fewer points than this are not worth waking a second thread for.
_SHORTEST_RUN = 1024


def jet(
    positions: Float[Tensor, "points 3"],
    table: Float[Tensor, "levels rows features"],
    layout: GridLayout,
    columns: int,
    active_levels: int,
) -> Float[Tensor, "points {columns} width"]:
    """Encode positions in [0, 1]^3; levels from `active_levels` on are zero and receive no gradient.

    A table with the attribute `scatter_into_grad = True` has its gradient added straight into an existing `table.grad`,
    which saves a zero fill and an addition of the whole table; hooks on the table then see nothing.
    """
    if columns not in (1, 4, 7):
        raise ValueError(f"a jet has 1, 4 or 7 columns, not {columns}")
    if positions.dtype != torch.float32 or table.dtype != torch.float32:
        raise ValueError(f"Warp's jet is float32; got positions {positions.dtype} and table {table.dtype}")
    if not table.is_contiguous():
        raise ValueError("Warp's jet reads a contiguous table")
    positions = positions.contiguous()
    encoded = _OfTable.apply(positions.detach(), table, layout, columns, active_levels)
    if positions.requires_grad and torch.is_grad_enabled():
        encoded = _OfPositions.apply(encoded, positions, table.detach(), layout, columns, active_levels)
    return encoded  # type: ignore[return-value]


class _OfTable(torch.autograd.Function):
    """The jet as a function of the table alone."""

    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, table: Tensor, layout: GridLayout, columns: int, active_levels: int
    ) -> Tensor:
        ctx.save_for_backward(positions)
        ctx.shape = (layout, columns, active_levels)
        ctx.table_shape = table.shape
        ctx.owner = table if getattr(table, "scatter_into_grad", False) else None
        return _gather(positions, table, layout, columns, active_levels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (positions,) = ctx.saved_tensors
        kept = None if ctx.owner is None else ctx.owner.grad
        if kept is not None and kept.dtype == torch.float32 and kept.is_contiguous():
            _scatter(positions, gradient.contiguous(), kept, *ctx.shape)
            return None, None, None, None, None
        total = gradient.new_zeros(ctx.table_shape)
        _scatter(positions, gradient.contiguous(), total, *ctx.shape)
        return None, total, None, None, None


class _OfPositions(torch.autograd.Function):
    """Passes the jet through and adds the gradient that flows to the positions."""

    @staticmethod
    def forward(
        ctx: Any, encoded: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, columns: int, active: int
    ) -> Tensor:
        ctx.save_for_backward(positions, table)
        ctx.shape = (layout, columns, active)
        return encoded.view_as(encoded)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        positions, table = ctx.saved_tensors
        return gradient, _at_positions(positions, table, gradient.contiguous(), *ctx.shape), None, None, None, None


@functools.lru_cache(maxsize=32)
def _levels_on(layout: GridLayout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Resolution of every level, and one where it is dense, as the kernels read them."""
    resolutions = torch.tensor(layout.resolutions, dtype=torch.int32, device=device)
    return resolutions, torch.tensor(layout.dense, dtype=torch.int32, device=device)


def _shared_inputs(layout: GridLayout, device: torch.device) -> tuple[Any, ...]:
    resolutions, dense = _levels_on(layout, device)
    return array(resolutions, wp.int32), array(dense, wp.int32), wp.uint32(layout.rows - 1)


def _by_level(columns: Tensor, layout: GridLayout) -> Any:
    """A jet's columns seen as points x columns x levels of table rows."""
    return array(columns.view(*columns.shape[:2], layout.levels, layout.features), row_type(layout.features))


def _gather(positions: Tensor, table: Tensor, layout: GridLayout, columns: int, active_levels: int) -> Tensor:
    count = len(positions)
    out = torch.empty(count, columns, layout.width, dtype=torch.float32, device=positions.device)
    out[:, :, active_levels * layout.features :].zero_()
    if count == 0 or active_levels == 0:
        return out
    kernel = prepared(gather_kernel(layout.features, columns), positions.device)
    inputs = (
        array(positions, wp.vec3),
        array(table, row_type(layout.features)),
        *_shared_inputs(layout, positions.device),
    )
    _over_points(kernel, inputs, positions, active_levels, _by_level(out, layout))
    return out


def _at_positions(
    positions: Tensor, table: Tensor, gradient: Tensor, layout: GridLayout, columns: int, active_levels: int
) -> Tensor:
    out = torch.zeros_like(positions)
    if len(positions) == 0 or active_levels == 0:
        return out
    kernel = prepared(at_positions_kernel(layout.features, columns), positions.device)
    read = (array(positions, wp.vec3), array(table, row_type(layout.features)), _by_level(gradient, layout))
    inputs = (*read, *_shared_inputs(layout, positions.device))
    _over_points(kernel, inputs, positions, active_levels, array(out, wp.vec3))
    return out


def _over_points(kernel: wp.Kernel, inputs: tuple[Any, ...], positions: Tensor, levels: int, out: Any) -> None:
    """Launch a kernel that writes to its own points only."""
    count = len(positions)
    if positions.is_cuda:
        launch(kernel, (levels, count), (*inputs, 0, count, 1, out), positions)
        return

    def run(begin: int, end: int) -> None:
        launch(kernel, (levels, 1), (*inputs, begin, end, end - begin, out), positions)

    # One long run a thread: a level's slice of the table is fetched once a run; short runs measured up to 3x slower.
    on_threads([functools.partial(run, *part) for part in thread_ranges(count, _SHORTEST_RUN)])


def _scatter(
    positions: Tensor, gradient: Tensor, table: Tensor, layout: GridLayout, columns: int, active_levels: int
) -> None:
    """Add the transpose of the jet, applied to `gradient`, to `table`."""
    count = len(positions)
    if count == 0 or active_levels == 0:
        return
    kernel = prepared(scatter_kernel(layout.features, columns), positions.device)
    read = (array(positions, wp.vec3), _by_level(gradient, layout))
    inputs = (*read, *_shared_inputs(layout, positions.device))
    out = array(table, row_type(layout.features))
    if positions.is_cuda:
        launch(kernel, (active_levels, count), (*inputs, 0, count, 1, out), positions)
        return

    def run(level: int) -> None:
        launch(kernel, (1, 1), (*inputs, level, count, count, out), positions)

    # The finest levels miss the cache most; the longest parts go first so that the threads end together.
    on_threads([functools.partial(run, level) for level in reversed(range(active_levels))])
