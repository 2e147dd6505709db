"""What the processes of a distributed training have to agree about when they choose pixels.

Each process draws its own pixels with random numbers of its own, and hears the errors of its own rays only. That needs
no agreement: every batch is weighted by the distribution that it was drawn from, and the mean of the gradients is that
of the batches. Running errors forget, so the maps of two processes stay estimates of the same thing. Only decisions
that are never taken back have to rest on the rays of all.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float
from nerfstudio.utils import comms
from torch import Tensor


def summed_over_ranks(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sum over all processes, on each of them; every one has to call this at the same step."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    # NCCL takes only what is on the process's own GPU, and photographs may be kept on the CPU.
    own_gpu = dist.get_backend() == "nccl"
    total = values.to(torch.device("cuda", comms.get_local_rank()) if own_gpu else values.device, copy=True)
    dist.all_reduce(total)
    return total.to(values.device)
