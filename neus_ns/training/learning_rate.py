"""Learning rates by training progress, inside nerfstudio's Optimizers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer

from neus_ns.training.schedules import ramp, warmup_cosine, warmup_exponential

SHAPES = {"cosine": warmup_cosine, "exponential": warmup_exponential}


class ProgressLR:
    """Sets an optimizer's learning rate to lr_init * factor(progress).

    Offers what nerfstudio's Optimizers ask of a torch scheduler. It is no subclass of one, because those count steps
    and patch the optimizer's `step` to do so.
    """

    def __init__(self, optimizer: Optimizer, lr_init: float, factor: Callable[[float], float]) -> None:
        self.optimizer = optimizer
        self.lr_init = lr_init
        self.factor = factor
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        self.progress = progress
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr_init * self.factor(progress)

    def step(self) -> None:
        """Nothing to do: nerfstudio calls this after each step, and the trainer has set the progress before it."""

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, float]:
        return {"progress": self.progress}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.set_progress(state["progress"])


@dataclass
class ProgressSchedulerConfig(SchedulerConfig):
    """Warm-up, then a decay that ends with the run, whether that is counted in iterations or in minutes."""

    _target: type = field(default_factory=lambda: ProgressScheduler)
    """target class to instantiate"""
    delay: float = 0.0
    """Share of the run over which the learning rate stays zero before it rises."""
    warmup: float = 0.02
    """Share of the run over which the learning rate rises from zero, counted after the delay."""
    final_ratio: float = 0.05
    """Learning rate at the end of the run, as a share of the optimizer's."""
    shape: Literal["cosine", "exponential"] = "cosine"
    """How the rate falls after the warm-up."""


class ProgressScheduler(Scheduler):
    """Makes the ProgressLR of one optimizer."""

    config: ProgressSchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> ProgressLR:
        shape, config = SHAPES[self.config.shape], self.config

        def factor(progress: float) -> float:
            if progress < config.delay:
                return 0.0
            return shape(ramp(progress, config.delay, 1.0), config.warmup, config.final_ratio)

        return ProgressLR(optimizer, lr_init, factor)
