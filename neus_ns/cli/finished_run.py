"""A finished run as the commands that only read it need it: found wherever its folder and its photographs are now."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from neus_ns.errors import InputError

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.pipelines.base_pipeline import Pipeline


def load_run(config_path: Path, data: Path | None) -> tuple["TrainerConfig", "Pipeline"]:
    """The run of a config.yml at its newest checkpoint, without its photographs; `data` is where they are now."""
    # Imported here because it loads all of nerfstudio, which `--help` should not wait for.
    from nerfstudio.utils.eval_utils import eval_setup

    # In "inference" mode no photographs are read.
    update = partial(_where_it_is_now, config_path=config_path, data=data)
    try:
        config, pipeline, _, _ = eval_setup(config_path, test_mode="inference", update_config_callback=update)
    except NotImplementedError as error:
        if "cannot instantiate" not in str(error):
            raise
        # So says Python of a path of Windows elsewhere, and of one of elsewhere on Windows.
        raise InputError(
            f"{config_path} holds paths of another operating system, which nerfstudio cannot read here; open the run "
            "where it was trained."
        ) from error
    return config, pipeline


def _where_it_is_now(config: "TrainerConfig", config_path: Path, data: Path | None) -> "TrainerConfig":
    # A path that is absolute overrules the folders that the run was once in.
    config.relative_model_dir = config_path.absolute().parent / config.relative_model_dir
    if data is not None:
        config.pipeline.datamanager.data = data
    return require_checkpoint(config)


def config_file(path: Path) -> Path:
    """The config.yml of a run, given it or its folder."""
    config = path / "config.yml" if path.is_dir() else path
    if not config.is_file():
        raise InputError(
            f"{config}: no such file; --load-config takes a run's config.yml or its folder, which ns-train names when "
            "it starts (outputs/SCENE/METHOD/TIME)."
        )
    return config


def require_checkpoint(config: "TrainerConfig") -> "TrainerConfig":
    """Pass the config on, with the step of the newest checkpoint that is whole; nerfstudio would take a damaged one."""
    # Imported here because it loads torch, which `--help` should not wait for.
    from neus_ns.training.checkpoints import newest_whole_checkpoint
    from neus_ns.training.trainer import SurfaceTrainerConfig

    folder = config.get_checkpoint_dir()
    if not any(folder.glob("step-*.ckpt")):
        raise InputError(
            f"{folder.absolute()}: there is no checkpoint (step-*.ckpt) in this folder; check that the training got "
            "as far as its first save, and that config.yml lies beside what it saved."
        )
    if not isinstance(config, SurfaceTrainerConfig):
        return config
    path, state, damaged = newest_whole_checkpoint(folder)
    if damaged:
        names = ", ".join(each.name for each in damaged)
        print(f"Damaged in {folder}: {names}; taking {path.name} instead.", file=sys.stderr)
    config.load_step = state["step"]
    return config
