"""Marching through an occupancy grid by whichever backend was chosen; see `torch_march` for what is kept."""

from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.errors import InputError
from neus_ns.kernels import torch_march
from neus_ns.kernels.backend import Backend
from neus_ns.kernels.cells import OccupiedCells


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    t_near: Float[Tensor, " rays"],
    t_far: Float[Tensor, " rays"],
    shift: Float[Tensor, " rays"],
    occupied: OccupiedCells,
    step: float,
    backend: Backend,
) -> tuple[Int[Tensor, " sections"], Float[Tensor, " sections"], Float[Tensor, " sections"]]:
    """Ray index (sorted), start and end of the lattice sections whose midpoint is in an occupied cell."""
    if not step > 0:
        raise InputError(f"the marching step must be greater than zero, not {step}; choose a larger one")
    if backend == "warp":
        from neus_ns.kernels import warp_march

        return warp_march.march(origins, directions, t_near, t_far, shift, occupied, step)
    return torch_march.march(origins, directions, t_near, t_far, shift, occupied.cells, step)
