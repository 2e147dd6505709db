"""How kernels of one thread a ray are launched, and where what they find lies on a packed axis."""

import functools
from typing import Any

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.kernels.threads import on_threads, thread_ranges
from neus_ns.kernels.warp_launch import launch, prepared


def over_rays(kernel: wp.Kernel, inputs: tuple[Any, ...], rays: int, like: Tensor, shortest: int) -> None:
    """Launch a kernel whose first argument is the ray that thread 0 takes: once on CUDA, by ranges of rays on the CPU.

    `like` says on which device; fewer rays than `shortest` are not worth waking a second thread for.
    """
    if rays == 0:
        return
    kernel = prepared(kernel, like.device)
    if like.is_cuda:
        launch(kernel, (rays,), (0, *inputs), like)
        return

    def run(begin: int, end: int) -> None:
        launch(kernel, (end - begin,), (begin, *inputs), like)

    on_threads([functools.partial(run, *part) for part in thread_ranges(rays, shortest)])


def places(per_ray: Int[Tensor, " rays"]) -> tuple[Int[Tensor, " rays"], Int[Tensor, ""]]:
    """Where each ray's sections begin on the packed axis, and how many there are in all."""
    last = torch.cumsum(per_ray, 0)
    return last - per_ray, last[-1]


def empty_sections(total: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Memory for this many sections: ray index, start, end."""
    t_start = torch.empty(total, dtype=torch.float32, device=device)
    return torch.empty(total, dtype=torch.int64, device=device), t_start, torch.empty_like(t_start)


def idle_sections(
    total: int, rays: int, t: Float[Tensor, "1"]
) -> tuple[Int[Tensor, " sections"], Float[Tensor, " sections"], Float[Tensor, " sections"]]:
    """Sections of the last ray at `t`, of no length: no light stops in those that a kernel leaves as they are."""
    ray_index = torch.full((total,), rays - 1, dtype=torch.int64, device=t.device)
    t_start = t.expand(total).to(torch.float32, copy=True)
    return ray_index, t_start, t_start.clone()
