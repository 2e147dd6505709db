"""One training run that is measured while it trains, at given shares of it, without the measuring showing in it."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import trimesh
from jaxtyping import Float, Int64
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.scripts.train import _set_random_seed
from nerfstudio.utils import writer
from torch import Tensor

from neus_ns.cli.bench.record import Measurement, Run
from neus_ns.errors import InputError
from neus_ns.evaluation.camera import cameras_of
from neus_ns.evaluation.geometry import GroundTruth, Score, score_mesh
from neus_ns.methods import neuralangelo_mask_sfm_config, neus_hash_config
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig, surface_pipeline
from neus_ns.pixels.choice import sampler_config
from neus_ns.surface.export import MeshOptions, export_surface
from neus_ns.training.guard import DivergedError
from neus_ns.training.trainer import SurfaceTrainer, SurfaceTrainerConfig

METHODS = {"neus-hash": neus_hash_config, "neuralangelo-mask-sfm": neuralangelo_mask_sfm_config}

# The same held-out pixels for every run, since differences are sought: drawn once, by a seed of their own.
_HELD_OUT_SEED = 20_240
_CHUNK = 4096
_NEVER = 10**12


@dataclass(frozen=True)
class Measuring:
    """When a run is measured, and how finely."""

    moments: tuple[float, ...]
    """Shares of training, ascending, the last one 1."""
    resolution: int
    """Cells along the longest side of the lattice of the meshes that are scored."""
    samples: int
    """Points on each mesh."""
    held_out_pixels: int
    on_table: bool


@dataclass(frozen=True)
class Length:
    """How long every run is: minutes or steps."""

    minutes: float | None
    steps: int | None


def with_sampler(pipeline: SurfacePipelineConfig, strategy: str) -> None:
    """Let a strategy pick the pixels."""
    pipeline.datamanager.pixel_sampler = sampler_config(strategy)


def train_measured(
    run: Run,
    data: Path,
    method: str,
    length: Length,
    measuring: Measuring,
    show: Callable[[float], None],
    apply: Callable[[SurfacePipelineConfig, str], None] = with_sampler,
) -> list[Measurement]:
    """Train, and return what was measured on the way; `apply` brings the run's strategy into the method's options.

    Raises InputError, or DivergedError for NaN.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = _config(run, data, method, length, Path(folder))
        assert isinstance(config.pipeline, SurfacePipelineConfig)
        apply(config.pipeline, run.strategy)
        _set_random_seed(config.machine.seed)
        try:
            trainer = config.setup(local_rank=0, world_size=1)
            assert isinstance(trainer, SurfaceTrainer)
            trainer.setup()
            watch = Watch(run, trainer, ground_truth(data), measuring, show)
            location = [TrainingCallbackLocation.AFTER_TRAIN_ITERATION]
            trainer.callbacks.append(TrainingCallback(location, watch.after_step))
            trainer.train()
        except SystemExit as end:
            # The trainer ends the program over bad input; a comparison may go on with the next run.
            if isinstance(end.__cause__, InputError | DivergedError):
                raise end.__cause__ from None
            raise
        finally:
            end_log()
        return watch.measured


def _config(run: Run, data: Path, method: str, length: Length, folder: Path) -> SurfaceTrainerConfig:
    config = METHODS[method]()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.datamanager.data = data
    config.output_dir, config.experiment_name, config.timestamp = folder, "bench", "run"
    config.vis, config.logging.local_writer.enable = "tensorboard", False
    config.steps_per_eval_image = 0
    # Saving would count towards the seconds.
    config.steps_per_save, config.minutes_per_save = _NEVER, float(_NEVER)
    config.max_minutes = length.minutes
    config.max_num_iterations = config.max_num_iterations if length.steps is None else length.steps
    config.machine.seed = run.seed
    return config


def end_log() -> None:
    """nerfstudio keeps the logs of every run until the process ends, and would write the next run into all of them."""
    for each in writer.EVENT_WRITERS:
        if isinstance(each, writer.TensorboardWriter):
            # Its thread writes into the run's folder, which is about to go.
            each.tb_writer.close()
    writer.EVENT_WRITERS.clear()


def ground_truth(data: Path) -> GroundTruth | None:
    """The true surface beside the photographs, or None if there is no gt_points.npz."""
    folder = data if data.is_dir() else data.parent
    return GroundTruth.load(folder) if (folder / "gt_points.npz").is_file() else None


