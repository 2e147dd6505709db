"""`neus-demo`: make a small capture, train neus-hash on it, export the mesh, score it, draw one picture of it all."""

import shutil
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from neus_ns.errors import InputError
from neus_ns.kernels.waiting import stay_awake_briefly
from neus_ns.places import require_folder_can_be_written
from neus_ns.surface.grid import require_resolution

if TYPE_CHECKING:
    from neus_ns.evaluation.geometry import Score
    from neus_ns.training.trainer import SurfaceTrainer


@dataclass
class Demo:
    """Photographs to mesh on an embedded capture: no download, no GPU needed, a few minutes."""

    output_dir: Path = Path("neus_demo")
    """Folder for the capture, the run, the mesh and the picture."""
    minutes: float = 2.0
    """Minutes of training."""
    gloss: float = 0.0
    """How glossy the object is, from 0 to 1."""
    resolution: int = 320
    """Cells along the longest side of the mesh's lattice."""

    def main(self) -> None:
        """Run every stage; input that the user can mend ends in one sentence and exit code 1."""
        try:
            run(self)
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(1)


def run(demo: Demo) -> "Score":
    """Make, train, export, score and draw; returns the score of the mesh."""
    if not demo.minutes > 0:
        raise InputError(f"--minutes is {demo.minutes}: give a number above zero.")
    require_resolution(demo.resolution)
    require_folder_can_be_written(demo.output_dir)
    console = Console()
    started = time.perf_counter()
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        capture = make_capture(demo, bars)
        trainer = train(demo, capture, bars)
        mesh_path = export(demo, trainer, bars)
        task = bars.add_task("Scoring and drawing", total=None)
        from neus_ns.cli.demo_picture import draw, hull_of, scored
        from neus_ns.models.pipeline import surface_pipeline

        pipeline = surface_pipeline(trainer.pipeline)
        scores = {"neus-hash": scored(mesh_path, capture), "visual hull": scored(hull_of(pipeline), capture)}
        seconds = time.perf_counter() - started
        picture = demo.output_dir / "comparison.png"
        draw(picture, capture, mesh_path, pipeline, scores["neus-hash"], seconds)
        bars.update(task, total=1, completed=1)
    console.print(table_of(scores))
    console.print(f"mesh     {mesh_path}\npicture  {picture}\n{seconds:.0f} s in all", highlight=False)
    return scores["neus-hash"]


def make_capture(demo: Demo, bars: Progress) -> Path:
    """The embedded capture, in the demo's folder."""
    from neus_ns.data.synthetic.capture import CaptureOptions, write_capture

    folder = demo.output_dir / "capture"
    tasks: dict[str, TaskID] = {}

    def show(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(f"Photographing: {stage}", total=total)
        bars.update(tasks[stage], completed=done, total=total)

    write_capture(folder, CaptureOptions(gloss=demo.gloss), show)
    return folder


def train(demo: Demo, capture: Path, bars: Progress) -> "SurfaceTrainer":
    """Train neus-hash by the clock, with nerfstudio's own trainer."""
    task = bars.add_task("Loading nerfstudio", total=None)
    from nerfstudio.scripts.train import _set_random_seed

    from neus_ns.methods import neus_hash_config

    config = neus_hash_config()
    config.pipeline.datamanager.data = capture
    config.output_dir, config.experiment_name, config.timestamp = demo.output_dir / "outputs", "demo", "latest"
    config.max_minutes, config.vis, config.steps_per_eval_image = demo.minutes, "tensorboard", 0
    config.logging.local_writer.enable = False
    # The demo's own folder, in which it always starts anew.
    shutil.rmtree(config.get_base_dir(), ignore_errors=True)
    _set_random_seed(config.machine.seed)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    bars.update(task, total=1, completed=1)
    task = bars.add_task("Training neus-hash", total=1.0)
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.5):
            bars.update(task, completed=trainer.clock.progress(0))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        trainer.train()
    finally:
        finished.set()
        watcher.join()
    bars.update(task, completed=1.0)
    return trainer


def export(demo: Demo, trainer: "SurfaceTrainer", bars: Progress) -> Path:
    """The trained surface as a mesh in the capture's own units."""
    from neus_ns.models.pipeline import surface_pipeline
    from neus_ns.surface.export import MeshOptions, export_surface

    path = demo.output_dir / "mesh.ply"
    tasks: dict[str, TaskID] = {}

    def show(stage: str, share: float) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=1.0)
        bars.update(tasks[stage], completed=share)

    source = surface_pipeline(trainer.pipeline).surface_source()
    export_surface(source, MeshOptions(resolution=demo.resolution), path, show)
    return path


def table_of(scores: "dict[str, Score]") -> Table:
    """Distances to the exact surface, in percent of its box's diagonal."""
    table = Table(title="Distance to the exact surface, percent of its box's diagonal")
    for heading in ("", "Chamfer", "accuracy", "completeness", "F at 0.5 %"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, score in scores.items():
        figures = (score.chamfer_percent, score.accuracy_percent, score.completeness_percent, score.f_05)
        table.add_row(name, *(f"{figure:.3f}" for figure in figures))
    return table


def entrypoint() -> None:
    """The command `neus-demo`."""
    stay_awake_briefly()
    tyro.cli(Demo).main()


if __name__ == "__main__":
    entrypoint()
