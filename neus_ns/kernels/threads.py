"""How work on the CPU is shared between threads: in long runs of points, not inside every small operation.

torch shares each operation between its threads and lets all of them meet after it. A step is some hundred operations of
a fraction of a millisecond, so that meeting costs as much as a second thread brings. A part here goes through many
operations on points of its own, which torch then keeps on that part's thread.
"""

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

# What a run of so many points makes on its way through a layer of usual width stays in a core's own cache.
_LONGEST_RUN = 7168
# Fewer points than this are not worth a thread of their own.
_SHORTEST_RUN = 512


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """One pool a process: threads do not survive a fork, so a forked data loader makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"neus_ns-{process}")


def on_threads(parts: Sequence[Callable[[], Result]]) -> list[Result]:
    """What the parts return, each run on one of torch's number of threads; the caller takes its share.

    Parts write to disjoint memory, and nothing of what they do is recorded for a backward pass.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(parts))
    if workers <= 1:
        with torch.no_grad():
            return [part() for part in parts]
    results: dict[int, Result] = {}
    # A shared counter hands out the parts, so that a thread which drew cheap ones takes more of them.
    ticket = itertools.count()
    inference = torch.is_inference_mode_enabled()

    def work() -> None:
        # Of its own thread, as are the modes; torch's operations within a part stay on it.
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():
            while (number := next(ticket)) < len(parts):
                results[number] = parts[number]()

    others = [_pool(os.getpid(), threads - 1).submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        try:
            for other in others:
                other.result()
        finally:
            torch.set_num_threads(threads)
    return [results[number] for number in range(len(parts))]


def summed_on_threads(parts: Sequence[Callable[[], Sequence[Tensor]]]) -> list[Tensor]:
    """Sums over the parts of each tensor that they return, always added in the parts' order."""
    return [functools.reduce(Tensor.add_, shares) for shares in zip(*on_threads(parts), strict=True)]


def thread_ranges(count: int, shortest: int) -> list[tuple[int, int]]:
    """Split range(count) into one run for each of torch's threads, or fewer where they would be short."""
    return _split(count, max(1, min(torch.get_num_threads(), count // shortest)))


def runs(count: int, device: torch.device) -> list[slice]:
    """Points in runs that go through a network one at a time: as many for each thread, all at once on CUDA."""
    if device.type != "cpu":
        return [slice(0, count)]
    threads = torch.get_num_threads()
    rounds = -(-count // (threads * _LONGEST_RUN))
    number = max(1, min(threads * rounds, count // _SHORTEST_RUN))
    return [slice(*ends) for ends in _split(count, number)]


def _split(count: int, number: int) -> list[tuple[int, int]]:
    length = max(1, -(-count // number))
    return [(start, min(start + length, count)) for start in range(0, max(count, 1), length)]
