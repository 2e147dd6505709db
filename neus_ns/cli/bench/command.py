"""`neus-bench`: compare choices by training with each of them: strategies that pick pixels, and parts of a method."""

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from neus_ns.errors import InputError
from neus_ns.kernels.waiting import stay_awake_briefly
from neus_ns.models.preset_names import Preset
from neus_ns.places import require_folder_can_be_written

if TYPE_CHECKING:
    from neus_ns.cli.bench.record import Measurement, Record
    from neus_ns.models.pipeline import SurfacePipelineConfig


@dataclass
class Comparison(ABC):
    """What all comparisons have in common."""

    scenes: tyro.conf.Positional[tuple[Path, ...]]
    """Captures, of any format that ns-train reads; Chamfer distances need gt_points.npz and gt_mesh.ply in them."""
    only: tuple[str, ...] = ()
    """What to compare, apart by commas or blanks; everything if nothing is given."""
    minutes: float | None = None
    """Minutes of every run, 2 if --steps is not given either."""
    steps: int | None = None
    """Steps of every run instead of minutes: for machines that are busy with something else."""
    seeds: int = 1
    """So many runs of each, with seeds counted from 0."""
    moments: tuple[float, ...] = (0.25, 0.5, 0.7, 0.85, 1.0)
    """Shares of training at which a run is measured."""
    resolution: int = 256
    """Cells along the longest side of the lattice of meshes that are scored."""
    on_table: bool = False
    """Leave the foot of an object that stands on a table out of accuracy."""
    preset: Preset = "cpu"
    """Sizes of all runs, whatever their method and whatever memory is free: 24gb, say, on a graphics card."""
    clock: Literal["wall", "cpu"] = "wall"
    """Seconds of the plots: by the clock, or of the processor, for machines that are busy with something else."""
    output_dir: Path = Path("neus_bench")
    """Folder for the table and the plots; a run of the same command there continues it."""

    title: ClassVar[str]
    """Name of the table's file."""
    baseline: ClassVar[str]
    """What all others are compared with."""
    usual_minutes: ClassVar[float] = 2.0

    def main(self) -> None:
        """Compare; input that the user can mend ends in one sentence and exit code 1."""
        try:
            self.check()
            compare(self)
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("Stopped. The same command continues: finished runs are kept.", file=sys.stderr)
            sys.exit(130)

    def check(self) -> None:
        """Raise InputError for what no comparison can do."""
        if not self.scenes:
            raise InputError("Give at least one capture to train on.")
        missing = [str(scene) for scene in self.scenes if not scene.exists()]
        if missing:
            raise InputError(f"{missing[0]}: no such file or folder; give a capture.")
        if len({scene_name(scene) for scene in self.scenes}) < len(self.scenes):
            raise InputError("Two of the captures have the same name, by which they are told apart; rename one.")
        if self.minutes is not None and self.steps is not None:
            raise InputError("Give --minutes or --steps, not both.")
        for name in ("minutes", "steps", "seeds", "resolution"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name} is {value}: give a number above zero.")
        ascending = all(a < b for a, b in zip((0.0, *self.moments), self.moments, strict=False))
        if not ascending or not self.moments or self.moments[-1] != 1.0:
            raise InputError("--moments have to be ascending shares of training, above 0, the last of them 1.")
        require_folder_can_be_written(self.output_dir)

    @property
    def minutes_of_a_run(self) -> float | None:
        """None if steps are what counts."""
        return self.usual_minutes if self.minutes is None and self.steps is None else self.minutes

    @abstractmethod
    def strategies(self) -> list[str]:
        """The words of what is to be compared, each once; raises InputError for a word that is none."""

    @abstractmethod
    def method_of(self, strategy: str) -> str:
        """The method that is trained with it."""

    def settings(self) -> dict[str, object]:
        """What results depend on, besides what is compared."""
        return {
            "minutes": self.minutes_of_a_run,
            "steps": self.steps,
            "moments": self.moments,
            "resolution": self.resolution,
            "on_table": self.on_table,
            "preset": self.preset,
        }

    def apply(self, pipeline: "SurfacePipelineConfig", strategy: str) -> None:
        """Bring it into the options of its method; all are of one size."""
        pipeline.preset = self.preset

    @abstractmethod
    def show(self, rows: "list[Measurement]", scene: str, console: Console) -> Path:
        """Print the table of a scene; returns where its plot belongs."""


@dataclass
class Samplers(Comparison):
    """Train with every strategy that picks pixels, and say what each buys. Finished runs are never made again."""

    only: tuple[str, ...] = ()
    """Strategies to compare, apart by commas or blanks; one with options (quadtree:threshold=0.02) is a word of its
    own. All, with their defaults, if none is given."""
    method: Literal["neus-hash", "neuralangelo-mask-sfm"] = "neus-hash"
    """Method to train."""

    title: ClassVar[str] = "samplers"
    baseline: ClassVar[str] = "uniform"

    def strategies(self) -> list[str]:
        """The words of the strategies to compare, each once."""
        from neus_ns.pixels.choice import SAMPLERS, sampler_config, sampler_text

        words = [part for word in self.only for part in ([word] if ":" in word else word.split(","))]
        chosen = [sampler_text(sampler_config(word.strip())) for word in words if word.strip()]
        return list(dict.fromkeys(chosen)) or list(SAMPLERS)

    def method_of(self, strategy: str) -> str:
        """The same for all."""
        return self.method

    def settings(self) -> dict[str, object]:
        """What results depend on, besides the strategy."""
        return {"method": self.method} | super().settings()

    def apply(self, pipeline: "SurfacePipelineConfig", strategy: str) -> None:
        """Let the strategy pick the pixels."""
        from neus_ns.cli.bench.run import with_sampler

        super().apply(pipeline, strategy)
        with_sampler(pipeline, strategy)

    def show(self, rows: "list[Measurement]", scene: str, console: Console) -> Path:
        """Print how far each strategy got, and what it needed for that."""
        from neus_ns.cli.bench.compare import table_of

        console.print(table_of(rows, scene))
        return self.output_dir / f"{scene}.png"


