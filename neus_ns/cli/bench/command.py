"""`neus-bench`: compare choices by training with each of them; so far the strategies that pick pixels."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from neus_ns.errors import InputError

if TYPE_CHECKING:
    from neus_ns.cli.bench.record import Record

_MINUTES = 2.0


@dataclass
class Samplers:
    """Train with every strategy that picks pixels, and say what each buys. Finished runs are never made again."""

    scenes: tyro.conf.Positional[tuple[Path, ...]]
    """Captures, of any format that ns-train reads; Chamfer distances need gt_points.npz and gt_mesh.ply in them."""
    only: tuple[str, ...] = ()
    """Strategies to compare, apart by commas or blanks; one with options (quadtree:threshold=0.02) is a word of its
    own. All, with their defaults, if none is given."""
    minutes: float | None = None
    """Minutes of every run, 2 if --steps is not given either."""
    steps: int | None = None
    """Steps of every run instead of minutes: for machines that are busy with something else."""
    seeds: int = 1
    """So many runs of each strategy, with seeds counted from 0."""
    method: Literal["neus-hash", "neuralangelo-mask-sfm"] = "neus-hash"
    """Method to train."""
    moments: tuple[float, ...] = (0.25, 0.5, 0.7, 0.85, 1.0)
    """Shares of training at which a run is measured."""
    resolution: int = 256
    """Cells along the longest side of the lattice of meshes that are scored."""
    on_table: bool = False
    """Leave the foot of an object that stands on a table out of accuracy."""
    output_dir: Path = Path("neus_bench")
    """Folder for samplers.csv and the plots; a run of the same command there continues it."""

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
            if value is not None and value <= 0:
                raise InputError(f"--{name} is {value}: give a number above zero.")
        ascending = all(a < b for a, b in zip((0.0, *self.moments), self.moments, strict=False))
        if not ascending or not self.moments or self.moments[-1] != 1.0:
            raise InputError("--moments have to be ascending shares of training, above 0, the last of them 1.")

    def strategies(self) -> list[str]:
        """The words of the strategies to compare, each once."""
        from neus_ns.pixels.choice import SAMPLERS, sampler_config, sampler_text

        words = [part for word in self.only for part in ([word] if ":" in word else word.split(","))]
        chosen = [sampler_text(sampler_config(word.strip())) for word in words if word.strip()]
        return list(dict.fromkeys(chosen)) or list(SAMPLERS)


def scene_name(scene: Path) -> str:
    """What a capture is called in tables."""
    path = scene.resolve()
    return path.parent.name if path.is_file() else path.name


def compare(options: Samplers) -> None:
    """Make the runs that are missing, then print the tables and draw the plots."""
    # Imported here because it loads all of nerfstudio, which `--help` should not wait for.
    strategies = options.strategies()
    from neus_ns.cli.bench.compare import BASELINE, table_of
    from neus_ns.cli.bench.plot import plot
    from neus_ns.cli.bench.record import Record

    minutes = _MINUTES if options.minutes is None and options.steps is None else options.minutes
    settings = {"method": options.method, "minutes": minutes, "steps": options.steps, "moments": options.moments}
    settings |= {"resolution": options.resolution, "on_table": options.on_table}
    record = Record(options.output_dir / "samplers.csv", settings)
    console = Console()
    try:
        make_runs(options, strategies, minutes, record, console)
    finally:
        for name in (scene_name(scene) for scene in options.scenes):
            rows = [row for row in record.rows if row.scene == name]
            if not rows:
                continue
            console.print(table_of(rows, name))
            if all(row.strategy != BASELINE for row in rows):
                console.print(f"Without a run of {BASELINE} there is nothing to compare the effort with.")
            picture = options.output_dir / f"{name}.png"
            plot(rows, name, picture)
            console.print(f"plot  {picture}", highlight=False)
        if record.rows:
            console.print(f"rows  {record.path}", highlight=False)


def make_runs(
    options: Samplers, strategies: list[str], minutes: float | None, record: "Record", console: Console
) -> None:
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
                length = Length(minutes, options.steps)
                record.add(train_measured(run, data[run.scene], options.method, length, measuring, show))
            except InputError as error:
                # Only a strategy that was not asked for by name, and that cannot work on this capture, is left out.
                if options.only or number == 0:
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
    tyro.extras.subcommand_cli_from_dict({"samplers": Samplers}, description=__doc__).main()


if __name__ == "__main__":
    entrypoint()
