"""What every test module wants."""

from collections.abc import Iterator

import pytest
import torch

from neus_ns.kernels.resting import let_waiting_threads_sleep

# Test processes side by side, and what else the machine does, would otherwise wait for one another.
let_waiting_threads_sleep()

NEEDS_DEVICE = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(params=["pretended", pytest.param("real", marks=NEEDS_DEVICE)])
def cuda(request) -> Iterator[str]:
    """A CUDA device: one that is pretended (`tests/pretended_cuda.py`), and the machine's if it has one."""
    if request.param == "real":
        yield "cuda"
        return
    pytest.importorskip("warp")
    from tests.pretended_cuda import pretended_cuda

    with pretended_cuda():
        yield "cuda"
