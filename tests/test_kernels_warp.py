"""The Warp kernels against the torch reference in float64, on fresh random inputs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from neus_ns.kernels import torch_jet, torch_packed
from neus_ns.kernels.layout import GridLayout

wp = pytest.importorskip("warp")

from neus_ns.kernels import (  # noqa: E402
    warp_jet,
    warp_jet_kernels,
    warp_march_kernels,
    warp_packed,
    warp_packed_kernels,
)

MIXED = GridLayout(levels=5, features=2, log2_rows=9, coarsest=3, finest=40)


def relative(fast: torch.Tensor, slow: torch.Tensor) -> float:
    """Largest error over the largest value."""
    return float((fast.detach().double() - slow.detach()).abs().max() / slow.detach().abs().max().clamp_min(1e-30))


def table_of(layout: GridLayout) -> torch.Tensor:
    return torch.randn(layout.levels, layout.rows, layout.features)


def hard_positions(count: int) -> torch.Tensor:
    """Random points, points exactly on the box's faces and on cell faces, and points a little outside."""
    positions = torch.rand(count, 3)
    positions[:8] = torch.tensor([[i & 1, (i >> 1) & 1, i >> 2] for i in range(8)], dtype=torch.float32)
    positions[8:12] = torch.tensor([[0.0, 0.3, 1.0], [1.0, 0.6, 0.2], [0.5, 0.25, 0.75], [1 / 3, 2 / 3, 1.0]])
    positions[12:24] = torch.rand(12, 3) * 1.1 - 0.05
    return positions


def both(layout: GridLayout, columns: int, active: int, count: int = 300) -> None:
    """Values, table gradient and position gradient agree with the reference."""
    torch.manual_seed(columns + 10 * active + 100 * layout.features)
    positions, table = hard_positions(count), table_of(layout)
    fast_x, fast_t = positions.clone().requires_grad_(), table.clone().requires_grad_()
    slow_x, slow_t = positions.double().requires_grad_(), table.double().requires_grad_()
    fast = warp_jet.jet(fast_x, fast_t, layout, columns, active)
    slow = torch_jet.jet(slow_x, slow_t, layout, columns, active)
    # Resolution times position rounds differently in the two precisions where a point lies on a cell's face, so the
    # derivatives there are one-sided from different sides; such points are compared in value only.
    clear = on_the_same_side(positions, layout)
    for column in range(columns):
        rows = clear if column else torch.ones_like(clear)
        assert relative(fast[rows, column], slow[rows, column]) < 2e-5, column
    probe = torch.randn(count, columns, layout.width) * clear[:, None, None]
    fast.backward(probe)
    slow.backward(probe.double())
    assert fast_t.grad is not None and slow_t.grad is not None and fast_x.grad is not None and slow_x.grad is not None
    assert relative(fast_t.grad, slow_t.grad) < 2e-5
    assert relative(fast_x.grad[clear], slow_x.grad[clear]) < 2e-5
    assert float(fast_t.grad[active:].abs().sum()) == 0


def on_the_same_side(positions: torch.Tensor, layout: GridLayout) -> torch.Tensor:
    """Points whose cell is the same in float32 and in float64 on every level."""
    single, _, _ = torch_jet.cell_and_fraction(positions, layout, layout.levels)
    double, _, _ = torch_jet.cell_and_fraction(positions.double(), layout, layout.levels)
    same = (single == double).all(-1).all(-1)
    assert int(same.sum()) > 0.9 * len(positions)
    return same


@pytest.mark.parametrize("columns", [1, 4, 7])
def test_the_jet_equals_the_reference(columns):
    both(MIXED, columns, MIXED.levels)


def test_inactive_levels_are_zero_and_learn_nothing():
    both(MIXED, 4, 2)
    table = table_of(MIXED).requires_grad_()
    assert not warp_jet.jet(torch.rand(9, 3), table, MIXED, 4, 0).any()


@pytest.mark.parametrize("features", [4, 8])
def test_rows_of_other_widths(features):
    both(GridLayout(levels=2, features=features, log2_rows=8, coarsest=4, finest=17), 4, 2, count=64)


def test_many_points_are_split_over_threads_and_nothing_is_missed():
    both(MIXED, 4, MIXED.levels, count=5001)


def test_runs_are_bitwise_equal():
    torch.manual_seed(5)
    positions, table = torch.rand(4000, 3), table_of(MIXED)
    probe = torch.randn(4000, 4, MIXED.width)

    def once() -> tuple[torch.Tensor, ...]:
        x, t = positions.clone().requires_grad_(), table.clone().requires_grad_()
        encoded = warp_jet.jet(x, t, MIXED, 4, MIXED.levels)
        encoded.backward(probe)
        assert x.grad is not None and t.grad is not None
        return encoded.detach(), x.grad, t.grad

    first = once()
    for _ in range(3):
        for one, other in zip(first, once(), strict=True):
            assert torch.equal(one, other)


