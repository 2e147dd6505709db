"""The sizes that decide how much memory a run takes, and sets of them by memory.

The sets for graphics cards follow what Neuralangelo's authors recommend for cards of 8, 12, 16 and 24 GB (2^20 to 2^22
rows of 4 or 8 features on 16 levels); networks, samples and cells of the occupancy grid grow along.
"""

from dataclasses import asdict, dataclass, fields
from typing import Protocol, runtime_checkable

from neus_ns.errors import InputError
from neus_ns.models.neus_hash import NeusHashModelConfig
from neus_ns.models.preset_names import Preset, PresetChoice


@dataclass(frozen=True)
class Sizes:
    """Options of the same names; which part of the configuration each lives in, see `_part`."""

    levels: int
    features: int
    log2_rows: int
    finest: int
    sdf_width: int
    feature_width: int
    colour_width: int
    colour_layers: int
    grid_resolution: int
    samples_per_step: int
    max_rays: int

    def __str__(self) -> str:
        table = f"{self.levels} levels of 2^{self.log2_rows} rows x {self.features} features up to {self.finest} cells"
        return f"{table}, networks {self.sdf_width} and {self.colour_width} wide, {self.samples_per_step} samples"


# "cpu" is what every option is by default: whoever sets an option to anything else means it.
PRESETS: dict[Preset, Sizes] = {
    "cpu": Sizes(14, 2, 17, 512, 64, 15, 64, 2, 128, 12_288, 8192),
    "8gb": Sizes(16, 4, 20, 1024, 64, 15, 64, 2, 128, 65_536, 16_384),
    "12gb": Sizes(16, 4, 21, 1024, 64, 15, 64, 2, 128, 131_072, 32_768),
    "16gb": Sizes(16, 8, 21, 2048, 128, 31, 128, 2, 256, 131_072, 32_768),
    "24gb": Sizes(16, 8, 22, 2048, 128, 31, 128, 2, 256, 262_144, 65_536),
}
_DEFAULTS = PRESETS["cpu"]


@runtime_checkable
class SizedConfig(Protocol):
    """A pipeline's configuration, as far as sizes go."""

    model: NeusHashModelConfig
    preset: PresetChoice
    samples_per_step: int
    max_rays: int


def _part(config: SizedConfig, name: str) -> object:
    """The part of the configuration that holds an option."""
    if name in ("samples_per_step", "max_rays"):
        return config
    return config.model.sampling if name == "grid_resolution" else config.model.sdf_field


def sizes_of(config: SizedConfig) -> Sizes:
    """The sizes that the options say."""
    return Sizes(**{each.name: getattr(_part(config, each.name), each.name) for each in fields(Sizes)})


def set_sizes(config: SizedConfig, sizes: Sizes) -> None:
    """Write sizes into the options, and that there is nothing left to choose: a run's config.yml then says it all."""
    for name, value in asdict(sizes).items():
        setattr(_part(config, name), name, value)
    config.preset = "given"


def with_own(preset: Sizes, own: Sizes) -> Sizes:
    """A preset's sizes, but the user's own where those are not the defaults."""
    chosen = {name: value for name, value in asdict(own).items() if value != getattr(_DEFAULTS, name)}
    return Sizes(**asdict(preset) | chosen)


def what_tensors_mean(model: NeusHashModelConfig) -> dict[str, int | str]:
    """Options that no tensor's shape shows, and by which a checkpoint's are read."""
    return {
        "sdf-field.coarsest": model.sdf_field.coarsest,
        "sdf-field.finest": model.sdf_field.finest,
        "scene-type": model.scene_type,
    }


def refuse_other_meaning(saved: dict[str, int | str], now: dict[str, int | str]) -> None:
    """Raise InputError where a checkpoint would be read as something else than was trained."""
    for name, value in saved.items():
        if now.get(name, value) != value:
            raise InputError(
                f"The checkpoint was trained with --pipeline.model.{name} {value}, not {now[name]}: resume with that."
            )


def take_over(config: SizedConfig, saved: dict[str, int] | None) -> None:
    """Let a checkpoint decide about sizes; one from before there were presets has those that the options say."""
    if saved is None:
        config.preset = "given"
    else:
        # What the user sets to something else is left for the checkpoint to fit or not to fit.
        set_sizes(config, with_own(Sizes(**saved), sizes_of(config)))