@dataclass
class Ablation(Comparison):
    """Train neuralangelo-mask-sfm whole and without each of its parts, and say what each part buys. Finished runs are
    never made again."""

    only: tuple[str, ...] = ()
    """Variants to compare, apart by commas or blanks; all if none is given (a wrong name lists them)."""
    minutes: float | None = None
    """Minutes of every run, 5 if --steps is not given either."""

    title: ClassVar[str] = "ablation"
    baseline: ClassVar[str] = "full"
    usual_minutes: ClassVar[float] = 5.0

    def strategies(self) -> list[str]:
        """The names of the variants to compare, each once."""
        from neus_ns.cli.bench.ablation import VARIANTS, variant_named

        names = [part.strip() for word in self.only for part in word.split(",") if part.strip()]
        for name in names:
            variant_named(name)
        return list(dict.fromkeys(names)) or list(VARIANTS)

    def method_of(self, strategy: str) -> str:
        """The variant's own."""
        from neus_ns.cli.bench.ablation import variant_named

        return variant_named(strategy).method

    def apply(self, pipeline: "SurfacePipelineConfig", strategy: str) -> None:
        """Set the options in which the variant differs."""
        from neus_ns.cli.bench.ablation import set_options, variant_named

        super().apply(pipeline, strategy)
        set_options(pipeline, variant_named(strategy).options)

    def show(self, rows: "list[Measurement]", scene: str, console: Console) -> Path:
        """Print how each variant ended."""
        from neus_ns.cli.bench.ablation import ablation_table

        console.print(ablation_table(rows, scene))
        return self.output_dir / f"{scene}_ablation.png"


def scene_name(scene: Path) -> str:
    """What a capture is called in tables."""
    path = scene.resolve()
    return path.parent.name if path.is_file() else path.name


def compare(options: Comparison) -> None:
    """Make the runs that are missing, then print the tables and draw the plots."""
    # Imported here because it loads all of nerfstudio, which `--help` should not wait for.
    strategies = options.strategies()
    from neus_ns.cli.bench.plot import plot
    from neus_ns.cli.bench.record import Record

    captures = {scene_name(scene): str(scene.resolve()) for scene in options.scenes}
    record = Record(options.output_dir / f"{options.title}.csv", options.settings(), captures)
    console = Console()
    try:
        make_runs(options, strategies, record, console)
    finally:
        for name in (scene_name(scene) for scene in options.scenes):
            rows = [row for row in record.rows if row.scene == name]
            if not rows:
                continue
            picture = options.show(rows, name, console)
            if all(row.strategy != options.baseline for row in rows):
                console.print(f"Without a run of {options.baseline} there is nothing to compare with.")
            plot(rows, name, picture, options.baseline, "cpu_seconds" if options.clock == "cpu" else "seconds")
            console.print(f"plot  {picture}", highlight=False, soft_wrap=True)
        if record.rows:
            console.print(f"rows  {record.path}", highlight=False, soft_wrap=True)


def make_runs(options: Comparison, strategies: list[str], record: "Record", console: Console) -> None:
    """Train whatever the record does not hold yet, and keep it there."""
    from nerfstudio.utils.rich_utils import CONSOLE

    from neus_ns.cli.bench.record import Run
    from neus_ns.cli.bench.run import Length, Measuring, train_measured
    from neus_ns.training.guard import DivergedError

    data = {scene_name(scene): scene for scene in options.scenes}
    # Seeds last: with one seed of everything there is a first answer.
    wanted = [Run(scene, name, seed) for scene in data for seed in range(options.seeds) for name in strategies]
    missing = [run for run in wanted if run not in record.finished]
    if len(missing) < len(wanted):
        console.print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are finished already.")
    measuring = Measuring(
        moments=options.moments,
        resolution=options.resolution,
        samples=60_000,
        held_out_pixels=10_000,
        on_table=options.on_table,
    )
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        everything = bars.add_task("All runs", total=float(len(missing)))
        reported: set[str] = set()
        for number, run in enumerate(missing):
            task = bars.add_task(f"{run.strategy} on {run.scene}, seed {run.seed}", total=1.0)

            def show(progress: float, number: int = number, task: TaskID = task) -> None:
                bars.update(task, completed=progress)
                bars.update(everything, completed=number + progress)

            # What nerfstudio says of a capture is worth reading once.
            CONSOLE.quiet = run.scene in reported
            reported.add(run.scene)
            try:
                length, method = Length(options.minutes_of_a_run, options.steps), options.method_of(run.strategy)
                record.add(train_measured(run, data[run.scene], method, length, measuring, show, options.apply))
            except InputError as error:
                # Only a strategy that was not asked for by name is left out, and only if another works.
                if options.only or not record.rows:
                    raise
                console.print(f"{run.strategy} is left out: {error}", highlight=False)
            except DivergedError as error:
                console.print(f"{run.strategy}, seed {run.seed}, is left out: {error}", highlight=False)
            finally:
                CONSOLE.quiet = False
            bars.remove_task(task)
            bars.update(everything, completed=number + 1)


def entrypoint() -> None:
    """The command `neus-bench`."""
    stay_awake_briefly()
    tyro.extras.subcommand_cli_from_dict({"samplers": Samplers, "ablation": Ablation}, description=__doc__).main()


if __name__ == "__main__":
    entrypoint()
