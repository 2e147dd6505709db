"""The options by which a user says where the region of interest is. Nothing heavy is imported here: --help reads it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SceneType = Literal["object", "indoor", "unbounded"]


@dataclass
class RegionOptions:
    """Where the surface is looked for, in the coordinates and units of your poses. What is not given is found."""

    centre: tuple[float, float, float] | None = None
    """Centre of the ball that holds what is to be reconstructed; its radius is found if it is not given."""
    radius: float | None = None
    """Radius of that ball; its centre is found if it is not given."""
    box: tuple[float, float, float, float, float, float] | None = None
    """Instead, a box x0 y0 z0 x1 y1 z1: the region is the ball around it."""
    file: Path | None = None
    """Instead, a file: a mesh (.ply, .obj, .glb), around which the region is laid, or a .json with `low` and `high`
    corners, with `centre` and `radius`, or the scene_frame.json of another run."""

    @property
    def is_given(self) -> bool:
        """Whether anything is asked for."""
        return any(value is not None for value in (self.centre, self.radius, self.box, self.file))
