"""What the kernels cost: Warp, the torch reference and nerfstudio's own torch hash grid, one line a case.

    python -m tests.benchmarks.kernels [--threads 1]

All contenders take turns in one process. CPU-ms are the process's time over all threads, wall-ms what passes meanwhile;
both are the smallest of the repetitions, so that other work on the machine disturbs them least. On a busy machine one
thread gives the steadiest figures.
"""

import argparse
import time
from collections.abc import Callable

import torch
from nerfstudio.field_components.encodings import HashEncoding

from neus_ns.kernels import torch_jet, torch_march, torch_packed, warp_jet, warp_march, warp_packed
from neus_ns.kernels.layout import GridLayout

LAYOUT = GridLayout(levels=14, features=2, log2_rows=17, coarsest=16, finest=1024)
REPETITIONS = 5
Contenders = dict[str, Callable[[], object]]


def report(title: str, contenders: Contenders, repetitions: int = REPETITIONS) -> None:
    """Print each contender's times, and how many times faster the first is than each of the others."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(repetitions + 1):  # the first round warms up and is beaten by the others
        for name, work in contenders.items():
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            cpu, wall = 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)
            before = best.get(name, (cpu, wall))
            best[name] = (min(cpu, before[0]), min(wall, before[1]))
    first_cpu, first_wall = next(iter(best.values()))
    columns = [
        f"{name} {cpu:.1f} CPU-ms {wall:.1f} wall-ms"
        + (f" ({cpu / first_cpu:.1f}x, {wall / first_wall:.1f}x)" if position else "")
        for position, (name, (cpu, wall)) in enumerate(best.items())
    ]
    print(f"{title}: {' | '.join(columns)}", flush=True)


def ray_ordered(count: int) -> torch.Tensor:
    """Points in [0, 1]^3 as a training step has them: 64 along each of many short rays."""
    start = torch.rand(count // 64, 1, 3)
    direction = torch.nn.functional.normalize(torch.randn(count // 64, 1, 3), dim=-1)
    return ((start + 0.5 * torch.linspace(0, 1, 64)[None, :, None] * direction) % 1).reshape(-1, 3).contiguous()


def eikonal_by_jet(jet: Callable[..., torch.Tensor], points: torch.Tensor, table: torch.Tensor, head: torch.Tensor):
    """Forward and backward of the eikonal loss of a linear head, normals read off the jet."""
    normal = jet(points, table, LAYOUT, 4, LAYOUT.levels)[:, 1:] @ head
    ((normal.norm(dim=-1) - 1) ** 2).mean().backward()


def eikonal_by_double_backward(encoding: HashEncoding, points: torch.Tensor, head: torch.Tensor) -> None:
    """The same through nerfstudio's encoding, which has to be differentiated twice."""
    moving = points.clone().requires_grad_()
    (normal,) = torch.autograd.grad((encoding(moving) @ head).sum(), moving, create_graph=True)
    ((normal.norm(dim=-1) - 1) ** 2).mean().backward()


def normals_by_autograd(encoding: HashEncoding, points: torch.Tensor, head: torch.Tensor) -> None:
    moving = points.clone().requires_grad_()
    torch.autograd.grad((encoding(moving) @ head).sum(), moving)


def jets(log2_points: int) -> None:
    points, head = ray_ordered(2**log2_points), torch.randn(LAYOUT.width)
    fast = torch.nn.Parameter(1e-2 * torch.rand(LAYOUT.levels, LAYOUT.rows, LAYOUT.features))
    fast.scatter_into_grad = True  # type: ignore[attr-defined]
    fast.grad = torch.zeros_like(fast)
    slow = torch.nn.Parameter(fast.detach().clone())
    slow.grad = torch.zeros_like(slow)
    peer = HashEncoding(LAYOUT.levels, LAYOUT.coarsest, LAYOUT.finest, LAYOUT.log2_rows, LAYOUT.features)
    for columns, name in ((1, "value"), (4, "value and normals")):

        def forward(jet: Callable[..., torch.Tensor], table: torch.Tensor, columns: int = columns) -> None:
            with torch.no_grad():
                jet(points, table, LAYOUT, columns, LAYOUT.levels)

        def peer_forward(columns: int = columns) -> None:
            if columns == 4:
                return normals_by_autograd(peer, points, head)
            with torch.no_grad():
                peer(points)

        report(
            f"2^{log2_points} points, {name}",
            {
                "warp": lambda forward=forward: forward(warp_jet.jet, fast),
                "torch": lambda forward=forward: forward(torch_jet.jet, slow),
                "nerfstudio": peer_forward,
            },
        )
    report(
        f"2^{log2_points} points, eikonal loss forward and backward",
        {
            "warp": lambda: eikonal_by_jet(warp_jet.jet, points, fast, head),
            "torch": lambda: eikonal_by_jet(torch_jet.jet, points, slow, head),
            "nerfstudio": lambda: eikonal_by_double_backward(peer, points, head),
        },
    )


def marches(rays: int, resolution: int, step: float) -> None:
    """Rays at a shell two to three cells thick, seen from a distance."""
    axis = (torch.arange(resolution) + 0.5) * 2 / resolution - 1
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    occupied = (radius - 0.6).abs() < 2.5 / resolution
    origins = 2.5 * torch.nn.functional.normalize(torch.randn(rays, 3), dim=-1)
    directions = torch.nn.functional.normalize(0.35 * torch.randn(rays, 3) - origins, dim=-1)
    closest = -(origins * directions).sum(-1)
    half = (closest**2 - (origins**2).sum(-1) + 1).clamp_min(0).sqrt()
    given = (origins, directions, closest - half, closest + half, torch.rand(rays), occupied, step)
    kept = len(warp_march.march(*given)[0])
    report(
        f"march {rays} rays through {resolution}^3, step 1/{round(1 / step)}, {kept} sections kept",
        {"warp": lambda: warp_march.march(*given), "torch": lambda: torch_march.march(*given)},
    )


def compositing(rays: int, samples: int) -> None:
    ray_index = torch.randint(0, rays, (samples,)).sort().values
    alpha, values = (0.3 * torch.rand(samples)).requires_grad_(), torch.randn(samples, 8).requires_grad_()

    def through(weights_from_alpha, accumulate) -> None:
        weights, _ = weights_from_alpha(alpha, ray_index, rays)
        accumulate(weights[:, None] * values, ray_index, rays).square().sum().backward()

    report(
        f"composite {samples} samples of {rays} rays, 8 channels, forward and backward",
        {
            "warp": lambda: through(warp_packed.weights_from_alpha, warp_packed.accumulate),
            "torch": lambda: through(torch_packed.weights_from_alpha, torch_packed.accumulate),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads for torch and Warp")
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; (CPU ratio, wall ratio) are against warp")
    for log2_points in (14, 16):
        jets(log2_points)
    marches(512, 64, 1 / 96)
    marches(1024, 128, 1 / 512)
    compositing(512, 10_000)
    compositing(1024, 64_000)


if __name__ == "__main__":
    main()
