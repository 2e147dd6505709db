"""The picture of a comparison: PSNR and Chamfer distance against rays and against seconds, a line a run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neus_ns.cli.bench.compare import BASELINE, Effort, Quality, runs_of
from neus_ns.cli.bench.record import Measurement

_QUALITIES: tuple[tuple[Quality, str], ...] = (
    ("chamfer", "Chamfer, percent of the diagonal"),
    ("psnr", "PSNR of held-out pixels, dB"),
)
_CLOCKS: dict[Effort, str] = {"seconds": "seconds of training", "cpu_seconds": "CPU seconds of training"}
_SCALE = {"rays": 1e-6, "seconds": 1.0, "cpu_seconds": 1.0}


def plot(
    rows: Sequence[Measurement], scene: str, path: Path, baseline: str = BASELINE, clock: Effort = "seconds"
) -> None:
    """Write the PNG of one scene; qualities that were not measured are left out."""
    efforts: tuple[tuple[Effort, str], ...] = (("rays", "million rays"), (clock, _CLOCKS[clock]))
    runs = runs_of(rows, scene)
    measured = [each for each in _QUALITIES if any(getattr(row, each[0]) is not None for row in rows)]
    figure = Figure(figsize=(12, 4.2 * max(len(measured), 1)), layout="constrained")
    grid = figure.subplots(max(len(measured), 1), len(efforts), squeeze=False)
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for (quality, quality_title), line in zip(measured, grid, strict=False):
        for (effort, effort_title), axes in zip(efforts, line, strict=True):
            for number, (strategy, of_strategy) in enumerate(runs.items()):
                # The baseline stands out, since everything is compared with it.
                first = strategy == baseline
                style = {
                    "color": "black" if first else colours[number % 20],
                    "linewidth": 2.4 if first else 1.3,
                    "zorder": 3 if first else 2,
                }
                _draw(axes, of_strategy, quality, effort, strategy, style)
            axes.set_xlabel(effort_title)
            axes.set_ylabel(quality_title)
            axes.grid(alpha=0.3)
            if quality == "chamfer":
                axes.set_yscale("log")
                # Plain numbers: these distances span less than a power of ten.
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("{x:g}")
    if measured:
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
    figure.suptitle(scene)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw(
    axes: Axes,
    runs: Sequence[Sequence[Measurement]],
    quality: Quality,
    effort: Effort,
    name: str,
    style: dict,
) -> None:
    """A line for every seed, named once."""
    for number, run in enumerate(runs):
        points = [(getattr(row, effort) * _SCALE[effort], getattr(row, quality)) for row in run]
        known = [(x, y) for x, y in points if y is not None]
        if known:
            axes.plot(*zip(*known, strict=True), marker=".", label=name if number == 0 else None, **style)
