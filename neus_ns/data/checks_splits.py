"""Checks of which photographs are for training and which for evaluation, by lists of names or by options."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from neus_ns.errors import InputError

SPLIT_LISTS = ("train_filenames", "val_filenames", "test_filenames")


def check_split_lists(meta: dict[str, Any], frames: list[dict[str, Any]], json_path: Path) -> None:
    """Raise InputError unless a transforms.json has all three lists, of names that its frames have, or none."""
    present = [key for key in SPLIT_LISTS if key in meta]
    known = {Path(frame["file_path"]) for frame in frames}
    for key in present:
        if not isinstance(meta[key], list) or not all(isinstance(name, str) for name in meta[key]):
            raise InputError(f"{json_path}: `{key}` is not a list of file names; correct it or remove all such lists.")
        unknown = [name for name in meta[key] if Path(name) not in known]
        if unknown:
            raise InputError(
                f"{json_path}: `{key}` names {first_of(unknown)}, which no frame has as its file_path; correct the "
                "list."
            )
    missing = [key for key in SPLIT_LISTS if key not in meta]
    if present and missing:
        raise InputError(
            f"{json_path} has `{present[0]}` but no `{missing[0]}`, and nerfstudio wants all three lists or none; add "
            "it (it may repeat another list)."
        )
    if present and len(set(meta["train_filenames"])) < 2:
        raise InputError(f"{json_path}: `train_filenames` lists fewer than two images; add more.")


def check_split_options(config: DataParserConfig) -> None:
    """Raise InputError for options by which nerfstudio's parsers could not choose."""
    share = getattr(config, "train_split_fraction", 1.0)
    if not 0 < share <= 1:
        raise InputError(f"--train-split-fraction is {share}; give a share above 0, and 1 to train on all.")
    interval = getattr(config, "eval_interval", 1)
    if interval < 1 and getattr(config, "eval_mode", "") == "interval":
        raise InputError(f"--eval-interval is {interval}; give 2 or more, or --eval-mode all to train on all.")


def check_split_names(names: Iterable[Path], source: Path) -> None:
    """Raise InputError unless --eval-mode filename can tell by these names what a photograph is for."""
    neither = [path.name for path in names if "train" not in path.name and "eval" not in path.name]
    if neither:
        raise InputError(
            f"{source}: {first_of(neither)} neither has `train` nor `eval` in its name, by which --eval-mode filename "
            "tells what a photograph is for; rename the photographs, or choose --eval-mode fraction."
        )


def require_two(photographs: Sequence[Path], source: Path) -> None:
    """Raise InputError where the split leaves too few photographs to train on."""
    if len(photographs) < 2:
        left = f"only {photographs[0].name} is" if photographs else "no photograph is"
        raise InputError(
            f"{source}: {left} left for training, but a surface needs at least two photographs from different places; "
            "keep fewer for evaluation (the dataparser's --eval-interval, --eval-mode, --train-split-fraction, or the "
            "capture's own lists of names)."
        )


def first_of(names: list[str]) -> str:
    """The first of some names, and how many there are besides."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
