"""The stencil: its taps as pure geometry, the torch reference in float64, and the Warp kernels against it."""

import sys
from collections.abc import Callable

import pytest
import torch

from neus_ns.kernels import encode, torch_jet, torch_stencil
from neus_ns.kernels.layout import GridLayout
from neus_ns.kernels.taps import directions, reach, tap_offsets

LAYOUT = GridLayout(levels=5, features=2, log2_rows=9, coarsest=3, finest=40)
# Narrower than every cell, as wide as the middle level's, wider than the coarsest.
HALF_WIDTHS = (0.004, 0.09, 0.4)


def fresh(count: int, layout: GridLayout = LAYOUT) -> tuple[torch.Tensor, torch.Tensor]:
    """Points inside, on the faces and corners of the box and of cells, and well outside; and a table."""
    positions = torch.rand(count, 3, dtype=torch.float64)
    positions[:8] = torch.tensor([[i & 1, (i >> 1) & 1, i >> 2] for i in range(8)])
    positions[8:12] = torch.tensor([[0.0, 0.3, 1.0], [1.0, 0.6, 0.2], [0.5, 0.25, 0.75], [1 / 3, 2 / 3, 1.0]])
    positions[12:30] = torch.rand(18, 3, dtype=torch.float64) * 1.6 - 0.3
    table = torch.randn(layout.levels, layout.rows, layout.features, dtype=torch.float64)
    # Both precisions start from the same numbers.
    return positions.float().double(), table.float().double()


def relative(fast: torch.Tensor, slow: torch.Tensor) -> float:
    """Largest error over the largest value."""
    return float((fast.detach().double() - slow.detach()).abs().max() / slow.detach().abs().max().clamp_min(1e-30))


def tapped(positions: torch.Tensor, half_width: float, taps: int) -> torch.Tensor:
    """Every point and its taps, points x taps + 1 x 3."""
    return torch.cat([positions[:, None], positions[:, None] + tap_offsets(half_width, taps, positions)], 1)


def on_the_same_side(positions: torch.Tensor, half_width: float, taps: int, layout: GridLayout) -> torch.Tensor:
    """Points that, with all their taps, lie in the same cells in both precisions: elsewhere slopes are one-sided."""
    double = tapped(positions, half_width, taps).reshape(-1, 3)
    single = tapped(positions.float(), half_width, taps).reshape(-1, 3)
    cells = [torch_jet.cell_and_fraction(each, layout, layout.levels)[0] for each in (double, single)]
    # A point this close to a face may fall on either side, since the kernels round a multiplication and addition once.
    scaled = double[:, None] * torch.tensor(layout.resolutions)[:, None]
    near_face = ((scaled - scaled.round()).abs() < 1e-5).any(-1).any(-1)
    same = (cells[0] == cells[1]).all(-1).all(-1) & ~near_face
    clear = same.view(len(positions), -1).all(1)
    assert int(clear.sum()) > 0.8 * len(positions)
    return clear


