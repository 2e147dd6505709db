"""What runs on a CUDA device, on one that is pretended: it never meets the host, and learns what the CPU learns."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import pytest
import torch
import trimesh
from torch import Tensor

from neus_ns.cli import export
from neus_ns.kernels import threads
from neus_ns.kernels.backend import BackendChoice
from neus_ns.models.pipeline import surface_pipeline
from neus_ns.training.trainer import SurfaceTrainer
from tests.pretended_cuda import Pretended, pretended_cuda
from tests.scenes import tiny_capture
from tests.test_ground_training import on_the_floor
from tests.test_neuralangelo import model_config
from tests.test_neus_hash import pipeline_config, tiny_config
from tests.test_no_waiting import MakeConfig, as_on_cuda, witness_config


def refused() -> AbstractContextManager[object]:
    return pytest.raises(RuntimeError, match="of the device and one of the host")


class TestPretence:
    """It is as strict as a device."""

    def test_what_a_device_cannot_do_is_refused(self, cuda):
        codes = torch.nn.Embedding(3, 0).to(cuda)
        with pytest.raises(RuntimeError, match="without columns"):
            codes(torch.arange(3, device=cuda)).sum().backward()
        with pytest.raises(RuntimeError, match="sort truth values"):
            torch.argsort(torch.ones(2, 3, device=cuda) > 0, dim=1, stable=True)

    def test_the_host_and_the_device_do_not_meet(self, cuda):
        here, there = torch.arange(3.0), torch.arange(3.0, device=cuda)
        assert there.is_cuda and there.device == torch.device("cuda", 0) and not here.is_cuda
        for meet in (lambda: here + there, lambda: torch.cat((there, here)), lambda: here[there.long()]):
            with refused():
                meet()
        with refused():
            here.sum().add_(there.sum())
        assert here.add(1).copy_(there).tolist() == [0, 1, 2]
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()

    def test_numbers_and_places_may_come_from_the_host(self, cuda):
        there = torch.arange(3.0, device=cuda)
        assert (there * torch.tensor(2.0)).tolist() == [0, 2, 4] and there[torch.tensor([2, 0])].tolist() == [2, 0]
        assert (there + 1).cpu().numpy().tolist() == [1, 2, 3] and torch.zeros_like(there).is_cuda
        assert there.new_tensor([1]).is_cuda and torch.ones(2).to(there).is_cuda and not there.to("cpu").is_cuda

    def test_gradients_go_back_to_where_their_tensors_are(self, cuda):
        layer, host = torch.nn.Linear(3, 2).to(cuda), torch.ones(4, 3, requires_grad=True)
        first, _unused = layer(host.to(cuda)).unbind(-1)
        first.sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.is_cuda and host.grad is not None
        assert not host.grad.is_cuda and torch.equal(host.grad, layer.weight[0].detach().cpu().expand(4, 3))

    def test_kernels_are_not_told_of_memory_elsewhere(self, cuda):
        from neus_ns.kernels import warp_packed

        ray = torch.zeros(4, dtype=torch.int64)
        with pytest.raises(RuntimeError, match="memory that is elsewhere"):
            warp_packed.weights_from_alpha(torch.rand(4, device=cuda), ray, 1)


def trained(
    folder: Path, device: str, make: MakeConfig, masks: bool, backend: BackendChoice = "warp"
) -> SurfaceTrainer:
    tiny_capture(folder / "ball", size=32, views=8, masks=masks)
    config = make(folder / "ball", folder, 8)
    config.machine.device_type = device  # pyright: ignore[reportAttributeAccessIssue]
    pipeline_config(config).model.backend, pipeline_config(config).preset = backend, "cpu"
    torch.manual_seed(0)
    trainer = cast(SurfaceTrainer, config.setup(local_rank=0, world_size=1))
    trainer.setup()
    trainer.train()
    return trainer


def everything(trainer: SurfaceTrainer) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in trainer.pipeline.model.state_dict().items()}


@pytest.mark.parametrize(("make", "masks"), [(tiny_config, False), (witness_config, True), (on_the_floor, False)])
def test_a_training_on_the_device_is_that_on_the_cpu(tmp_path, monkeypatch, make: MakeConfig, masks: bool):
    as_on_cuda(monkeypatch)
    # A device takes all points at once, and what several runs add to the weights is rounded run by run.
    monkeypatch.setattr(threads, "_SHORTEST_RUN", 1 << 20)
    on_cpu = everything(trained(tmp_path / "cpu", "cpu", make, masks))
    with pretended_cuda():
        trainer = trained(tmp_path / "cuda", "cuda", make, masks)
        assert {type(each.data) for each in trainer.pipeline.model.parameters()} == {Pretended}
        on_cuda = everything(trainer)
    assert on_cpu.keys() == on_cuda.keys()
    for name, value in on_cpu.items():
        assert torch.equal(value, on_cuda[name]), name


def with_all_that_is_optional(capture: Path, output: Path, steps: int):
    """Numerical gradients, curvature, corrected poses, a colour for every photograph, a sampler that walks."""
    config = witness_config(capture, output, steps)
    model = model_config(config)
    model.schedule.analytic_from, model.weights.curvature = None, 0.1
    model.cameras.optimise, model.appearance_width = True, 4
    return config


@pytest.mark.parametrize(("make", "backend"), [(with_all_that_is_optional, "warp"), (tiny_config, "torch")])
def test_what_is_trained_there_is_seen_and_measured_there(cuda, tmp_path, make: MakeConfig, backend: BackendChoice):
    trainer = trained(tmp_path, cuda, make, True, backend)
    pipeline = surface_pipeline(trainer.pipeline)
    pipeline.eval()
    camera = pipeline.datamanager.train_dataset.cameras[0:1].to(pipeline.device)
    view = pipeline.model.get_outputs_for_camera(camera)
    assert view["rgb"].is_cuda and view["rgb"].shape == (32, 32, 3)
    figures, _ = pipeline.get_eval_image_metrics_and_images(8)
    assert figures["psnr"] > 0


@pytest.mark.slow
def test_a_run_goes_on_there_and_becomes_a_mesh(cuda, tmp_path, monkeypatch):
    first = trained(tmp_path / "first", cuda, tiny_config, True)
    config = tiny_config(tmp_path / "first" / "ball", tmp_path / "second", 40)
    config.machine.device_type, config.load_dir = "cuda", first.checkpoint_dir
    pipeline_config(config).model.backend = "warp"
    second = cast(SurfaceTrainer, config.setup(local_rank=0, world_size=1))
    config.save_config()
    second.setup()
    assert second._start_step == 8
    second.train()
    run, out = second.base_dir, tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["neus-export", "--load-config", str(run), "--output-dir", str(out)])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--resolution", "24"])
    export.entrypoint()
    assert isinstance(trimesh.load(out / "mesh.ply", force="mesh"), trimesh.Trimesh)
