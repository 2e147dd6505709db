"""What options may be at least and at most, so that nonsense is refused by its name before anything is read."""

from collections.abc import Mapping

from neus_ns.errors import InputError
from neus_ns.losses.patches import LEAST_SOURCES

# Options of the pipeline. Zero stands for "none" where that makes sense.
LEAST: Mapping[str, int] = {
    "samples_per_step": 0,
    "max_rays": 1,
    "datamanager.train_num_rays_per_batch": 1,
    "datamanager.longest_side": 1,
    "model.appearance_width": 0,
    "model.sampling.steps": 1,
    "model.sampling.grid_resolution": 1,
    "model.sampling.grid_every": 1,
    "model.sampling.grid_parts": 1,
    "model.sampling.samples_on_surface": 0,
    "model.sampling.samples_anywhere": 0,
    "model.sdf_field.sdf_width": 1,
    "model.sdf_field.feature_width": 1,
    "model.sdf_field.colour_width": 1,
    "model.sdf_field.colour_layers": 1,
    "model.patches.rays": 1,
    # Fewer photographs judge no patch.
    "model.patches.candidates": LEAST_SOURCES,
    "model.patches.sources": LEAST_SOURCES,
    "model.patches.best": LEAST_SOURCES,
    "model.schedule.patches_rise": 0,
}
# Not even zero: something is divided by them, or falls to them by equal ratios.
POSITIVE = (
    "datamanager.camera_res_scale_factor",
    "model.schedule.batch_first",
    "model.sdf_field.initial_inv_s",
    "model.weights.black",
    "model.schedule.points_reach_first",
    "model.schedule.points_reach_last",
)
# More would take more memory than the sizes that are chosen, and said, at the start; or photographs have no more.
MOST: Mapping[str, int] = {"model.schedule.batch_first": 1, "datamanager.camera_res_scale_factor": 1}


def check_options(config: object) -> None:
    """Raise InputError for the first option of a pipeline's configuration that is too small or too large; a method that
    has not got one of them has no need of it."""
    for path, least in LEAST.items():
        value = _value(config, path)
        if value is not None and value < least:
            raise InputError(f"--pipeline.{path.replace('_', '-')} is {value:g}: give at least {least}.")
    for path in POSITIVE:
        value = _value(config, path)
        if value is not None and value <= 0:
            raise InputError(f"--pipeline.{path.replace('_', '-')} is {value:g}: give a number above zero.")
    for path, most in MOST.items():
        value = _value(config, path)
        if value is not None and value > most:
            raise InputError(f"--pipeline.{path.replace('_', '-')} is {value:g}: give at most {most}.")


def _value(config: object, path: str) -> int | float | None:
    for name in path.split("."):
        config = getattr(config, name, None)
    assert config is None or isinstance(config, (int, float))
    return config
