"""Extra peak memory of one kernel's step: what it takes over a warm, tiny one.

    python -m tests.benchmarks.kernel_memory CASE CONTENDER --points 16 --layout paper

`tests.benchmarks.kernels` runs this once a figure, each in a process of its own. The peak is Linux's count of resident
memory, cleared after the tiny step; that of `getrusage` would begin at the peak of the process that started this one.
"""

import argparse
import ctypes
import functools
import subprocess
import sys
from pathlib import Path

import torch

from tests.benchmarks import kernel_cases as cases

GRID_CASES = ("forward", "forward_backward", "eikonal", "seven_evaluations")
OTHER_CASES = ("march", "composite")


def resident_mb(field: str) -> float:
    """Resident memory now (VmRSS) or its peak (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def step_of(case: str, contender: str, log2_points: int, layout: str) -> tuple[cases.Step, cases.Step]:
    """A tiny step and the one to measure."""
    if case == "march":
        tiny, full = (cases.march_steps(rays, 128, 1 / 512)[contender] for rays in (64, 8192))
    elif case == "composite":
        samples = 2**log2_points
        tiny, full = (cases.compositing_steps(count // 64, count)[contender] for count in (64, samples))
    else:
        work = getattr(cases.grid_of(contender, cases.LAYOUTS[layout]), case)
        points = cases.ray_ordered(2**log2_points)
        tiny, full = functools.partial(work, points[:64]), functools.partial(work, points)
    return tiny, full


def extra_peak_mb(case: str, contender: str, log2_points: int, layout: str) -> float:
    tiny, step = step_of(case, contender, log2_points, layout)
    for _ in range(2):
        tiny()
    # Pages that the preparation has freed but the allocator keeps would hide as much of the step's own need.
    ctypes.CDLL(None).malloc_trim(0)
    before = resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step()
    return resident_mb("VmHWM") - before


def report(log2_points: int, layout: str, threads: int) -> None:
    """Print every case's figures, each measured in a fresh process."""
    for case in (*GRID_CASES, *OTHER_CASES):
        figures = {}
        for contender in ("warp", "torch", "nerfstudio")[: 3 if case in GRID_CASES else 2]:
            command = [sys.executable, "-m", __spec__.name, case, contender]
            options = ["--points", str(log2_points), "--layout", layout, "--threads", str(threads)]
            done = subprocess.run(command + options, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{case} by {contender} failed:\n{done.stderr}")
            figures[contender] = float(done.stdout.split()[-1])
        size = "8192 rays through 128^3" if case == "march" else f"2^{log2_points} points"
        columns = [
            f"{name} {mb:.1f} MB" + (f" ({mb / figures['warp']:.1f}x)" if place else "")
            for place, (name, mb) in enumerate(figures.items())
        ]
        print(f"{size}, {case.replace('_', ' ')}, extra peak memory: {' | '.join(columns)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=(*GRID_CASES, *OTHER_CASES))
    parser.add_argument("contender", choices=("warp", "torch", "nerfstudio"))
    parser.add_argument("--points", type=int, default=16, help="number of points, as a power of two")
    parser.add_argument("--layout", choices=cases.LAYOUTS, default="paper")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{extra_peak_mb(options.case, options.contender, options.points, options.layout):.3f}")


if __name__ == "__main__":
    main()
