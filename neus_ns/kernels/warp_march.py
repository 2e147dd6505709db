"""Marching through an occupancy grid in Warp; exactly the sections of `torch_march`, found without visiting every one.

Two passes over the rays, to count and then to write, with the one read of the total in between. Emptiness is skipped:
where the point's cell is empty, the next section looked at is the first beyond the largest of three aligned cubes that
is empty as a whole: the cell, its block of 4^3 cells, its region of 16^3.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
import warp as wp
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neus_ns.kernels.warp_launch import array, launch, on_threads, prepared, thread_ranges
from neus_ns.kernels.warp_march_kernels import block_kernel, march_kernel

# Cells along the side of a block, and blocks along the side of a region; four of them are read as one 32-bit word.
_BLOCK = 4
# Fewer rays than this are not worth waking a second thread for.
_SHORTEST_RUN = 64


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    t_near: Float[Tensor, " rays"],
    t_far: Float[Tensor, " rays"],
    shift: Float[Tensor, " rays"],
    occupied: Bool[Tensor, "res res res"],
    step: float,
) -> tuple[Int[Tensor, " sections"], Float[Tensor, " sections"], Float[Tensor, " sections"]]:
    """Ray index (sorted), start and end of every section whose midpoint is occupied."""
    count = len(origins)
    if count == 0:
        return torch.zeros(0, dtype=torch.long, device=origins.device), t_near.new_zeros(0), t_near.new_zeros(0)
    kept = [tensor.detach().float().contiguous() for tensor in (origins, directions, t_near, t_far, shift)]
    cells = occupied.contiguous()
    if cells.shape[0] % _BLOCK**2:
        cells = F.pad(cells, (0, -cells.shape[0] % _BLOCK**2) * 3)
    blocks = _any_of_four(cells)
    regions = _any_of_four(blocks)
    inputs = (
        *(array(tensor, wp.vec3) for tensor in kept[:2]),
        *(array(tensor, wp.float32) for tensor in kept[2:]),
        array(cells.reshape(-1), wp.bool),
        array(blocks.reshape(-1), wp.bool),
        array(regions.reshape(-1), wp.bool),
        occupied.shape[0],
        regions.shape[0],
        float(step),
    )
    per_ray = torch.empty(count, dtype=torch.int64, device=origins.device)
    _over_rays(False, (*inputs, array(per_ray, wp.int64), *_nothing(origins.device)), origins)
    last = torch.cumsum(per_ray, 0)
    total = int(last[-1])
    ray_index = torch.empty(total, dtype=torch.int64, device=origins.device)
    t_start = torch.empty(total, dtype=torch.float32, device=origins.device)
    t_end = torch.empty_like(t_start)
    if total > 0:
        first = last - per_ray
        written = (array(ray_index, wp.int64), array(t_start, wp.float32), array(t_end, wp.float32))
        _over_rays(True, (*inputs, array(first, wp.int64), *written), origins)
    return ray_index, t_start, t_end


def _any_of_four(cells: Bool[Tensor, "fine fine fine"]) -> Bool[Tensor, "coarse coarse coarse"]:
    """Whether anything in a cube of 4^3 is occupied; torch's reductions cost many times more for so little."""
    side = cells.shape[0] // _BLOCK
    blocks = torch.empty(side, side, side, dtype=torch.bool, device=cells.device)
    words = array(cells.reshape(-1).view(torch.int32), wp.int32)
    launch(prepared(block_kernel(), cells.device), (side,) * 3, (words, array(blocks, wp.bool)), cells)
    return blocks


def _nothing(device: torch.device) -> tuple[Any, Any, Any]:
    """Stand-ins for the outputs that the counting pass does not write."""
    return tuple(array(torch.empty(0, dtype=kind, device=device), warp) for kind, warp in _OUTPUT_TYPES)  # type: ignore


_OUTPUT_TYPES = ((torch.int64, wp.int64), (torch.float32, wp.float32), (torch.float32, wp.float32))


def _over_rays(writing: bool, inputs: tuple[Any, ...], origins: Tensor) -> None:
    kernel = prepared(march_kernel(writing), origins.device)
    count = len(origins)
    if origins.is_cuda:
        launch(kernel, (count,), (0, *inputs), origins)
        return

    def run(begin: int, end: int) -> None:
        launch(kernel, (end - begin,), (begin, *inputs), origins)

    on_threads([functools.partial(run, *part) for part in thread_ranges(count, _SHORTEST_RUN)])
