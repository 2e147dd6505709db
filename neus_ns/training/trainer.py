"""nerfstudio's Trainer with a seat belt: a clock for every schedule, checkpoints that survive, and an end to NaN.

The training loop stays nerfstudio's. This class hooks in at four places: a callback before and one after each step, the
losses on their way to the backward pass, and the two methods that read and write checkpoints.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils import writer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from neus_ns.errors import InputError
from neus_ns.training.averaging import ParameterMean
from neus_ns.training.checkpoints import (
    checkpoint_folder,
    checkpoint_path,
    delete_other_checkpoints,
    newest_whole_checkpoint,
    read_checkpoint,
    require_no_training_in,
    set_newer_checkpoints_aside,
    write_checkpoint,
)
from neus_ns.training.clock import TrainingClock
from neus_ns.training.device import default_machine, default_viewer
from neus_ns.training.guard import DivergedError, LossGuard, check_parameters
from neus_ns.training.learning_rate import ProgressLR
from neus_ns.training.random_state import random_state, restore_random_state, seed_random_state
from neus_ns.training.stopping import StopRequest

# nerfstudio's loop counts iterations; a run that ends by the clock gives it a count no run reaches.
ENDLESS = 10**12
# Looking at a loss makes the host wait for a CUDA device, and costs nothing on a CPU.
STEPS_PER_LOSS_CHECK = {"cpu": 1, "cuda": 16, "mps": 16}
# Of an optimizer's settings those that its schedule has to do with, and what it trains.
_OF_THE_RUN = {"params", "lr", "initial_lr"}


class TrainablePipeline(Protocol):
    """What every pipeline of this trainer offers besides nerfstudio's own methods."""

    def set_progress(self, progress: float) -> None:
        """Bring every schedule of the model to this share of the run."""
        ...

    def write_scene(self, folder: Path) -> None:
        """Say what is known of the scene, and keep it in the run's folder."""
        ...


@runtime_checkable
class SizedByCheckpoints(Protocol):
    """What the configuration of a pipeline offers whose sizes are chosen when training begins."""

    def take_over(self, pipeline_state: dict[str, Any]) -> None:
        """Set the sizes to those of a checkpoint's pipeline."""
        ...


@dataclass
class SurfaceTrainerConfig(TrainerConfig):
    """Configuration of a training run that follows a clock."""

    _target: type = field(default_factory=lambda: SurfaceTrainer)
    """target class to instantiate"""
    max_num_iterations: int = 20_000
    """Train for this many iterations in all, those of a resumed run included; every schedule follows the share done.
    Does not count when --max-minutes is given."""
    max_minutes: float | None = None
    """Train for this many minutes instead of max_num_iterations; every schedule follows the clock. Counted from the
    first step; pauses in the viewer and the set-up are not counted, a resumed run continues its count."""
    minutes_per_save: float = 2.0
    """Minutes of training between checkpoints, so that a kill costs no more than these, however long a step takes."""
    steps_per_save: int = 10_000
    """Number of steps between checkpoints, besides those of minutes_per_save."""
    mean_half_life: float = 0.02
    """A finished run keeps the mean of its parameters over the end of training, in which steps fade by half over this
    share of it; 0: the last step's, and a fifth less memory for parameters."""
    machine: MachineConfig = field(default_factory=default_machine)
    """Machine configuration"""
    viewer: ViewerConfig = field(default_factory=default_viewer)
    """Viewer configuration"""

    def check(self) -> None:
        """Raise InputError for limits that no run can keep."""
        if self.max_minutes is not None and self.max_minutes <= 0:
            raise InputError(f"--max-minutes is {self.max_minutes}: give a number above zero.")
        if self.max_minutes is not None and self.machine.num_devices * self.machine.num_machines > 1:
            # Every process would stop by its own clock, at a step of its own, and wait for the others for ever.
            raise InputError("--max-minutes works with one device only: give --max-num-iterations for several.")
        if self.machine.device_type == "mps":
            raise InputError("--machine.device-type mps knows no numbers of 64 bits, which frames need: take cpu.")
        if not 0.0 <= self.mean_half_life <= 1.0:
            raise InputError(f"--mean-half-life is {self.mean_half_life}: give a share of training, from 0 to 1.")
        if self.max_num_iterations < 1:
            raise InputError(f"--max-num-iterations is {self.max_num_iterations}: give at least 1.")
        if self.mixed_precision:
            # In half precision positions of the unit frame come in steps of 1/2000, as much as a good surface is off.
            raise InputError(
                "--mixed-precision would round distances to half their digits: leave it off; networks use tensor cores "
                "where that does no harm."
            )


