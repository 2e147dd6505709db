"""One switch for what kind of scene it is: sign, initial surface and background follow together."""

from dataclasses import dataclass
from typing import Literal

from neus_ns.data.region import SceneType

Background = Literal["none", "black", "white", "random", "learned"]
BackgroundChoice = Literal["auto", "none", "black", "white", "random", "learned"]


@dataclass(frozen=True)
class ScenePreset:
    """What a scene type decides. `initial_radius` is in units of the region of interest."""

    inside_out: bool
    initial_radius: float
    with_masks: Background
    without_masks: Background


# Weight of the points where all of them are of what is wanted.
POINTS_WEIGHT = 3.0
# How much flatter than elsewhere what is plain should be.
PLAIN_WEIGHT = 20.0

PRESETS: dict[SceneType, ScenePreset] = {
    # An object seen from around it.
    "object": ScenePreset(False, 0.5, "random", "learned"),
    # A room seen from within: the surface starts as a shell around the cameras, and there is nothing behind it.
    "indoor": ScenePreset(True, 0.9, "random", "none"),
    # Something of interest in a wide world; masks, where they exist, still say what it is.
    "unbounded": ScenePreset(False, 0.5, "random", "learned"),
}


def background_for(scene_type: SceneType, choice: BackgroundChoice, has_masks: bool) -> Background:
    """The background to use: the user's, or the one that suits the scene and whether masks exist."""
    if choice != "auto":
        return choice
    preset = PRESETS[scene_type]
    return preset.with_masks if has_masks else preset.without_masks


def points_weight_for(scene_type: SceneType, choice: float | None, has_masks: bool) -> float:
    """How much points of structure from motion pull the surface: as the user says, or where all of them are of it.

    Without masks most belong to what an object stands on. That, pulled flat before the object has a shape, swallows
    what is low and dark; their lines of sight alone do better. Indoors what surrounds is what is wanted.
    """
    if choice is not None:
        return choice
    return POINTS_WEIGHT if has_masks or PRESETS[scene_type].inside_out else 0.0


def plain_weight_for(scene_type: SceneType, choice: float | None, has_masks: bool) -> float:
    """How much flatter than elsewhere a surface should be where photographs are plain far and wide.

    Rooms are built so, and where else nothing tells what is there, luck does. Without masks, though, what is plain
    mostly is behind the object.
    """
    if choice is not None:
        return choice
    return PLAIN_WEIGHT if has_masks or PRESETS[scene_type].inside_out else 0.0
