"""What the kernels cost: Warp, the torch reference and nerfstudio's own torch hash grid, one line a case.

    python -m tests.benchmarks.kernels [--points 14 16 18] [--layout small|paper] [--threads 1] [--only times|memory]

All contenders take turns in one process. CPU-ms are the process's time over all threads, wall-ms what passes meanwhile;
both are the smallest of the repetitions, so that other work on the machine disturbs them least. On a busy machine one
thread gives the steadiest figures. Memory is measured in processes of its own, see `kernel_memory`.
"""

import argparse
import functools
import time

import torch

from tests.benchmarks import kernel_memory
from tests.benchmarks.kernel_cases import (
    LAYOUTS,
    OurGrid,
    PeerGrid,
    Step,
    compositing_steps,
    march_steps,
    ray_ordered,
)

ROUNDS = 7
# A contender that has run for this long sits out the remaining rounds; everyone runs at least once, warm.
SECONDS_EACH = 3.0
# The reference holds every corner of every tap at once: 20 GB for 2^18 points.
MOST_POINTS_OF_TORCH_STENCIL = 2**16


def report(title: str, contenders: dict[str, Step]) -> None:
    """Print each contender's times, and how many times faster the first is than each of the others."""
    best: dict[str, tuple[float, float]] = {}
    spent = dict.fromkeys(contenders, 0.0)
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            if spent[name] > SECONDS_EACH:
                continue
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            spent[name] += wall
            before = best.get(name, (cpu, wall))
            best[name] = (min(cpu, before[0]), min(wall, before[1]))
    first_cpu, first_wall = next(iter(best.values()))
    columns = [
        f"{name} {1e3 * cpu:.1f} CPU-ms {1e3 * wall:.1f} wall-ms"
        + (f" ({cpu / first_cpu:.1f}x, {wall / first_wall:.1f}x)" if place else "")
        for place, (name, (cpu, wall)) in enumerate(best.items())
    ]
    print(f"{title}: {' | '.join(columns)}", flush=True)


def encodings(sizes: list[int], layout_name: str) -> None:
    layout = LAYOUTS[layout_name]
    warp, plain, peer = OurGrid(layout, "warp"), OurGrid(layout, "torch"), PeerGrid(layout)
    tiny = ray_ordered(64)
    for log2_points in sizes:
        points = ray_ordered(2**log2_points)
        cases = {
            "value, forward": (warp.forward, plain.forward, peer.forward),
            "value, forward and backward": (warp.forward_backward, plain.forward_backward, peer.forward_backward),
            "eikonal step (nerfstudio: double backward)": (warp.eikonal, plain.eikonal, peer.eikonal),
            "7-evaluation normals, forward and backward": (
                warp.seven_evaluations,
                plain.seven_evaluations,
                peer.seven_evaluations,
            ),
        }
        for title, works in cases.items():
            contenders = dict(zip(("warp", "torch", "nerfstudio"), works, strict=True))
            if "7-evaluation" in title:
                contenders |= {"warp, taps apart": warp.taps_apart, "warp, 4 taps": warp.five_evaluations}
                if len(points) > MOST_POINTS_OF_TORCH_STENCIL:
                    del contenders["torch"]
            for work in contenders.values():
                work(tiny)
            steps: dict[str, Step] = {name: functools.partial(work, points) for name, work in contenders.items()}
            report(f"2^{log2_points} points, {title}", steps)


def marches(rays: int, resolution: int, step: float) -> None:
    title = f"march {rays} rays through {resolution}^3, step 1/{round(1 / step)}"
    report(title, march_steps(rays, resolution, step))


def compositing(rays: int, samples: int) -> None:
    title = f"composite {samples} samples of {rays} rays, 8 channels, forward and backward"
    report(title, compositing_steps(rays, samples))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[14, 16, 18], help="numbers of points, powers of two")
    parser.add_argument("--layout", choices=LAYOUTS, default="paper", help="the papers' grid, or the package's own")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads for torch and Warp")
    parser.add_argument("--only", choices=("times", "memory"), help="half of the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {LAYOUTS[options.layout]}")
    print("ratios (CPU time, wall time; memory) are against warp")
    if options.only != "memory":
        encodings(options.points, options.layout)
        marches(8192, 128, 1 / 512)
        marches(8192, 256, 1 / 512)
        compositing(512, 10_000)
        compositing(1024, 64_000)
    if options.only != "times":
        # One size says how memory grows; the reference would not fit at the largest.
        kernel_memory.report(min(16, max(options.points)), options.layout, options.threads)


if __name__ == "__main__":
    main()
