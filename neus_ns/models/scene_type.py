"""One switch for what kind of scene it is: sign, initial surface and background follow together."""

from dataclasses import dataclass, fields, replace
from typing import Literal

from neus_ns.data.region import SceneType
from neus_ns.errors import InputError
from neus_ns.models.loss_weights import LossWeights

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
# Weight of carving where it is of use.
CARVE_WEIGHT = 20.0
# Brightness from 0 to 1 that is added to a pixel's before errors of its colour count by what both come to.
_BLACK = 0.1

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
    if choice == "learned" and has_masks:
        raise InputError(
            "--pipeline.model.background learned has nothing to learn from while masks hide what is behind the object; "
            "leave it out, or train without masks by --pipeline.datamanager.masks False."
        )
    if choice != "auto":
        return choice
    preset = PRESETS[scene_type]
    return preset.with_masks if has_masks else preset.without_masks


@dataclass(frozen=True)
class SuitedWeights:
    """Weights that depend on what photographs show; see `LossWeights` for each."""

    points: float
    smooth_plain: float
    black: float | None
    """None: errors of colour all count alike, however bright."""


def suited_weights(scene_type: SceneType, weights: LossWeights, has_masks: bool) -> SuitedWeights:
    """The user's weights; where nothing is said, by whether all that photographs show is wanted, as in rooms.

    Without masks most structure-from-motion points belong to what an object stands on. That, pulled flat before the
    object has a shape, swallows what is low and dark; their lines of sight alone do better. What is plain mostly is
    behind the object, and of the object is lost what looks like that, the more so where its errors count less.
    """
    all_wanted = has_masks or PRESETS[scene_type].inside_out
    suited = SuitedWeights(POINTS_WEIGHT, PLAIN_WEIGHT, _BLACK) if all_wanted else SuitedWeights(0.0, 0.0, None)
    said = {each.name: getattr(weights, each.name) for each in fields(suited)}
    return replace(suited, **{name: weight for name, weight in said.items() if weight is not None})


def suited_plain_times(scene_type: SceneType, has_masks: bool) -> tuple[float, float]:
    """From which share of a training on, and up to which ever more, surfaces are flattened where photographs show
    nothing, if they are at all.

    What is only a little plain must not be held up while masks' hull is still carved. Without masks an object needs a
    shape first, or parts of it are lost that look like what is behind them.
    """
    if has_masks:
        return 0.0, 0.4
    return (0.0, 0.0) if PRESETS[scene_type].inside_out else (0.2, 0.35)


def suited_carving(scene_type: SceneType, said: float | None, has_masks: bool, alike: bool) -> float:
    """How much it counts where patches disagree: the user's weight, or by the scene.

    Masks have carved as much before, and in rooms it was never tried. Photographs that are not `alike`, of changing
    exposure or from places that are still to be found, disagree about the true surface as well.
    """
    if said is not None:
        return said
    return CARVE_WEIGHT if alike and not has_masks and not PRESETS[scene_type].inside_out else 0.0