class Watch:
    """Counts the rays of a run and measures it; its clock, CPU time and random numbers stand still meanwhile."""

    def __init__(
        self,
        run: Run,
        trainer: SurfaceTrainer,
        truth: GroundTruth | None,
        measuring: Measuring,
        show: Callable[[float], None],
    ) -> None:
        self.run, self.trainer, self.truth, self.measuring, self.show = run, trainer, truth, measuring, show
        self.pipeline = surface_pipeline(trainer.pipeline)
        self.measured: list[Measurement] = []
        self._rays = 0
        self._held_out = held_out(self.pipeline, measuring.held_out_pixels)
        self._cpu_began = time.process_time()

    def after_step(self, step: int) -> None:
        """Called after every step."""
        pixels = self.pipeline.datamanager.last_pixels
        self._rays += 0 if pixels is None else len(pixels.flat)
        progress = self.trainer.clock.progress(step + 1)
        self.show(progress)
        moments = self.measuring.moments
        if len(self.measured) < len(moments) and progress >= moments[len(self.measured)]:
            self._measure(step, progress)

    def _measure(self, step: int, progress: float) -> None:
        with self._standing_still() as cpu_seconds:
            psnr = None if self._held_out is None else held_out_psnr(self.pipeline, self._held_out)
            score = None if self.truth is None else self._score(self.truth)
            self.measured.append(
                Measurement(
                    scene=self.run.scene,
                    strategy=self.run.strategy,
                    seed=self.run.seed,
                    share=progress,
                    step=step + 1,
                    rays=self._rays,
                    seconds=self.trainer.clock.seconds,
                    cpu_seconds=cpu_seconds,
                    psnr=psnr,
                    chamfer=None if score is None else score.chamfer_percent,
                    accuracy=None if score is None else score.accuracy_percent,
                    completeness=None if score is None else score.completeness_percent,
                )
            )

    @contextmanager
    def _standing_still(self) -> Iterator[float]:
        """Gives the CPU seconds of training so far, and leaves no trace in the run."""
        if torch.cuda.is_available():
            # Steps that are still under way are training as well.
            torch.cuda.synchronize()
        cpu_now = time.process_time()
        self.trainer.clock.pause()
        grid = self.pipeline.surface_model.grid
        # The export looks at every cell, which training itself does seldom.
        state = {name: value.clone() for name, value in grid.state_dict().items()}
        with torch.random.fork_rng(), torch.no_grad():
            self.pipeline.eval()
            yield cpu_now - self._cpu_began
        grid.load_state_dict(state)
        self.pipeline.train()
        self.trainer.clock.resume()
        self._cpu_began += time.process_time() - cpu_now

    def _score(self, truth: GroundTruth) -> Score | None:
        options = MeshOptions(resolution=self.measuring.resolution, colour=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mesh.ply"
            try:
                export_surface(self.pipeline.surface_source(), options, path)
                mesh = trimesh.load(path, force="mesh", process=False)
                assert isinstance(mesh, trimesh.Trimesh)
                cameras = cameras_of(self.pipeline.views_world(masks=False))
                return score_mesh(
                    mesh, truth, cameras, stands_on_table=self.measuring.on_table, samples=self.measuring.samples
                )
            except InputError as error:
                # No surface yet is a finding, not a reason to end the run.
                print(f"{self.run.strategy} has no surface to score at this moment: {error}")
                return None


def held_out(pipeline: SurfacePipeline, count: int) -> Int64[Tensor, " n"] | None:
    """Pixels on and near the object in photographs that are not trained on; None if none are held out."""
    manager = pipeline.datamanager
    if len(manager.eval_dataset) == 0:
        return None
    with torch.random.fork_rng():
        torch.manual_seed(_HELD_OUT_SEED)
        return manager.eval_store.draw_candidates(count)


def held_out_psnr(pipeline: SurfacePipeline, flat: Int64[Tensor, " n"]) -> float:
    """Peak signal-to-noise ratio over these pixels together, in decibels; with masks, of the object on its shade."""
    squared: list[Float[Tensor, ""]] = []
    for part in flat.split(_CHUNK):
        bundle, batch = pipeline.datamanager.held_out_rays(part)
        outputs = pipeline.model(bundle)
        rgb = outputs["rgb"].clamp(0, 1)
        squared.append((rgb - pipeline.surface_model.target_colour(outputs, batch)).double().square().sum())
    mean = torch.stack(squared).sum() / (3 * len(flat))
    return float(-10 * torch.log10(mean))
