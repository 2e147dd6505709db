"""How long work tells what it is doing: a plain callable, and one that draws bars in the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

# A stage's name and the share of it that is done, in [0, 1].
ProgressFn = Callable[[str, float], None]


def silent(stage: str, share: float) -> None:
    """The progress of a caller who does not look."""
    del stage, share


@contextmanager
def progress_bars() -> Iterator[ProgressFn]:
    """One bar a stage, made when the stage is first heard of."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, share: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=share)

        yield show
