"""tiny-cuda-nn as the hash encoding, with a stand-in for it: gradients, levels, the choice of backend, checkpoints."""

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neus_ns.errors import InputError
from neus_ns.fields.hash_grid import HashGrid
from neus_ns.fields.sdf import SdfNetwork
from neus_ns.fields.sdf_autograd import AutogradSdfNetwork
from neus_ns.fields.tcnn_grid import TcnnGrid
from neus_ns.kernels import backend
from neus_ns.kernels.backend import choose_backend
from neus_ns.kernels.layout import GridLayout
from neus_ns.losses.geometric import eikonal
from neus_ns.models.pipeline import SurfacePipelineConfig, surface_pipeline
from neus_ns.training.trainer import SurfaceTrainerConfig
from tests.scenes import tiny_capture
from tests.test_neus_hash import tiny_config, trained

STANDIN = Path(__file__).parent / "benchmarks" / "standin"
LAYOUT = GridLayout(levels=5, features=2, log2_rows=10, coarsest=4, finest=64)


@pytest.fixture(autouse=True)
def fresh_answers():
    """Nothing that was found out about a backend before or in a test is remembered beyond it."""
    questions = (backend.warp_problem, backend.tcnn_problem)
    for question in questions:
        question.cache_clear()
    yield
    for question in questions:
        question.cache_clear()


@pytest.fixture
def standin(monkeypatch):
    """`import tinycudann` finds the stand-in, and the CPU counts as a device that tiny-cuda-nn runs on."""
    monkeypatch.syspath_prepend(STANDIN)
    monkeypatch.delitem(sys.modules, "tinycudann", raising=False)
    monkeypatch.setattr(backend, "tcnn_runs_on", lambda device_type: True)
    yield
    sys.modules.pop("tinycudann", None)


def network() -> AutogradSdfNetwork:
    """A network in float64 whose grid says something."""
    torch.manual_seed(0)
    grid = TcnnGrid(LAYOUT, half_side=1.0)
    field = AutogradSdfNetwork(grid, 64, 15, 0.5, False).double()
    torch.nn.init.normal_(grid.encoding.params, std=0.01)
    return field


def random_points(count: int) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.6 - 0.8


def test_the_gradient_equals_finite_differences(standin):
    field, points, step = network(), random_points(200), 1e-7
    sample = field.sample(points)
    torch.testing.assert_close(sample.sdf, field.sdf(points))
    with torch.no_grad():
        slopes = [(field.sdf(points + shift) - field.sdf(points - shift)) / (2 * step) for shift in step * torch.eye(3)]
    # A difference across a cell's face is none of the two slopes there; at this step hardly any point is so close.
    close = ((sample.gradient - torch.stack(slopes, 1)).abs() < 1e-5).all(1)
    assert close.sum() >= 199


def test_an_eikonal_loss_trains_the_table_and_the_network(standin):
    field, points = network(), random_points(50)
    table = next(field.grid.parameters())

    def loss() -> torch.Tensor:
        return eikonal(field.sample(points).gradient)

    by_table, by_weight = torch.autograd.grad(loss(), [table, field.hidden.weight])
    for parameter, by_autograd in ((table, by_table), (field.hidden.weight, by_weight)):
        place, step = int(by_autograd.abs().argmax()), 1e-6
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[place] += sign * step
            sides.append(float(loss().detach()))
            with torch.no_grad():
                parameter.view(-1)[place] -= sign * step
        expected = (sides[0] - sides[1]) / (2 * step)
        assert float(by_autograd.view(-1)[place]) == pytest.approx(expected, rel=1e-4)


def test_levels_that_are_switched_off_are_silent(standin):
    field, points = network(), random_points(100)
    field.grid.set_active_levels(2)
    table = next(field.grid.parameters())
    assert field.grid.value(points)[:, 4:].abs().max() == 0 < field.grid.value(points)[:, :4].abs().min()
    sample = field.sample(points)
    (eikonal(sample.gradient) + sample.sdf.sum()).backward()
    assert table.grad is not None
    by_level = table.grad.view(LAYOUT.levels, -1).abs().amax(1)
    assert by_level[:2].min() > 0 and by_level[2:].max() == 0
    loaded = network()
    loaded.load_state_dict(field.state_dict())
    torch.testing.assert_close(loaded.sdf(points), field.sdf(points))


def test_without_gradients_a_sample_is_the_same_and_holds_no_graph(standin):
    field, points = network(), random_points(20)
    trained = field.sample(points)
    with torch.no_grad():
        sample = field.sample(points)
        assert field.sample(points[:0]).gradient.shape == (0, 3)
    for one, other in ((sample.sdf, trained.sdf), (sample.gradient, trained.gradient)):
        assert not one.requires_grad
        torch.testing.assert_close(one, other.detach())


def old_driver(device_type: str) -> str | None:
    return backend.old_driver_sentence("1.19.0") if device_type == "cuda" else None


def no_problem(device_type: str) -> str | None:
    return None


def absent(package: str) -> Callable[[str], str]:
    return lambda device_type: f"{package} is not installed"


