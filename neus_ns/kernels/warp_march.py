"""Marching through an occupancy grid in Warp; exactly the sections of `torch_march`, found without visiting every one.

Two passes over the rays, to count and then to write, with the one read of the total in between. Emptiness is skipped:
a block of cells knows how many blocks away the next occupied one is, so the next section looked at is the first beyond
the cube that is empty for sure.
"""

from typing import Any

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.kernels.cells import OccupiedCells
from neus_ns.kernels.warp_launch import array
from neus_ns.kernels.warp_march_kernels import march_kernel
from neus_ns.kernels.warp_rays import empty_sections, over_rays, places

# Fewer rays than this are not worth waking a second thread for.
SHORTEST_RUN = 64


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    t_near: Float[Tensor, " rays"],
    t_far: Float[Tensor, " rays"],
    shift: Float[Tensor, " rays"],
    occupied: OccupiedCells,
    step: float,
) -> tuple[Int[Tensor, " sections"], Float[Tensor, " sections"], Float[Tensor, " sections"]]:
    """Ray index (sorted), start and end of every section whose midpoint is occupied."""
    count, device = len(origins), origins.device
    if count == 0:
        return empty_sections(0, device)
    rays = plain(origins, directions, t_near, t_far, shift)
    inputs = walk_inputs(rays, occupied, step)
    per_ray = torch.empty(count, dtype=torch.int64, device=device)
    nothing = empty_sections(0, device)
    over_rays(
        march_kernel(False), (*inputs, array(per_ray, wp.int64), *section_arrays(nothing)), count, origins, SHORTEST_RUN
    )
    first, total = places(per_ray)
    found = empty_sections(int(total), device)
    if len(found[0]) > 0:
        over_rays(
            march_kernel(True), (*inputs, array(first, wp.int64), *section_arrays(found)), count, origins, SHORTEST_RUN
        )
    return found


def plain(*tensors: Tensor) -> list[Tensor]:
    """The tensors as kernels read them; to be kept alive while arrays made from them are in use."""
    return [tensor.detach().float().contiguous() for tensor in tensors]


def walk_inputs(rays: list[Tensor], occupied: OccupiedCells, step: float) -> tuple[Any, ...]:
    """What a kernel needs to walk the rays (origins, directions, near, far, shift) through the cells."""
    return (
        *(array(tensor, wp.vec3) for tensor in rays[:2]),
        *(array(tensor, wp.float32) for tensor in rays[2:]),
        array(occupied.cells.view(-1), wp.bool),
        array(occupied.blocks_away.view(-1), wp.uint8),
        occupied.cells.shape[0],
        occupied.blocks_away.shape[0],
        float(step),
    )


def section_arrays(sections: tuple[Tensor, Tensor, Tensor]) -> tuple[Any, Any, Any]:
    """Ray index, start and end as kernels take them."""
    ray_index, t_start, t_end = sections
    return array(ray_index, wp.int64), array(t_start, wp.float32), array(t_end, wp.float32)