@pytest.mark.parametrize("taps", [4, 6])
def test_taps_are_balanced_equally_far_and_spread_alike_in_all_directions(taps):
    offsets = tap_offsets(0.3, taps, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(offsets.norm(dim=1), torch.full((taps,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(offsets.sum(0), torch.zeros(3, dtype=torch.float64))
    second = 0.3**2 * taps / 3 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(offsets.T @ offsets, second)
    with pytest.raises(ValueError, match="4 or 6"):
        directions(5)


@pytest.mark.parametrize("taps", [4, 6])
def test_gradient_and_laplacian_formulas_are_exact_on_quadratics(taps):
    torch.manual_seed(taps)
    half_width = 0.2
    offsets = tap_offsets(half_width, taps, torch.zeros(1, dtype=torch.float64))
    for _ in range(5):
        root, slope, point = torch.randn(3, 3), torch.randn(3).double(), torch.randn(3).double()
        hessian = (root + root.T).double()

        def f(x: torch.Tensor, hessian: torch.Tensor = hessian, slope: torch.Tensor = slope) -> torch.Tensor:
            return 0.7 + x @ slope + 0.5 * ((x @ hessian) * x).sum(-1)

        centre, around = f(point), f(point + offsets)
        if taps == 4:
            e = reach(half_width, taps)
            assert e == pytest.approx(half_width / 3**0.5)
            laplacian = (around.sum() / 2 - 2 * centre) / e**2
            # The tetrahedron's gradient also holds the mixed second derivatives, scaled by e.
            gradient = (around[:, None] * offsets).sum(0) / (4 * e**2)
            mixed = e * torch.stack([hessian[1, 2], hessian[0, 2], hessian[0, 1]])
            torch.testing.assert_close(gradient, slope + hessian @ point + mixed)
        else:
            laplacian = (around.sum() - 6 * centre) / half_width**2
            gradient = (around[0::2] - around[1::2]) / (2 * half_width)
            torch.testing.assert_close(gradient, slope + hessian @ point)
        torch.testing.assert_close(laplacian, hessian.trace())


@pytest.mark.parametrize("taps", [4, 6])
@pytest.mark.parametrize("half_width", HALF_WIDTHS)
def test_the_reference_is_the_jet_at_every_tap(taps, half_width):
    torch.manual_seed(7)
    positions, table = fresh(60)
    columns = torch_stencil.stencil(positions, half_width, taps, table, LAYOUT, 4)
    assert columns.shape == (60, taps + 1, LAYOUT.width)
    for tap, points in enumerate(tapped(positions, half_width, taps).unbind(1)):
        assert torch.equal(columns[:, tap], torch_jet.jet(points, table, LAYOUT, 1, 4)[:, 0])


@pytest.mark.parametrize("taps", [4, 6])
def test_the_numerical_gradient_tends_to_the_jets(taps):
    torch.manual_seed(11)
    positions, table = torch.rand(200, 3, dtype=torch.float64), fresh(30)[1]
    exact = torch_jet.jet(positions, table, LAYOUT, 7, 5)
    errors = []
    for half_width in (1e-3, 1e-4, 1e-5):
        scaled = positions[:, None] * torch.tensor(LAYOUT.resolutions)[:, None]
        inside = ((scaled - scaled.round()).abs() > 2e-3 * 40).all(-1).all(-1)
        assert int(inside.sum()) > 20
        columns = torch_stencil.stencil(positions, half_width, taps, table, LAYOUT, 5)[:, 1:]
        offsets = tap_offsets(half_width, taps, positions)
        # Both stencils' gradient: 3 / (taps half_width^2) times the sum of offset times value.
        numerical = 3 / (taps * half_width**2) * torch.einsum("tk,ptw->pkw", offsets, columns)
        error = numerical - exact[:, 1:4]
        if taps == 4:
            error = error - reach(half_width, taps) * exact[:, [6, 5, 4]]
        errors.append(relative(error[inside] + 1, torch.ones_like(error[inside])))
    # A cell's polynomial has no pure second derivatives: what is left is of second order, or nothing at all.
    assert errors[0] < (1e-2 if taps == 4 else 1e-8)
    assert errors[1] < errors[0] / 50 or errors[1] < 1e-7


def both(
    stencil: Callable[..., torch.Tensor], taps: int, half_width: float, active: int, layout: GridLayout, count: int
):
    """Values, table gradient and position gradient of the float32 stencil agree with the reference in float64."""
    torch.manual_seed(taps + 10 * active + int(1000 * half_width))
    positions, table = fresh(count, layout)
    clear = on_the_same_side(positions, half_width, taps, layout)
    probe = torch.randn(count, taps + 1, layout.width) * clear[:, None, None]
    slow_x, slow_t = positions.requires_grad_(), table.requires_grad_()
    fast_x, fast_t = (each.detach().float().requires_grad_() for each in (positions, table))
    slow = torch_stencil.stencil(slow_x, half_width, taps, slow_t, layout, active)
    fast = stencil(fast_x, half_width, taps, fast_t, layout, active)
    assert relative(fast, slow) < 2e-5
    slow.backward(probe.double())
    fast.backward(probe)
    assert fast_t.grad is not None and slow_t.grad is not None and fast_x.grad is not None and slow_x.grad is not None
    assert relative(fast_t.grad, slow_t.grad) < 2e-5
    assert relative(fast_x.grad, slow_x.grad) < 2e-5
    assert not fast_t.grad[active:].any() and not fast[:, :, active * layout.features :].any()


class TestWarp:
    """Skipped as a whole where Warp is missing."""

    @pytest.fixture(autouse=True)
    def warp(self):
        pytest.importorskip("warp")
        from neus_ns.kernels import warp_jet, warp_stencil

        self.stencil, self.jet = warp_stencil.stencil, warp_jet.jet

    @pytest.mark.parametrize("taps", [4, 6])
    @pytest.mark.parametrize("half_width", HALF_WIDTHS)
    def test_it_equals_the_reference(self, taps, half_width):
        both(self.stencil, taps, half_width, 5, LAYOUT, 400)

    @pytest.mark.parametrize("taps", [4, 6])
    def test_masked_levels_are_zero_and_learn_nothing(self, taps):
        both(self.stencil, taps, 0.02, 2, LAYOUT, 100)
        table = fresh(30)[1].float()
        assert not self.stencil(torch.rand(9, 3), 0.1, taps, table, LAYOUT, 0).any()

    @pytest.mark.parametrize("taps", [4, 6])
    def test_rows_of_other_widths_and_many_points(self, taps):
        both(self.stencil, taps, 0.03, 2, GridLayout(2, 8, 8, 4, 17), 64)
        both(self.stencil, taps, 0.03, 5, LAYOUT, 5001)

    @pytest.mark.parametrize("taps", [4, 6])
    @pytest.mark.parametrize("half_width", HALF_WIDTHS)
    def test_it_is_the_jet_at_every_tap(self, taps, half_width):
        positions, table = (each.float() for each in fresh(300))
        columns = self.stencil(positions, half_width, taps, table, LAYOUT, 5)
        for tap, points in enumerate(tapped(positions, half_width, taps).unbind(1)):
            apart = self.jet(points, table, LAYOUT, 1, 5)[:, 0]
            torch.testing.assert_close(columns[:, tap], apart, rtol=1e-5, atol=2e-5)

    def test_every_output_is_written_over_poisoned_memory(self, monkeypatch):
        plain = torch.empty
        monkeypatch.setattr(torch, "empty", lambda *size, **options: plain(*size, **options).fill_(float("nan")))
        assert torch.isnan(torch.empty(1))
        for taps, active in ((4, 5), (6, 3)):
            positions, table = (each.float() for each in fresh(3000))
            assert not torch.isnan(self.stencil(positions, 0.02, taps, table, LAYOUT, active)).any()

    @pytest.mark.parametrize("taps", [4, 6])
    def test_runs_are_bitwise_equal_for_any_number_of_threads(self, taps):
        positions, table = (each.float() for each in fresh(4000))
        probe = torch.randn(4000, taps + 1, LAYOUT.width)

        def once(threads: int) -> tuple[torch.Tensor, ...]:
            torch.set_num_threads(threads)
            x, t = positions.clone().requires_grad_(), table.clone().requires_grad_()
            columns = self.stencil(x, 0.01, taps, t, LAYOUT, 5)
            columns.backward(probe)
            assert x.grad is not None and t.grad is not None
            return columns.detach(), x.grad, t.grad

        threads = torch.get_num_threads()
        try:
            first = once(1)
            for again in (once(1), once(2), once(2)):
                assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        finally:
            torch.set_num_threads(threads)

    @pytest.mark.parametrize("taps", [4, 6])
    def test_no_points_is_no_error(self, taps):
        table, positions = fresh(30)[1].float().requires_grad_(), torch.zeros(0, 3, requires_grad=True)
        columns = self.stencil(positions, 0.1, taps, table, LAYOUT, 5)
        assert columns.shape == (0, taps + 1, LAYOUT.width)
        columns.sum().backward()
        assert table.grad is not None and not table.grad.any()
        assert positions.grad is not None and positions.grad.shape == (0, 3)

    def test_gradients_accumulate_in_place_where_the_owner_allows_it(self):
        positions, values = (each.float() for each in fresh(500))
        probe = torch.randn(500, 7, LAYOUT.width)
        plain, marked = values.clone().requires_grad_(), values.clone().requires_grad_()
        marked.scatter_into_grad = True  # type: ignore[attr-defined]
        marked.grad, plain.grad = torch.ones_like(values), torch.ones_like(values)
        kept = marked.grad
        for table in (plain, marked):
            for _ in range(2):
                self.stencil(positions, 0.03, 6, table, LAYOUT, 5).backward(probe)
        assert marked.grad is kept
        torch.testing.assert_close(marked.grad, plain.grad, rtol=1e-5, atol=1e-4)

    def test_the_positions_gradient_alone_does_not_touch_the_table(self):
        table, positions = fresh(30)[1].float().requires_grad_(), torch.rand(50, 3, requires_grad=True)
        table.scatter_into_grad = True  # type: ignore[attr-defined]
        table.grad = torch.zeros_like(table)
        columns = self.stencil(positions, 0.03, 4, table, LAYOUT, 5)
        (at_positions,) = torch.autograd.grad(columns.square().sum(), positions)
        assert at_positions.any() and not table.grad.any()

    def test_backends_are_interchangeable_and_wrong_numbers_of_taps_named(self):
        positions, table = (each.float() for each in fresh(100))
        fast, slow = (encode.stencil(positions, 0.05, 6, table, LAYOUT, 5, backend) for backend in ("warp", "torch"))
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)
        for backend in ("warp", "torch"):
            with pytest.raises(ValueError, match="4 or 6 taps"):
                encode.stencil(positions, 0.05, 5, table, LAYOUT, 5, backend)

    @pytest.mark.parametrize("architecture", [80, 90])
    def test_the_kernels_compile_for_cuda_without_a_gpu(self, architecture, tmp_path):
        import warp as wp

        from neus_ns.kernels import warp_stencil_kernels as kernels

        if architecture not in wp.get_cuda_supported_archs():
            pytest.skip(f"this build of Warp has no compiler for sm_{architecture}")
        for kernel in (
            kernels.stencil_gather_kernel(2, 6),
            kernels.stencil_scatter_kernel(2, 4),
            kernels.stencil_at_positions_kernel(2, 4),
        ):
            folder = tmp_path / kernel.key
            wp.compile_aot_module(kernel.module, arch=architecture, module_dir=folder, use_ptx=True)
            (compiled,) = folder.glob("*.ptx")
            text = compiled.read_text()
            assert f".target sm_{architecture}" in text and ".entry" in text
            assert "atom" in text or "scatter" not in kernel.key


def test_the_reference_runs_without_warp(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    positions, table = fresh(30)
    assert encode.stencil(positions, 0.1, 4, table, LAYOUT, 5, "torch").dtype == torch.float64


def test_cuda_equals_the_cpu(cuda: str):
    torch.manual_seed(4)
    positions, table = (each.float() for each in fresh(5000))
    for taps in (4, 6):
        probe, results = torch.randn(5000, taps + 1, LAYOUT.width), []
        for device in ("cpu", "cuda"):
            x, t = (each.detach().to(device).requires_grad_() for each in (positions, table))
            columns = encode.stencil(x, 0.02, taps, t, LAYOUT, 5, "warp")
            columns.backward(probe.to(device))
            assert x.grad is not None and t.grad is not None
            results.append([each.detach().cpu() for each in (columns, t.grad, x.grad)])
        for one, other in zip(*results, strict=True):
            assert relative(one, other.double()) < 2e-5
