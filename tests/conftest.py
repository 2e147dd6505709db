"""What every test module wants."""

import os
from collections.abc import Iterator

import pytest
import torch

from neus_ns.kernels.resting import let_waiting_threads_sleep

# Test processes side by side, and what else the machine does, would otherwise wait for one another.
let_waiting_threads_sleep()

# Trainings of the tests keep two processors busy each; more workers than this only load the package more often.
_MOST_WORKERS = 4

NEEDS_DEVICE = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Files side by side on the processors there are; one after another where only some are asked for, or slow ones."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not everything or config.option.markexpr != "not slow and not gpu" or config.option.keyword:
        return 0
    return min(os.cpu_count() or 1, _MOST_WORKERS)


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
