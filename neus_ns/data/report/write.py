"""A finished report: its JSON, its table on the terminal, and the files in a folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neus_ns.data.datamanager import SurfaceDataManager
from neus_ns.data.report.advice import Assumption, assumptions, warnings
from neus_ns.data.report.facts import SceneFacts, Spread, scene_facts
from neus_ns.data.report.picture import draw_scene
from neus_ns.data.survey import Survey

JSON_NAME, PICTURE_NAME = "scene_report.json", "scene_report.png"


@dataclass(frozen=True)
class SceneReport:
    """Facts, what was assumed, what will go badly, and a picture."""

    facts: SceneFacts
    assumptions: list[Assumption]
    warnings: list[str]
    picture: Image

    def as_json(self) -> dict[str, Any]:
        """Everything but the picture."""
        lists = {"assumed": [asdict(each) for each in self.assumptions], "warnings": self.warnings}
        return {**asdict(self.facts), **lists}

    def write(self, folder: Path) -> None:
        """scene_report.json and scene_report.png in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON_NAME).write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False), encoding="utf-8")
        self.picture.save(folder / PICTURE_NAME)

    def print(self, console: Console) -> None:
        """A table of the facts, one of what was assumed, and the warnings."""
        # Paths may hold brackets, which the console would take for its own: hence Text everywhere.
        table = Table(title=Text(f"Scene report of {self.facts.capture}"), title_justify="left", show_header=False)
        for name, value in _rows(self.facts):
            table.add_row(name, Text(value))
        console.print(table)
        assumed = Table("assumed", "changed by", title_justify="left")
        for each in self.assumptions:
            assumed.add_row(Text(each.what), Text(each.option))
        console.print(assumed)
        for warning in self.warnings:
            console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)


def scene_report(manager: SurfaceDataManager, survey: Survey) -> SceneReport:
    """The report of a scene that was looked over."""
    facts = scene_facts(manager, survey)
    return SceneReport(facts, assumptions(facts), warnings(facts), draw_scene(survey, Path(facts.capture).name))


def _rows(facts: SceneFacts) -> list[tuple[str, str]]:
    sizes = ["x".join(map(str, size)) for size in (facts.smallest_photograph, facts.largest_photograph)]
    rows = [
        ("format", facts.format),
        (
            "photographs",
            f"{facts.photographs} for training, {facts.held_out} held out; {' to '.join(dict.fromkeys(sizes))} pixels",
        ),
    ]
    masks = "none" if facts.masks_from is None else f"from {facts.masks_from}"
    if facts.mask_coverage is not None:
        masks += f"; they cover {_range(facts.mask_coverage, '.1%')} of the photographs"
    rows.append(("masks", masks))
    points = "none"
    if facts.share_of_points_inside is not None:
        points = f"{facts.points}, {facts.share_of_points_inside:.0%} of them inside the region"
    rows.append(("SfM points", points))
    if facts.tracks_from is not None:
        rows.append(("tracks", f"{facts.track_points} points, {facts.sightlines} sightlines; {facts.tracks_from}"))
    centre = " ".join(f"{value:.4g}" for value in facts.region_centre)
    rows.append(("region of interest", f"centre {centre}, radius {facts.region_radius:.4g} in the units of your poses"))
    rows.append(("found from", facts.region_how))
    rows.append(("cameras inside it", f"{facts.share_of_cameras_inside:.0%}"))
    if facts.object_diameter_px is not None:
        rows.append(("object's size", f"{_range(facts.object_diameter_px, '.0f')} pixels across"))
    angles = facts.view_angles_degrees
    if angles is not None:
        steps = f"{angles.neighbour:.1f} degrees to the nearest, {angles.gap:.0f} across the widest gap"
        rows.append(("angles between views", f"{steps}, {angles.widest:.0f} between the two furthest apart"))
    return rows


def _range(spread: Spread, layout: str) -> str:
    return f"{spread.median:{layout}} ({spread.least:{layout}} to {spread.most:{layout}})"
