"""OpenMP's waiting threads take no time from others."""

import os
import subprocess
import sys

import pytest

# Short operations of torch with Python's own work between them, as in a training step; prints the processor seconds.
_WORK = """
import sys, time
from neus_ns.kernels.waiting import stay_awake_briefly
if sys.argv[1] == "brief":
    stay_awake_briefly()
import torch
from neus_ns.kernels.resting import let_waiting_threads_sleep
torch.set_num_threads(2)
if sys.argv[1] == "sleep":
    let_waiting_threads_sleep()
    let_waiting_threads_sleep()
numbers = torch.ones(1 << 18)
def work(times):
    for _ in range(times):
        numbers.add_(1)
        until = time.thread_time() + 0.004
        while time.thread_time() < until:
            pass
work(5)
before = time.process_time()
work(100)
print(time.process_time() - before)
"""


def processor_seconds(how: str, **environment: str) -> float:
    chosen = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", _WORK, how]
    done = subprocess.run(command, env=chosen | environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp's waiting is a matter of Linux")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) not in (2, 3, 4), reason="two threads are too few to be in the way")
def test_waiting_threads_sleep_when_asked_to_and_unless_the_user_chose():
    spinning = processor_seconds("spin")
    if spinning < 0.7:
        pytest.skip("this build of OpenMP does not spin")

    def rests(how: str, **environment: str) -> bool:
        return processor_seconds(how, **environment) < 0.75 * spinning

    # Other work on the machine leaves threads no time to spin in, now and then.
    for how in ("sleep", "brief"):
        assert any(rests(how) for _ in range(3))
        rested = all(rests(how, GOMP_SPINCOUNT="300000000") for _ in range(3))
        if rested and rests("spin"):
            pytest.skip("other work on this machine leaves threads no time to spin in just now")
        assert not rested
