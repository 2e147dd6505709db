"""How Warp kernels are launched on torch tensors: zero copy, on torch's stream, on several threads on the CPU.

Warp runs a CPU launch on one thread but lets go of Python's lock meanwhile, so a job is split into parts that no two
threads write to at once (`threads`). On CUDA the whole job is one launch.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import warp as wp
from torch import Tensor

from neus_ns.kernels.backend import start_warp

start_warp()


def array(tensor: Tensor, dtype: Any) -> Any:
    """The tensor's memory as a Warp array argument; the caller keeps the tensor alive and contiguous."""
    return wp.from_torch(tensor.detach(), dtype=dtype, requires_grad=False, return_ctype=True)


def launch(kernel: wp.Kernel, dim: tuple[int, ...], inputs: Sequence[Any], like: Tensor) -> None:
    """Launch on the device of `like`, in the order of torch's own work there."""
    if like.is_cuda:
        stream = wp.stream_from_torch(torch.cuda.current_stream(like.device))
        wp.launch(kernel, dim, inputs, device=wp.device_from_torch(like.device), stream=stream, record_tape=False)
    else:
        wp.launch(kernel, dim, inputs, device="cpu", record_tape=False)


@functools.cache
def prepared(kernel: wp.Kernel, device: torch.device) -> wp.Kernel:
    """The kernel, compiled or read from Warp's cache: loading is not safe from several threads at once."""
    # A launch on the CPU has blocks of one. Before 1.18 a module of another size is another module, which would be
    # compiled by the launches after all, and from two threads at once comes out broken and stays so in the cache.
    block_dim = 1 if device.type == "cpu" else None
    wp.load_module(kernel.module, device=wp.device_from_torch(device), block_dim=block_dim)
    return kernel
