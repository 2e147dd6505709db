"""What a comparison of training runs has measured so far: rows in a CSV file, and what they were measured with."""

import csv
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from neus_ns.errors import InputError


@dataclass(frozen=True)
class Measurement:
    """One moment of one run. Seconds leave measuring itself out; distances are percent of the truth's diagonal."""

    scene: str
    strategy: str
    seed: int
    share: float
    """Share of training that was done."""
    step: int
    rays: int
    seconds: float
    cpu_seconds: float
    psnr: float | None
    chamfer: float | None
    accuracy: float | None
    completeness: float | None


@dataclass(frozen=True)
class Run:
    """Which training a measurement is of."""

    scene: str
    strategy: str
    seed: int


_COLUMNS = [column.name for column in fields(Measurement)]
_TEXT, _WHOLE = {"scene", "strategy"}, {"seed", "step", "rays"}


class Record:
    """Rows of finished runs only: a run that was stopped in the middle leaves none, and starts again."""

    def __init__(self, path: Path, settings: dict[str, object], captures: dict[str, str]) -> None:
        """Take up what the file holds; raises InputError if it was measured with other settings, or if one of these
        captures, by their names and where they lie, is another than that of the same name in the file."""
        self.path, self._settings_path = path, path.with_suffix(".json")
        if path.is_file():
            before = self._measured_with()
            self._require_same(settings, before)
            captures = self._all_captures(captures, before.get("captures", {}))
        self.rows = _read(path) if path.is_file() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(self._settings_path, json.dumps(settings | {"captures": captures}, indent=2, ensure_ascii=False))

    def _measured_with(self) -> dict:
        if not self._settings_path.is_file():
            raise InputError(
                f"{self.path} has no {self._settings_path.name} beside it, which says what it was measured with; "
                "give another --output-dir."
            )
        return json.loads(self._settings_path.read_text(encoding="utf-8"))

    def _require_same(self, settings: dict[str, object], before: dict) -> None:
        differing = [name for name in settings if before.get(name) != json.loads(json.dumps(settings[name]))]
        if differing:
            was = ", ".join(f"{name} = {before.get(name)}" for name in differing)
            raise InputError(
                f"{self.path} was measured with {was}; give the same again to continue it, or another --output-dir."
            )

    def _all_captures(self, captures: dict[str, str], before: dict[str, str]) -> dict[str, str]:
        """Those of the file too; one that lies elsewhere now is another, unless it lies no more where it lay."""
        for name, place in captures.items():
            if before.get(name, place) != place and Path(before[name]).exists():
                raise InputError(
                    f"{self.path} holds runs on {before[name]}, and {place} has the same name, by which captures are "
                    "told apart; rename one, or give another --output-dir."
                )
        return before | captures

    @property
    def finished(self) -> set[Run]:
        """The runs that need not be made again."""
        return {Run(row.scene, row.strategy, row.seed) for row in self.rows}

    def add(self, rows: list[Measurement]) -> None:
        """Keep the rows of a finished run; the file is whole at any time."""
        self.rows += rows
        lines = [",".join(_COLUMNS)]
        for row in self.rows:
            lines.append(",".join(_text(value) for value in asdict(row).values()))
        _replace(self.path, "\n".join(lines) + "\n")


def _text(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f'"{text}"' if "," in text else text


def _read(path: Path) -> list[Measurement]:
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return [_row(row) for row in csv.DictReader(lines)]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is no table of this command ({error}); give another --output-dir.") from error


def _row(row: dict[str, str]) -> Measurement:
    values: dict[str, object] = {}
    for name in _COLUMNS:
        text = row[name]
        if name in _TEXT:
            values[name] = text
        elif name in _WHOLE:
            values[name] = int(text)
        else:
            values[name] = float(text) if text else None
    return Measurement(**values)  # type: ignore[arg-type]


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
