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
