"""What a training step of neus-hash spends its time on, at several stages of a training.

    python -m tests.benchmarks.step_profile SCENE [--steps 1200] [--at 0.1 0.5 0.9] [--window 60]

SCENE is a nerfstudio capture. A whole short training of so many steps is run, and for a window of steps around each
share of it the time of every part is added up: by the clock, and in brackets that of all threads together, which other
work on the machine hardly changes. Parts are timed where they are called from, so what a part calls itself is counted
in it; `rest` is what is left of the step: rays, losses' small change, and Python. On a GPU the host's time is shown,
not the device's.
"""

import argparse
import contextlib
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.optimizers import Optimizers

from neus_ns.methods import neus_hash_config
from neus_ns.models import neus_hash
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig


class Stopwatch:
    """Adds up the time of named parts, by the clock and of all threads; a part inside another is taken out of the outer
    one."""

    def __init__(self) -> None:
        self.seconds: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self._open: list[str] = []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        begin = _now()
        self._open.append(name)
        try:
            yield
        finally:
            took = _now() - begin
            self._open.pop()
            self.seconds[name] += took
            if self._open:
                self.seconds[self._open[-1]] -= took

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Time every call of `owner.attribute` from now on."""
        function: Callable = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def watched_pipeline(scene: Path, watch: Stopwatch) -> tuple[SurfacePipeline, Optimizers]:
    """A pipeline whose parts are timed, and its optimisers."""
    config = neus_hash_config()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.datamanager.data = scene
    with contextlib.redirect_stdout(io.StringIO()):
        pipeline = config.pipeline.setup(device="cuda" if torch.cuda.is_available() else "cpu", test_mode="val")
    pipeline.train()
    model = pipeline.surface_model
    watch.watch(pipeline.datamanager, "next_train", "photographs and rays")
    watch.watch(neus_hash, "look", "march, prune, refine")
    watch.watch(model, "_sdf_only", "distances for refinement")
    watch.watch(model.field.sdf_network, "sample", "distance field")
    watch.watch(model.field.colour_network, "forward", "colour network")
    watch.watch(neus_hash, "weights_from_alpha", "compositing")
    watch.watch(neus_hash, "composite", "compositing")
    watch.watch(model, "get_loss_dict", "losses")
    watch.watch(model, "update_grid", "occupancy update")
    return pipeline, Optimizers(config.optimizers.copy(), pipeline.get_param_groups())


def step(pipeline: SurfacePipeline, optimizers: Optimizers, number: int, progress: float, watch: Stopwatch) -> int:
    """One training step; returns how many samples it evaluated."""
    with watch.part("rest"):
        pipeline.set_progress(progress)
        for scheduler in optimizers.schedulers.values():
            scheduler.set_progress(progress)  # type: ignore[attr-defined]
        for callback in pipeline.get_training_callbacks(None):  # type: ignore[arg-type]
            callback.run_callback_at_location(number, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        with watch.part("optimiser"):
            optimizers.zero_grad_all()
        outputs, losses, _ = pipeline.get_train_loss_dict(number)
        with watch.part("backward"):
            sum(losses.values(), torch.zeros((), device=pipeline.device)).backward()
        with watch.part("optimiser"):
            optimizers.optimizer_step_all()
    return len(outputs["gradient"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--steps", type=int, default=1200, help="length of the training")
    parser.add_argument("--at", type=float, nargs="+", default=[0.1, 0.5, 0.9], help="shares of it to look at")
    parser.add_argument("--window", type=int, default=60, help="steps to look at, each time")
    options = parser.parse_args()
    torch.manual_seed(0)
    watch = Stopwatch()
    pipeline, optimizers = watched_pipeline(options.scene, watch)
    tables: list[dict[str, np.ndarray]] = []
    counts: list[float] = []
    starts = [int(share * options.steps) for share in options.at]
    samples = 0
    for number in range(options.steps):
        if number in starts:
            watch.seconds.clear()
            samples = 0
        samples += step(pipeline, optimizers, number, number / options.steps, watch)
        if number - options.window + 1 in starts:
            tables.append({name: 1e3 * seconds / options.window for name, seconds in watch.seconds.items()})
            counts.append(samples / options.window)
    print(f"{torch.get_num_threads()} threads")
    print("| part, ms a step | " + " | ".join(f"at {share:g}" for share in options.at) + " |")
    print("|---|" + "---|" * len(tables))
    for name in sorted(tables[-1], key=lambda part: -tables[-1][part][0]):
        print(f"| {name} | " + " | ".join(_both(table.get(name, np.zeros(2))) for table in tables) + " |")
    print("| all | " + " | ".join(_both(np.sum(list(table.values()), axis=0)) for table in tables) + " |")
    print("| samples | " + " | ".join(f"{count:.0f}" for count in counts) + " |")


def _both(milliseconds: np.ndarray) -> str:
    return f"{milliseconds[0]:.1f} ({milliseconds[1]:.1f})"


if __name__ == "__main__":
    main()
