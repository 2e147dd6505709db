"""What a comparison says: how many rays and seconds each strategy needs to get as far as uniform gets in the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

from neus_ns.cli.bench.record import Measurement

Quality = Literal["psnr", "chamfer"]
Effort = Literal["rays", "seconds", "cpu_seconds"]
BASELINE = "uniform"
_LARGER_IS_BETTER = {"psnr": True, "chamfer": False}
_EFFORTS: tuple[tuple[Effort, str], ...] = (("rays", "rays"), ("seconds", "seconds"), ("cpu_seconds", "CPU"))


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds; `found` of `runs` have it at all."""

    values: tuple[float, ...]
    runs: int

    def text(self, shape: Callable[[float], str]) -> str:
        """Mean, and in brackets the least and the largest of several."""
        if not self.values:
            return "never" if self.runs else ""
        text = self.mean_text(shape)
        if len(self.values) > 1:
            text += f" ({shape(min(self.values))} to {shape(max(self.values))})"
        return text if len(self.values) == self.runs else f"{text}, {len(self.values)} of {self.runs}"

    def mean_text(self, shape: Callable[[float], str]) -> str:
        """The mean alone; nothing if there is none."""
        return shape(sum(self.values) / len(self.values)) if self.values else ""


def runs_of(rows: Sequence[Measurement], scene: str) -> dict[str, list[list[Measurement]]]:
    """Rows of a scene by strategy and then by seed, in the order in which they were measured."""
    runs: dict[str, dict[int, list[Measurement]]] = {}
    for row in rows:
        if row.scene == scene:
            runs.setdefault(row.strategy, {}).setdefault(row.seed, []).append(row)
    return {strategy: list(by_seed.values()) for strategy, by_seed in runs.items()}


def reached(run: Sequence[Measurement], quality: Quality, target: float, effort: Effort) -> float | None:
    """The effort at which a run first is as good as the target, on straight lines between moments; None if never.

    A run that is so good at its first moment counts as having got there at that moment.
    """
    before: tuple[float, float] | None = None
    for row in run:
        value, spent = getattr(row, quality), float(getattr(row, effort))
        if value is None:
            before = None
            continue
        if value >= target if _LARGER_IS_BETTER[quality] else value <= target:
            if before is None:
                return spent
            return before[1] + (spent - before[1]) * (target - before[0]) / (value - before[0])
        before = (value, spent)
    return None


def at_end(runs: Sequence[Sequence[Measurement]], name: Quality | Effort) -> Spread:
    """A figure at the end of each of a strategy's runs."""
    values = [getattr(run[-1], name) for run in runs]
    known = tuple(float(value) for value in values if value is not None)
    return Spread(known, len(known))


def ratios(
    runs: Sequence[Sequence[Measurement]],
    baseline: Sequence[Sequence[Measurement]],
    quality: Quality,
    effort: Effort,
) -> Spread:
    """Effort to get to the baseline's mean end, as a share of the baseline's mean effort."""
    ends, efforts = at_end(baseline, quality).values, at_end(baseline, effort).values
    if not ends or not at_end(runs, quality).values:
        return Spread((), 0)
    target, whole = sum(ends) / len(ends), sum(efforts) / len(efforts)
    found = [reached(run, quality, target, effort) for run in runs]
    return Spread(tuple(value / whole for value in found if value is not None), len(runs))


def table_of(rows: Sequence[Measurement], scene: str) -> Table:
    """One line a strategy."""
    runs = runs_of(rows, scene)
    table = Table(title=f"{scene}: ends, and effort to get where {BASELINE} gets in the end, as a share of its effort")
    table.add_column("strategy")
    qualities: list[tuple[Quality, str]] = [("psnr", "PSNR"), ("chamfer", "Chamfer %")]
    shown = [each for each in qualities if any(getattr(row, each[0]) is not None for row in rows if row.scene == scene)]
    for _, heading in shown:
        table.add_column(heading, justify="right")
    for heading in ("Mrays", "seconds", "CPU"):
        table.add_column(heading, justify="right")
    baseline = runs.get(BASELINE)
    for _, heading in shown if baseline else []:
        for _, effort in _EFFORTS:
            table.add_column(f"{effort} to {heading.split()[0]}", justify="right")
    for strategy, of_strategy in runs.items():
        table.add_row(strategy, *_figures(of_strategy, baseline, [quality for quality, _ in shown]))
    return table


def _figures(
    runs: Sequence[Sequence[Measurement]], baseline: Sequence[Sequence[Measurement]] | None, shown: Sequence[Quality]
) -> list[str]:
    shapes: dict[str, Callable[[float], str]] = {"psnr": "{:.2f}".format, "chamfer": "{:.3f}".format}
    cells = [at_end(runs, quality).text(shapes[quality]) for quality in shown]
    cells.append(at_end(runs, "rays").text(lambda rays: f"{rays / 1e6:.2f}"))
    cells += [at_end(runs, effort).text("{:.0f}".format) for effort in ("seconds", "cpu_seconds")]
    for quality in shown if baseline else []:
        cells += [ratios(runs, baseline or [], quality, effort).text("{:.2f}".format) for effort, _ in _EFFORTS]
    return cells