def test_every_output_is_written_over_poisoned_memory(monkeypatch):
    plain = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **options: plain(*size, **options).fill_(float("nan")))
    assert torch.isnan(torch.empty(1))
    for columns, active in ((1, 5), (4, 3), (7, 5)):
        encoded = warp_jet.jet(torch.rand(3000, 3), table_of(MIXED), MIXED, columns, active)
        assert not torch.isnan(encoded).any()


def test_no_points_is_no_error():
    table = table_of(MIXED).requires_grad_()
    positions = torch.zeros(0, 3, requires_grad=True)
    encoded = warp_jet.jet(positions, table, MIXED, 4, 5)
    assert encoded.shape == (0, 4, MIXED.width)
    encoded.sum().backward()
    assert table.grad is not None and float(table.grad.abs().sum()) == 0
    assert positions.grad is not None and positions.grad.shape == (0, 3)


def test_gradients_accumulate_in_place_where_the_owner_allows_it():
    torch.manual_seed(2)
    positions, values = torch.rand(500, 3), table_of(MIXED)
    probe = torch.randn(500, 4, MIXED.width)
    plain, marked = values.clone().requires_grad_(), values.clone().requires_grad_()
    marked.scatter_into_grad = True  # type: ignore[attr-defined]
    marked.grad = torch.ones_like(marked)
    plain.grad = torch.ones_like(plain)
    kept = marked.grad
    for table in (plain, marked):
        for _ in range(2):  # two jets in one graph, as taps or two batches would be
            warp_jet.jet(positions, table, MIXED, 4, 5).backward(probe)
    assert marked.grad is kept
    torch.testing.assert_close(marked.grad, plain.grad, rtol=1e-5, atol=1e-5)


def test_a_marked_table_without_a_gradient_gets_a_fresh_one():
    table = table_of(MIXED).requires_grad_()
    table.scatter_into_grad = True  # type: ignore[attr-defined]
    warp_jet.jet(torch.rand(50, 3), table, MIXED, 1, 5).sum().backward()
    assert table.grad is not None and float(table.grad.sum()) == pytest.approx(50 * MIXED.width, rel=1e-5)


def test_the_positions_gradient_alone_does_not_touch_the_table():
    table = table_of(MIXED).requires_grad_()
    table.scatter_into_grad = True  # type: ignore[attr-defined]
    table.grad = torch.zeros_like(table)
    positions = torch.rand(50, 3, requires_grad=True)
    encoded = warp_jet.jet(positions, table, MIXED, 1, 5)
    (at_positions,) = torch.autograd.grad(encoded.sum(), positions)
    assert float(at_positions.abs().sum()) > 0 and float(table.grad.abs().sum()) == 0


