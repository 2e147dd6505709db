"""Lets the processor's other threads have the time in which OpenMP's would wait for their next share of work.

A step is many short operations of torch with kernels of ours and Python between them. After each of its operations the
threads of torch's OpenMP (GNU's libgomp) go round in a loop for milliseconds, so as to be quick when more comes. That
time is taken from the threads of our own kernels, and on a machine that is busy with something else, where a thread
that all wait for may not be running at all, everything takes many times as long.

GOMP_SPINCOUNT says how long to go round before sleeping (`waiting`), but libgomp reads it only while it is loaded,
which nerfstudio has done long before it finds us. By itself it goes round briefly where it manages more threads than
there are processors. So a thread that does nothing opens teams of its own and keeps them: they sleep, cost nothing, and
count.
"""

import os
import sys
import threading

import torch

from neus_ns.kernels.waiting import CHOSEN_BY_USER

# Enough numbers for torch to share the work on them between its threads.
_SHARED_WORK = 1 << 20

_resting = False


def let_waiting_threads_sleep() -> None:
    """Make torch's waiting threads go to sleep at once, in this process, from now on; once is enough.

    Leaves things as they are where the user has chosen, on systems without libgomp, and where processors are plenty.
    """
    global _resting
    if _resting or not sys.platform.startswith("linux") or any(name in os.environ for name in CHOSEN_BY_USER):
        return
    threads, processors = torch.get_num_threads(), len(os.sched_getaffinity(0))
    # With fewer threads than half of the processors nobody is kept waiting.
    if threads < 2 or 2 * threads < processors:
        return
    _resting = True
    # The first team is the main thread's own; every further one brings all its threads but the one that opens it.
    for _ in range(max(-(-(processors + 1 - threads) // (threads - 1)), 1)):
        opened = threading.Event()
        threading.Thread(target=_keep_team, args=(opened,), daemon=True, name="keeps an OpenMP team").start()
        opened.wait()


def _keep_team(opened: threading.Event) -> None:
    torch.ones(_SHARED_WORK).add_(1)
    opened.set()
    threading.Event().wait()