CASES = [
    ("auto", "cpu", no_problem, no_problem, "warp", "warp", ""),
    ("auto", "cpu", absent("warp-lang"), no_problem, "torch", "torch", "because warp-lang is not installed"),
    ("auto", "cuda", no_problem, no_problem, "warp", "warp", ""),
    ("auto", "cuda", old_driver, no_problem, "tcnn", "torch", 'pip install "warp-lang<1.18"'),
    ("auto", "cuda", old_driver, absent("tinycudann"), "torch", "torch", "tinycudann is not installed and Warp 1.19.0"),
    ("warp", "cuda", old_driver, no_problem, "torch", "torch", 'pip install "warp-lang<1.18"'),
    ("torch", "cuda", no_problem, no_problem, "torch", "torch", "as asked"),
    ("tcnn", "cuda", no_problem, no_problem, "tcnn", "warp", ""),
    ("tcnn", "cuda", old_driver, no_problem, "tcnn", "torch", "Warp 1.19.0"),
    ("tcnn", "cuda", no_problem, absent("tinycudann"), "warp", "warp", "because tinycudann is not installed"),
    ("tcnn", "cpu", no_problem, backend.tcnn_problem, "warp", "warp", "because tiny-cuda-nn runs on CUDA only"),
]


@pytest.mark.parametrize(("asked", "device", "warp", "tcnn", "encoding", "kernels", "why"), CASES)
def test_the_choice_and_its_sentence(monkeypatch, asked, device, warp, tcnn, encoding, kernels, why):
    monkeypatch.setattr(backend, "warp_problem", warp)
    monkeypatch.setattr(backend, "tcnn_problem", tcnn)
    chosen = choose_backend(asked, device)
    assert (chosen.encoding, chosen.kernels) == (encoding, kernels)
    names = {"warp": "Warp", "torch": "plain torch", "tcnn": "tiny-cuda-nn"}
    both = f"on {device}, {names[encoding]} runs the hash encoding and {names[kernels]} the other kernels"
    assert chosen.reason.startswith(both) and why in chosen.reason and (why or chosen.reason == both)
    assert "\n" not in chosen.reason


def test_old_drivers_get_the_advice_that_suits_their_warp():
    assert 'pip install "warp-lang<1.18"' in backend.old_driver_sentence("1.18.1")
    assert "pip" not in backend.old_driver_sentence("1.17.0") and "update" in backend.old_driver_sentence("1.17.0")


def test_a_warp_without_the_device_is_told_by_its_version(monkeypatch):
    warp = pytest.importorskip("warp")
    monkeypatch.setattr(warp, "is_cuda_available", lambda: False)
    assert backend.warp_problem("cuda") == backend.old_driver_sentence(warp.__version__)


def test_a_package_that_is_missing_or_fails_is_said_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    assert backend.warp_problem("cpu") == "warp-lang is not installed"
    assert backend.warp_problem("mps") == "Warp has no kernels for device mps"
    monkeypatch.setattr(backend, "tcnn_runs_on", lambda device_type: True)
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    assert backend.tcnn_problem("cpu") == "tinycudann is not installed"


@pytest.mark.parametrize("error", [ImportError("undefined symbol"), OSError("Unknown compute capability"), KeyError()])
def test_any_exception_of_tinycudann_is_a_reason_and_not_a_crash(monkeypatch, error):
    def fail(*args: object, **options: object) -> None:
        raise error

    broken = types.ModuleType("tinycudann")
    broken.Encoding = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinycudann", broken)
    monkeypatch.setattr(backend, "tcnn_runs_on", lambda device_type: True)
    problem = backend.tcnn_problem("cpu")
    assert problem is not None and problem.startswith("tinycudann does not run here (")
    assert (str(error) or type(error).__name__) in problem


def test_an_error_at_import_is_a_reason_too(monkeypatch, tmp_path):
    (tmp_path / "tinycudann.py").write_text("raise EnvironmentError('Could not find a compatible extension')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tinycudann", raising=False)
    monkeypatch.setattr(backend, "tcnn_runs_on", lambda device_type: True)
    assert "Could not find a compatible extension" in str(backend.tcnn_problem("cpu"))
    assert choose_backend("tcnn", "cpu").encoding in ("warp", "torch")


def test_each_kind_of_grid_refuses_the_others_checkpoint_in_a_sentence(standin):
    ours = SdfNetwork(HashGrid(LAYOUT, 1.0, "torch"), 64, 15, 0.5, False)
    theirs = AutogradSdfNetwork(TcnnGrid(LAYOUT, 1.0), 64, 15, 0.5, False)
    with pytest.raises(InputError, match=r"backend tcnn .*--pipeline\.model\.backend.* to tcnn"):
        ours.load_state_dict(theirs.state_dict())
    with pytest.raises(InputError, match=r"backend warp or torch.*--pipeline\.model\.backend.* to warp or torch"):
        theirs.load_state_dict(ours.state_dict())


def config_with(choice: str, capture: Path, output: Path, steps: int) -> SurfaceTrainerConfig:
    config = tiny_config(capture, output, steps)
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.model.backend = choice  # type: ignore[assignment]
    return config


def test_a_whole_run_on_tcnn_trains_exports_and_is_refused_by_torch(standin, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(backend, "warp_problem", absent("warp-lang"))
    capture = tmp_path / "capture"
    tiny_capture(capture, size=24, views=6, masks=False)
    first = trained(config_with("tcnn", capture, tmp_path / "first", 4))
    pipeline = surface_pipeline(first.pipeline)
    backends = pipeline.surface_model.backends
    assert (backends.encoding, backends.kernels) == ("tcnn", "torch")
    table = next(pipeline.surface_model.field.sdf_network.grid.parameters())
    assert table.grad is not None and float(table.grad.abs().sum()) > 0
    source = pipeline.surface_source()
    points = torch.rand(10, 3) - 0.5
    with torch.no_grad():
        assert source.sdf_fn(points).shape == (10,)
        assert source.colour_fn(points, points).shape == (10, 3)
    other = config_with("torch", capture, tmp_path / "other", 4)
    other.load_dir = first.base_dir
    with pytest.raises(SystemExit):
        other.setup(local_rank=0, world_size=1).setup()
    assert "trained with the backend tcnn" in capsys.readouterr().out