class SurfaceTrainer(Trainer):
    """Trains a pipeline that has `set_progress(progress)`; see the module's first lines."""

    config: SurfaceTrainerConfig

    def __init__(self, config: SurfaceTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        by_minutes = config.max_minutes is not None
        # Before the parent's turn, because the parent sets training_state, and that pauses the clock.
        self.clock = TrainingClock(None if by_minutes else config.max_num_iterations, config.max_minutes)
        super().__init__(config, local_rank, world_size)
        self._guard = LossGuard(STEPS_PER_LOSS_CHECK[config.machine.device_type])
        self._last_step = -1
        self._last_checkpoint: Path | None = None
        self._found: tuple[Path, dict] | None = None
        self._seconds_at_save = 0.0
        self._random_to_restore: dict | None = None
        self._stop = StopRequest()

    @property
    def training_state(self) -> Literal["training", "paused", "completed"]:
        """What the viewer shows, and sets from its own thread; the clock runs only while training."""
        return self._training_state

    @training_state.setter
    def training_state(self, state: Literal["training", "paused", "completed"]) -> None:
        self._training_state: Literal["training", "paused", "completed"] = state
        if state == "training":
            self.clock.resume()
        else:
            self.clock.pause()

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Set up as nerfstudio does, then put our hooks around each step."""
        with self._failing_in_a_sentence():
            self.config.check()
            self._find_checkpoint()
            if self._found is None:
                require_no_training_in(self.checkpoint_dir)
            super().setup(test_mode)
            self._keep_chosen_sizes()
            self._write_scene()
            self.pipeline.get_train_loss_dict = self._guard.watching(self.pipeline.get_train_loss_dict)
            at = TrainingCallbackLocation
            self.callbacks.insert(0, TrainingCallback([at.BEFORE_TRAIN_ITERATION], self._before_step))
            self.callbacks.append(TrainingCallback([at.AFTER_TRAIN_ITERATION], self._after_step))

    def setup_optimizers(self) -> Optimizers:
        """nerfstudio's, and the mean of all that they train."""
        optimizers = super().setup_optimizers()
        self._mean = ParameterMean(optimizers.parameters, self.config.mean_half_life)
        return optimizers

    @check_main_thread
    def _keep_chosen_sizes(self) -> None:
        """ns-train wrote the configuration before the pipeline chose its sizes, and exporters build the field by it."""
        if (self.base_dir / "config.yml").is_file():
            # What was resumed from is no matter of whoever reads this run: nerfstudio would look for that step here.
            replace(self.config, load_dir=None, load_step=None, load_checkpoint=None).save_config()

    @check_main_thread
    def _write_scene(self) -> None:
        # After a checkpoint is loaded, since that decides about the scene's frame.
        cast(TrainablePipeline, self.pipeline).write_scene(self.base_dir)

    def train(self) -> None:
        """Train until the clock says so; a resumed run trains what is left, not everything again."""
        with self._failing_in_a_sentence():
            if self.clock.finished(self._start_step):
                CONSOLE.print(f"This run was already finished at step {self._last_step}; nothing is left to train.")
                steps_left = 0
            elif self.clock.max_iterations is None:
                steps_left = ENDLESS
            else:
                steps_left = self.clock.max_iterations - self._start_step
            configured = self.config
            # nerfstudio's loop reads its length from here, and would add the whole count to the step it resumes from.
            self.config = replace(configured, max_num_iterations=steps_left)
            try:
                with self._stop.heard(self._finish_step) if self.world_size == 1 else nullcontext():
                    super().train()
            finally:
                self.config = configured
        if self._stop.signal is not None:
            saved = f"after step {self._last_step}; the same command with --load-dir {self.checkpoint_dir} goes on"
            where = saved if self._last_step >= 0 else "before the first step: nothing was there to save"
            CONSOLE.print(f"Stopped by {self._stop.signal.name} {where}.", soft_wrap=True)
            self.shutdown()
            raise SystemExit(self._stop.exit_code)

    def _finish_step(self) -> None:
        self.stop_training = True
        CONSOLE.print("Stopping after this step, and saving; once more stops at once, without.", soft_wrap=True)

    def _before_step(self, step: int) -> None:
        """Everything that must hold when a step begins: random state, clock, a save that is due, all schedules."""
        if self._random_to_restore is not None:
            # Set-up and the viewer draw random numbers too, so this waits for the last moment.
            restore_random_state(self._random_to_restore)
            self._random_to_restore = None
        self.clock.start()
        # Here and not after the previous step: evaluation, which draws random numbers, has come and gone.
        if self.clock.seconds - self._seconds_at_save >= 60.0 * self.config.minutes_per_save:
            self.save_checkpoint(self._last_step)
        self._set_progress(self.clock.progress(step))

    def _after_step(self, step: int) -> None:
        self._last_step = step
        self._mean.hear(self.clock.progress(step + 1))
        finished = self.clock.finished(step + 1)
        if finished:
            # Before anyone looks at what has come of the run.
            self._mean.take_over()
        if finished or self._stop.signal is not None:
            self.stop_training = True

    def _set_progress(self, progress: float) -> None:
        """Bring every schedule, in the pipeline and in the optimizers, to this share of the run."""
        cast(TrainablePipeline, self.pipeline).set_progress(progress)
        for scheduler in self.optimizers.schedulers.values():
            if isinstance(scheduler, ProgressLR):
                scheduler.set_progress(progress)
        if self.clock.max_iterations is None and progress > 0.0 and self._last_step > 0:
            # The console derives "% done" and the time left from this count, which only the clock knows here.
            writer.GLOBAL_BUFFER["max_iter"] = max(int(self._last_step / progress), 1)

    def _after_train(self) -> None:
        """Finish at the last step that was executed, with every schedule where the run really ended."""
        self.step = max(self._last_step, 0)
        self._set_progress(self.clock.progress(self._last_step + 1))
        if self._stop.signal is None:
            # Ctrl-C now closes the viewer, which nerfstudio keeps open.
            self._stop.listen_no_longer()
            super()._after_train()
            return
        # Nothing is finished, and no viewer waits to be looked at.
        self.training_state = "paused"
        self.save_checkpoint(self.step)
        writer.write_out_storage()

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Save everything a resumed run needs, labelled with the last executed step, if it is all finite."""
        del step  # nerfstudio passes the step it is about to do when a run is stopped early.
        if self._last_step < 0:
            return
        self._guard.check()
        check_parameters(self.pipeline.named_parameters(), self._last_step)
        state = {
            "step": self._last_step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: each.state_dict() for name, each in self.optimizers.optimizers.items()},
            "schedulers": {name: each.state_dict() for name, each in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
            "clock": self.clock.state_dict(),
            "mean": self._mean.state_dict(),
            "random": self._random_to_restore or random_state(),
            "method": self.config.method_name,
        }
        self._last_checkpoint = write_checkpoint(state, self.checkpoint_dir, self._last_step)
        self._seconds_at_save = self.clock.seconds
        if self.config.save_only_latest_checkpoint:
            delete_other_checkpoints(self._last_checkpoint)
        else:
            set_newer_checkpoints_aside(self._last_checkpoint)

    def _find_checkpoint(self) -> None:
        """Read what --load-dir or --load-checkpoint names, if one is given, and let it say how large everything is."""
        config = self.config
        if config.load_dir is not None:
            folder = checkpoint_folder(config.load_dir, config.relative_model_dir)
            self._found = self._read_from_folder(folder)
        elif config.load_checkpoint is not None:
            self._found = config.load_checkpoint, read_checkpoint(config.load_checkpoint)
        if self._found is None:
            return
        path, state = self._found
        # Checkpoints of before this was written down are told apart by what does not fit.
        method = state.get("method", config.method_name)
        if method != config.method_name:
            raise InputError(f"{path} was trained with {method}, not {config.method_name}: resume with that method.")
        if isinstance(config.pipeline, SizedByCheckpoints):
            config.pipeline.take_over(state["pipeline"])

    def _load_checkpoint(self) -> None:
        """Resume from the checkpoint that was found."""
        if self._found is None:
            return
        (path, state), self._found = self._found, None
        try:
            self._restore(state)
        except InputError:
            raise
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise InputError(
                f"The checkpoint {path} does not fit these settings ({reason}): resume with those it was trained with."
            ) from error
        self._last_checkpoint = path
        self._set_progress(self.clock.progress(self._start_step))
        CONSOLE.print(f"Resuming after step {self._last_step} from {path}.", soft_wrap=True)

    def _read_from_folder(self, folder: Path) -> tuple[Path, dict]:
        """The checkpoint of --load-step, or the newest whole one."""
        if self.config.load_step is not None:
            path = checkpoint_path(folder, self.config.load_step)
            return path, read_checkpoint(path)
        path, state, damaged = newest_whole_checkpoint(folder)
        if damaged:
            names = ", ".join(each.name for each in damaged)
            CONSOLE.print(f"Damaged in {folder}: {names}; resuming from {path.name} instead.", soft_wrap=True)
        return path, state

    def _restore(self, state: dict) -> None:
        """Put a checkpoint's state back into every part of the run."""
        self._last_step = state["step"]
        self._start_step = self._last_step + 1
        self.pipeline.load_pipeline(state["pipeline"], self._last_step)
        self._load_optimizers(state["optimizers"])
        if self.config.load_scheduler:
            self.optimizers.load_schedulers(state["schedulers"])
        self.grad_scaler.load_state_dict(state["scalers"])
        self.clock.load_state_dict(state["clock"])
        self._seconds_at_save = self.clock.seconds
        if "mean" in state:  # Checkpoints of before had none.
            self._mean.load_state_dict(state["mean"])
        if self.world_size == 1:
            self._random_to_restore = state["random"]
        else:
            # Each process must draw its own numbers, and the checkpoint knows only the first one's; nor those again
            # with which the training once began.
            seed_random_state(self.config.machine.seed, torch.distributed.get_rank(), self._start_step)

    def _load_optimizers(self, state: dict) -> None:
        """Take up moments and step counts; how much a step decays and the like is what the options say now."""
        for name, saved in state.items():
            if name not in self.optimizers.optimizers:
                raise InputError(
                    f"The checkpoint was trained with the parameters `{name}`, which these options leave out: resume "
                    "with those it was trained with (for `cameras` that is --pipeline.model.cameras.optimise True)."
                )
            optimizer = self.optimizers.optimizers[name]
            said = [{key: group[key] for key in group.keys() - _OF_THE_RUN} for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, options in zip(optimizer.param_groups, said, strict=True):
                group.update(options)

    @contextmanager
    def _failing_in_a_sentence(self) -> Iterator[None]:
        """End the program with one sentence and exit code 1 for what the user can mend; anything else is a bug."""
        try:
            yield
        except InputError as error:
            sentence, cause = str(error), error
        except DivergedError as error:
            sentence, cause = self._divergence_sentence(error), error
        else:
            return
        CONSOLE.print(sentence, style="bold red", markup=False, highlight=False, soft_wrap=True)
        self.shutdown()
        raise SystemExit(1) from cause

    def _divergence_sentence(self, error: DivergedError) -> str:
        kept = "no checkpoint had been saved yet"
        if self._last_checkpoint is not None:
            kept = f"the last good checkpoint is {self._last_checkpoint}"
        return (
            f"Training stopped at step {error.step} because {' and '.join(error.culprits)} became NaN or infinite; "
            f"{kept}, and a lower learning rate (--optimizers.*.optimizer.lr) is the first thing to try."
        )
