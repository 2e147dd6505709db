"""The variants of neuralangelo-mask-sfm, each without one of its parts, and the table that says what each part buys."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.table import Table

from neus_ns.cli.bench.compare import Spread, runs_of
from neus_ns.cli.bench.record import Measurement
from neus_ns.errors import InputError
from neus_ns.models.scene_type import CARVE_WEIGHT, POINTS_WEIGHT

FULL = "full"


@dataclass(frozen=True)
class Variant:
    """A method, and the options of its pipeline that are changed, by their dotted names."""

    words: str
    options: Mapping[str, object] = field(default_factory=dict)
    method: str = "neuralangelo-mask-sfm"


_NO_MASKS = {"datamanager.masks": False}
# Their sightlines go with the points' own schedule, and the weight is for the log to tell the truth.
_NO_SFM = {"model.weights.points": 0.0, "model.schedule.points_until": 0.0}
_PULL = {"model.weights.points": POINTS_WEIGHT}
_NO_PATCHES = {"model.weights.patches": 0.0}
# It is found by SfM points.
_NO_GROUND = {"ground": False}
_TAPS = {"model.schedule.analytic_from": None}
VARIANTS: dict[str, Variant] = {
    FULL: Variant("the method as it is"),
    "no-masks": Variant("as if there were no masks: no silhouette, no visual hull", _NO_MASKS),
    "no-masks-pull": Variant("no masks, and SfM points pull all the same", _NO_MASKS | _PULL),
    "no-masks-no-ground": Variant(
        "no masks, and what the object stands on part of the surface", _NO_MASKS | _NO_GROUND
    ),
    "no-witnesses": Variant(
        "no masks or ground, and no SfM points, sightlines or patches in the losses",
        _NO_MASKS | _NO_GROUND | _NO_SFM | _NO_PATCHES,
    ),
    "no-mask-loss": Variant(
        "masks as hull and cut-out only", {"model.weights.mask": 0.0, "model.weights.mask_mse": 0.0}
    ),
    "no-sfm": Variant("no SfM points or sightlines in the losses", _NO_SFM),
    "no-points": Variant("lines of sight to SfM points, not the points", {"model.weights.points": 0.0}),
    "no-patches": Variant("photographs not compared by patches", _NO_PATCHES),
    "no-masks-no-carving": Variant("no masks, and nothing carved", _NO_MASKS | {"model.weights.carve": 0.0}),
    "no-masks-no-flat": Variant(
        "no masks, and what is plain far and wide as free as the rest", _NO_MASKS | {"model.weights.smooth_plain": 0.0}
    ),
    "carving": Variant("what patches refute carved, masks or not", {"model.weights.carve": CARVE_WEIGHT}),
    "no-inward": Variant("no push inwards", {"model.weights.inward": 0.0}),
    "absolute-colours": Variant("errors of colour count alike, dark or bright", {"model.weights.black": 1e6}),
    "taps-first": Variant("numerical gradients and curvature at first", {"model.schedule.analytic_from": 0.25}),
    "taps": Variant("numerical gradients and curvature to the end", _TAPS),
    "no-curvature": Variant("the same without curvature loss", _TAPS | {"model.weights.curvature": 0.0}),
    "no-coarse-to-fine": Variant("all levels from the start", {"model.schedule.levels_until": 0.0}),
    "slow-levels": Variant("the last level opened at half of a training", {"model.schedule.levels_until": 0.5}),
    "whole-batches": Variant("as many samples at first as later", {"model.schedule.batch_first": 1.0}),
    "no-smooth": Variant("normals of neighbours free", {"model.weights.smooth": 0.0}),
    "no-flat": Variant("what is plain far and wide as free as the rest", {"model.weights.smooth_plain": 0.0}),
    "plain-colours": Variant("colours count in full where it is plain", {"model.weights.colour_plain": 1.0}),
    "views-later": Variant("colours may depend on the view later", {"model.schedule.view_later": 0.2}),
    "neus-hash": Variant("the fast method, as a yardstick", method="neus-hash"),
}


def variant_named(name: str) -> Variant:
    """A variant by its name; raises InputError for a name that is none."""
    if name not in VARIANTS:
        raise InputError(f"'{name}' is no variant; choose among {', '.join(VARIANTS)}.")
    return VARIANTS[name]


def set_options(config: object, options: Mapping[str, object]) -> None:
    """Change options of a configuration by their dotted names."""
    for name, value in options.items():
        *parts, last = name.split(".")
        owner = config
        for part in parts:
            owner = getattr(owner, part)
        # Setting an option that does not exist would change nothing, in silence.
        getattr(owner, last)
        setattr(owner, last, value)


def ablation_table(rows: Sequence[Measurement], scene: str) -> Table:
    """One line a variant: how it ended, next to the whole method, and what a step of it cost; means over seeds."""
    runs = runs_of(rows, scene)
    whole = _ends(runs.get(FULL, []), "chamfer").values
    several = any(len(_ends(of_variant, "chamfer").values) > 1 for of_variant in runs.values())
    # Narrow enough for a terminal of 80 columns, where a table that is too wide would lose digits.
    table = Table(title=f"{scene}: what each part of neuralangelo-mask-sfm buys", box=SIMPLE_HEAD, padding=0)
    table.add_column("variant", no_wrap=True)
    seeds = ["seeds"] if several else []
    for heading in ("Chamfer %", *seeds, f"x {FULL}", "acc.", "compl.", "PSNR", "steps", "ms", "CPU ms"):
        table.add_column(heading, justify="right")
    shapes: dict[str, Callable[[float], str]] = {"accuracy": "{:.3f}".format, "completeness": "{:.3f}".format}
    shapes |= {"psnr": "{:.2f}".format, "step": "{:.0f}".format}
    for name, of_variant in runs.items():
        chamfer = _ends(of_variant, "chamfer")
        ratio = tuple(value * len(whole) / sum(whole) for value in chamfer.values) if whole else ()
        cells = [chamfer.mean_text("{:.3f}".format)]
        if several:
            cells.append(_least_and_most(chamfer.values))
        cells.append(Spread(ratio, len(ratio)).mean_text("{:.2f}".format))
        cells += [_ends(of_variant, column).mean_text(shape) for column, shape in shapes.items()]
        for clock in ("seconds", "cpu_seconds"):
            pace = tuple(1e3 * getattr(run[-1], clock) / run[-1].step for run in of_variant)
            cells.append(Spread(pace, len(pace)).mean_text("{:.0f}".format))
        table.add_row(name, *cells)
    # Beside the figures there is no room for words on an ordinary terminal.
    table.caption = "\n".join(f"{name}: {VARIANTS[name].words}" for name in runs if name in VARIANTS)
    table.caption_justify = "left"
    return table


def _least_and_most(values: Sequence[float]) -> str:
    """The range of several figures; nothing for one alone."""
    return f"{min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""


def _ends(runs: Sequence[Sequence[Measurement]], column: str) -> Spread:
    """A column at the end of each run that has it."""
    values = [getattr(run[-1], column) for run in runs]
    known = tuple(float(value) for value in values if value is not None)
    return Spread(known, len(known))
