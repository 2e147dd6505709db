"""A pipeline with three parameters and random batches: the least that nerfstudio's real training loop will drive."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.utils import profiler, writer

from neus_ns.training.learning_rate import ProgressSchedulerConfig
from neus_ns.training.optimizers import FusedAdamConfig
from neus_ns.training.trainer import SurfaceTrainer, SurfaceTrainerConfig


@dataclass
class FakePipelineConfig(VanillaPipelineConfig):
    _target: type = field(default_factory=lambda: FakePipeline)
    bad_step: int = -1
    """The step whose second loss term is NaN."""


class FakePipeline(torch.nn.Module):
    """Fits a plane to noisy samples; torch's and numpy's random numbers and a sampler's own state enter the loss."""

    progress: torch.Tensor

    def __init__(self, config, device, test_mode, world_size, local_rank, grad_scaler):
        super().__init__()
        self.config = config
        self.weights = torch.nn.Parameter(torch.linspace(-1.0, 1.0, 3))
        self.register_buffer("progress", torch.zeros(()))
        self.datamanager = SimpleNamespace(
            train_dataset=[0], eval_dataset=None, get_train_rays_per_batch=lambda: 8, data=None
        )
        self.momentum = torch.zeros(())
        self.losses: list[float] = []
        self.progress_seen: list[float] = []

    def set_progress(self, progress: float) -> None:
        self.progress.fill_(progress)
        self.progress_seen.append(progress)

    def write_scene(self, folder: Path) -> None:
        pass

    def get_extra_state(self) -> dict:
        return {"momentum": self.momentum}

    def set_extra_state(self, state: dict) -> None:
        self.momentum = state["momentum"]

    def get_train_loss_dict(self, step: int):
        # Not Python's `random`: beartype draws from it to pick the list items it checks. And no matrix product: the
        # last bits of one depend on where its operands happen to lie in memory.
        points = torch.rand(8, 3) + float(np.random.rand())
        fit = (((points * self.weights).sum(dim=1) - 1.0) ** 2).mean()
        self.momentum = 0.9 * self.momentum + 0.1 * fit.detach()
        prior = (1.0 + self.progress) * self.weights.square().sum() * 0.01 + 0.1 * self.momentum
        if step == self.config.bad_step:
            prior = prior * float("nan")
        self.losses.append(float((fit + prior).detach()))
        return {}, {"fit": fit, "prior": prior}, {"metric": fit.detach()}

    def get_param_groups(self):
        return {"fields": [self.weights]}

    def get_training_callbacks(self, training_callback_attributes):
        return []

    def load_pipeline(self, loaded_state, step):
        self.load_state_dict(loaded_state)


class FakeTrainer(SurfaceTrainer):
    """The real trainer; only the type of its pipeline is known better."""

    pipeline: FakePipeline


def fake_config(folder: Path, bad_step: int = -1, **settings) -> SurfaceTrainerConfig:
    settings = {"max_num_iterations": 12, "steps_per_save": 0, **settings}
    config = SurfaceTrainerConfig(
        _target=FakeTrainer,
        method_name="fake",
        experiment_name="exp",
        timestamp="run",
        output_dir=folder,
        vis="tensorboard",
        pipeline=FakePipelineConfig(bad_step=bad_step),
        optimizers={
            "fields": {"optimizer": FusedAdamConfig(lr=0.05), "scheduler": ProgressSchedulerConfig(warmup=0.2)}
        },
        logging=LoggingConfig(local_writer=LocalWriterConfig(enable=False)),
        **settings,
    )
    config.machine.device_type = "cpu"
    return config


def set_up(config: SurfaceTrainerConfig, seed: int = 0) -> FakeTrainer:
    """A trainer as `ns-train` makes it, in a process whose nerfstudio globals are fresh."""
    for shared in (writer.EVENT_WRITERS, writer.EVENT_STORAGE, profiler.PROFILER):
        shared.clear()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def trained(config: SurfaceTrainerConfig, seed: int = 0) -> FakeTrainer:
    trainer = set_up(config, seed)
    trainer.train()
    return trainer
