"""Whole training steps of neus-hash and of nerfstudio's neus-facto on one CPU, in turns, from the same capture.

    python -m tests.benchmarks.neus_facto SCENE [--rays 1024] [--after 500] [--of 20000] [--no-masks] [--threads 1]

SCENE is a nerfstudio capture. A step is what the two trainers do in one: callbacks (neus-hash: the occupancy grid),
pixels and rays, forward, losses, backward, optimisers, schedulers. neus-hash is first trained for `--after` steps of a
run of `--of` steps, so that its occupancy grid is in use, always with `--rays` rays; neus-facto evaluates the same
number of samples in every step, so a few steps warm it up. Both get the masks, or with --no-masks neither: neus-facto
draws its pixels inside them only; neus-hash draws anywhere near them and judges its opacity by them, and without them
it also trains a background.

On a machine that others use, believe one thread only: with more, torch's threads wait for each other by spinning, and
the shorter step suffers most.

nerfstudio 1.1.5 needs help to start neus-facto here, and gets this much:
- its signed distance field builds tiny-cuda-nn's encoding without a fallback: it gets `standin/tinycudann.py`, which is
  nerfstudio's own torch grid; its other networks fall back to torch by themselves;
- its dataset raises KeyError on captures that are not in sdfstudio's format: it gets nerfstudio's plain dataset and the
  nerfstudio-data parser;
- its model downloads the weights of LPIPS, which no training step uses: it does without.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from nerfstudio.configs.method_configs import method_configs
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer, TrainerConfig

from neus_ns.methods import neus_hash_config
from neus_ns.models.pipeline import SurfacePipelineConfig, surface_pipeline
from tests.benchmarks.quality import without_masks
from tests.benchmarks.standin import tinycudann

WARM_UP = 3


def started(config: TrainerConfig, capture: Path, rays: int, folder: Path) -> Trainer:
    """A trainer on the capture, on the CPU, that writes nothing while its steps are timed."""
    config.pipeline.datamanager.data = capture  # type: ignore[attr-defined]
    config.pipeline.datamanager.train_num_rays_per_batch = rays  # type: ignore[attr-defined]
    config.output_dir, config.experiment_name, config.timestamp = folder, f"{config.method_name}", "benchmark"
    config.vis, config.machine.device_type = "tensorboard", "cpu"
    config.logging.local_writer.enable = False
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def start_neus_hash(capture: Path, rays: int, steps: int, folder: Path) -> Trainer:
    config = neus_hash_config()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.samples_per_step = 0
    config.max_num_iterations, config.minutes_per_save = steps, 1e9
    return started(config, capture, rays, folder)


def start_neus_facto(capture: Path, rays: int, folder: Path) -> Trainer:
    config = copy.deepcopy(method_configs["neus-facto"])
    assert isinstance(config, TrainerConfig)
    config.pipeline.datamanager._target = VanillaDataManager
    config.pipeline.datamanager.dataparser = NerfstudioDataParserConfig()  # type: ignore[attr-defined]
    with (
        mock.patch("nerfstudio.fields.sdf_field.tcnn", tinycudann),
        mock.patch("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", torch.nn.Identity),
    ):
        return started(config, capture, rays, folder)


def stepper(trainer: Trainer) -> Callable[[int], None]:
    """Does that many steps more, as nerfstudio's loop would between two lines of its log."""
    done = 0

    def run(count: int) -> None:
        nonlocal done
        for step in range(done, done + count):
            trainer.pipeline.train()
            for callback in trainer.callbacks:
                callback.run_callback_at_location(step, location=TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
            trainer.train_iteration(step)
            for callback in trainer.callbacks:
                callback.run_callback_at_location(step, location=TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
        done += count

    return run


def milliseconds(run: Callable[[int], None], steps: int) -> tuple[float, float]:
    """Wall and CPU time of one step, the mean of several."""
    wall, cpu = time.perf_counter(), time.process_time()
    run(steps)
    return 1e3 * (time.perf_counter() - wall) / steps, 1e3 * (time.process_time() - cpu) / steps


def state_of(trainer: Trainer) -> str:
    """What a step's cost depends on."""
    model = surface_pipeline(trainer.pipeline).surface_model
    _, _, metrics = trainer.pipeline.get_train_loss_dict(0)
    masks = "with" if model.has_masks else "without"
    return (
        f"{masks} masks, {float(metrics['samples_per_ray']):.1f} samples a ray, "
        f"{100 * float(metrics['occupied_share']):.1f} % of the cells occupied, "
        f"{int(metrics['active_levels'])} levels active; {model.backends.reason}"
    )


def compare(options: argparse.Namespace, capture: Path, folder: Path) -> None:
    ours = start_neus_hash(capture, options.rays, options.of, folder)
    theirs = start_neus_facto(capture, options.rays, folder)
    run_ours, run_theirs = stepper(ours), stepper(theirs)
    run_ours(options.after)
    run_theirs(WARM_UP)
    print(f"neus-hash after {options.after} of {options.of} steps: {state_of(ours)}", flush=True)
    # Whole periods of the occupancy grid, so that its updates count as often as they come.
    period = surface_pipeline(ours.pipeline).surface_model.config.sampling.grid_every
    rounds = []
    for number in range(options.rounds):
        rounds.append((milliseconds(run_ours, period), milliseconds(run_theirs, 1)))
        (wall, cpu), (their_wall, their_cpu) = rounds[-1]
        print(
            f"round {number + 1}: neus-hash {wall:.1f} wall-ms {cpu:.1f} CPU-ms, "
            f"neus-facto {their_wall:.0f} wall-ms {their_cpu:.0f} CPU-ms",
            flush=True,
        )
    for kind, index in (("wall", 0), ("CPU", 1)):
        ms, their_ms = (statistics.median(pair[who][index] for pair in rounds) for who in (0, 1))
        print(
            f"{kind}, {options.rays} rays a step, median: neus-hash {ms:.1f} ms a step, {1e3 * options.rays / ms:.0f} "
            f"rays/s; neus-facto {their_ms:.0f} ms a step, {1e3 * options.rays / their_ms:.0f} rays/s; "
            f"{their_ms / ms:.1f} times as fast"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--rays", type=int, default=1024, help="rays of a step")
    parser.add_argument("--after", type=int, default=500, help="steps of neus-hash before the timing")
    parser.add_argument("--of", type=int, default=20_000, help="steps of the run that neus-hash's schedules follow")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-masks", action="store_true", help="leave the masks out of both trainings")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of both")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare(options, without_masks(options.scene, folder) if options.no_masks else options.scene, folder)


if __name__ == "__main__":
    main()