def test_a_second_derivative_says_that_it_is_not_there():
    table = table_of(MIXED).requires_grad_()
    positions = torch.rand(5, 3, requires_grad=True)
    encoded = warp_jet.jet(positions, table, MIXED, 1, 5)
    (first,) = torch.autograd.grad(encoded.square().sum(), positions, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_wrong_types_are_named():
    with pytest.raises(ValueError, match="float32"):
        warp_jet.jet(torch.rand(5, 3).double(), table_of(MIXED), MIXED, 1, 5)


def packed_case(rays: int, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Opacities up to almost one on rays of uneven length, some of them empty."""
    ray_index = (torch.rand(samples) ** 2 * rays).long().clamp_max(rays - 2).sort().values
    return torch.rand(samples) ** 3 * 0.999, ray_index


def test_packed_weights_equal_the_reference():
    torch.manual_seed(8)
    alpha, ray_index = packed_case(2000, 30000)
    fast_a, slow_a = alpha.clone().requires_grad_(), alpha.double().requires_grad_()
    fast = warp_packed.weights_from_alpha(fast_a, ray_index, 2000)
    slow = torch_packed.weights_from_alpha(slow_a, ray_index, 2000)
    probes = torch.randn(2, len(alpha))
    for one, other, probe in zip(fast, slow, probes, strict=True):
        assert relative(one, other) < 1e-5
        one.backward(probe, retain_graph=True)
        other.backward(probe.double(), retain_graph=True)
    assert fast_a.grad is not None and slow_a.grad is not None
    assert relative(fast_a.grad, slow_a.grad) < 1e-5


def test_weights_are_exact_behind_and_at_opaque_samples():
    ray_index = torch.tensor([0, 0, 0, 0, 2, 2, 2])
    alpha = torch.tensor([0.3, 1.0, 0.5, 1.0, 1.0, 1.0, 0.0], requires_grad=True)
    weights, transmittance = warp_packed.weights_from_alpha(alpha, ray_index, 4)
    probe = torch.tensor([0.3, -1.1, 0.7, 2.0, 0.4, -0.6, 1.5])
    ((weights + 0.5 * transmittance) * probe).sum().backward()
    exact = alpha.detach().double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for ray in range(4):
        clear = torch.ones((), dtype=torch.float64)
        for a, p in zip(exact[ray_index == ray], probe.double()[ray_index == ray], strict=True):
            total = total + clear * (a + 0.5) * p
            clear = clear * (1 - a)
    total.backward()
    assert alpha.grad is not None and exact.grad is not None
    torch.testing.assert_close(alpha.grad, exact.grad.float(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 8])
def test_accumulation_equals_the_reference(channels):
    torch.manual_seed(channels)
    _, ray_index = packed_case(700, 9000)
    values = torch.randn(9000, channels)
    fast_v, slow_v = values.clone().requires_grad_(), values.double().requires_grad_()
    fast = warp_packed.accumulate(fast_v, ray_index, 700)
    slow = torch_packed.accumulate(slow_v, ray_index, 700)
    probe = torch.randn(700, channels)
    fast.backward(probe)
    slow.backward(probe.double())
    assert fast_v.grad is not None and slow_v.grad is not None
    assert relative(fast, slow) < 1e-5 and torch.equal(fast_v.grad, slow_v.grad.float())


def test_compositing_writes_every_output_and_takes_empty_batches(monkeypatch):
    plain = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *size, **options: plain(*size, **options).fill_(float("nan")))
    alpha, ray_index = packed_case(900, 4000)
    alpha.requires_grad_()
    weights, transmittance = warp_packed.weights_from_alpha(alpha, ray_index, 900)
    (gradient,) = torch.autograd.grad(weights.square().sum(), alpha)
    assert not any(torch.isnan(each).any() for each in (weights, transmittance, gradient))
    none, nobody = torch.zeros(0, requires_grad=True), torch.zeros(0, dtype=torch.long)
    weights, _ = warp_packed.weights_from_alpha(none, nobody, 3)
    assert warp_packed.accumulate(weights[:, None], nobody, 3).tolist() == [[0.0]] * 3
    assert warp_packed.accumulate(weights[:, None], nobody, 0).shape == (0, 1)


@pytest.mark.parametrize("architecture", [80, 90])
def test_the_kernels_compile_for_cuda_without_a_gpu(architecture, tmp_path):
    if architecture not in wp.get_cuda_supported_archs():
        pytest.skip(f"this build of Warp has no compiler for sm_{architecture}")
    kernels = (
        warp_jet_kernels.gather_kernel(2, 4),
        warp_jet_kernels.scatter_kernel(2, 4),
        warp_jet_kernels.at_positions_kernel(2, 7),
        warp_packed_kernels.weights_backward_kernel(),
        warp_packed_kernels.accumulate_kernel(8),
    )
    for kernel in kernels:
        assert "atom" in ptx_of(kernel, architecture, tmp_path) or "scatter" not in kernel.key
    # The march must round as the reference does, on every device.
    assert "fma." not in ptx_of(warp_march_kernels.march_kernel(True), architecture, tmp_path)


def ptx_of(kernel: Any, architecture: int, folder: Path) -> str:
    wp.compile_aot_module(kernel.module, arch=architecture, module_dir=folder / kernel.key, use_ptx=True)
    (compiled,) = (folder / kernel.key).glob("*.ptx")
    text = compiled.read_text()
    assert f".target sm_{architecture}" in text and ".entry" in text
    return text


def test_cuda_equals_the_cpu(cuda: str):
    torch.manual_seed(4)
    positions, table = hard_positions(5000), table_of(MIXED)
    probe = torch.randn(5000, 7, MIXED.width)
    alpha, ray_index = packed_case(300, 5000)
    results = []
    for device in ("cpu", "cuda"):
        x, t, a = (each.detach().to(device).requires_grad_() for each in (positions, table, alpha))
        encoded = warp_jet.jet(x, t, MIXED, 7, MIXED.levels)
        encoded.backward(probe.to(device))
        ray = ray_index.to(device)
        weights, _ = warp_packed.weights_from_alpha(a, ray, 300)
        total = warp_packed.accumulate(weights[:, None], ray, 300)
        total.square().sum().backward()
        assert x.grad is not None and t.grad is not None and a.grad is not None
        results.append([each.detach().cpu() for each in (encoded, x.grad, t.grad, weights, total, a.grad)])
    for one, other in zip(*results, strict=True):
        assert relative(one, other.double()) < 2e-5


def test_what_is_loaded_is_what_is_launched(tmp_path):
    """A launch that had to compile would do so on several threads at once, which comes out broken."""
    program = (
        "import os, torch\nfrom pathlib import Path\nfrom neus_ns.kernels import warp_jet, warp_launch\n"
        "from neus_ns.kernels.layout import GridLayout\n"
        "compiled = lambda: sorted(str(path) for path in Path(os.environ['WARP_CACHE_PATH']).rglob('*.o'))\n"
        "load, seen = warp_launch.wp.load_module, []\n"
        "def noted(*args, **options):\n    load(*args, **options)\n    seen.append(compiled())\n"
        "warp_launch.wp.load_module = noted\n"
        "layout = GridLayout(levels=1, features=2, log2_rows=3, coarsest=1, finest=1)\n"
        "warp_jet.jet(torch.rand(9, 3), torch.rand(1, layout.rows, 2), layout, 1, 1)\n"
        "assert seen and seen[-1] and seen[-1] == compiled(), (seen, compiled())\n"
    )
    environment = os.environ | {"WARP_CACHE_PATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_starting_warp_says_nothing_in_the_output():
    program = "import torch\nfrom neus_ns.kernels import warp_launch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
