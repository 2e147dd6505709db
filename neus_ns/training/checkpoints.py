"""Checkpoint files that survive a kill: written aside, moved into place whole, checked before they are believed.

The names and the first five keys are nerfstudio's, so its own tools load them. nerfstudio's loaders read a number out
of EVERY name in the checkpoint folder, therefore nothing else is ever put there: the unfinished file lies one folder
up, which is on the same file system, so that the final move is atomic.
"""

import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import torch

from neus_ns.errors import InputError

KEYS = ("step", "pipeline", "optimizers", "schedulers", "scalers", "clock", "random")
NAME = re.compile(r"step-(\d{9,})\.ckpt")
UNFINISHED_NAME = "checkpoint.unfinished"


class DamagedCheckpointError(InputError):
    """A checkpoint file that is truncated or altered."""


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}.ckpt"


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest step first; other names are ignored."""
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), key=step_of)


def step_of(path: Path) -> int:
    """The step that a checkpoint's name tells."""
    return int(path.name[5:-5])


def checkpoint_folder(given: Path, relative_model_dir: Path) -> Path:
    """The folder that holds the checkpoints, given that folder or the run folder around it."""
    for folder in (given, given / relative_model_dir):
        if folder.is_dir() and checkpoints_in(folder):
            return folder
    raise InputError(
        f"There is no checkpoint in {given} nor in {given / relative_model_dir}: "
        "--load-dir must name the folder of a run, or its checkpoint folder."
    )


def write_checkpoint(state: dict, folder: Path, step: int) -> Path:
    """Write a checkpoint so that at every moment the folder holds whole files only; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder.resolve().parent / UNFINISHED_NAME
    path = checkpoint_path(folder, step)
    try:
        with open(unfinished, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    # Where a disk is full torch's own writer says so by a RuntimeError.
    except (OSError, RuntimeError) as error:
        unfinished.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
        raise InputError(
            f"The checkpoint {path} could not be written ({str(error).splitlines()[0]}), with {free / 1e6:.0f} MB free "
            "there: make room, and go on from an earlier one, if there is one, with --load-dir."
        ) from error
    os.replace(unfinished, path)
    if os.name == "posix":
        # The new name itself must reach the disk before an older checkpoint may go.
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return path


def delete_other_checkpoints(keep: Path) -> None:
    """Delete the other checkpoints beside `keep`, newer ones too: they belong to a branch that was left."""
    for path in checkpoints_in(keep.parent):
        if path.name != keep.name:
            path.unlink()


def set_newer_checkpoints_aside(saved: Path) -> None:
    """Move checkpoints of later steps than the one just saved out of the folder: they are of a branch that was left,
    and whoever looks for the newest would take them for the end of this one."""
    newer = [path for path in checkpoints_in(saved.parent) if step_of(path) > step_of(saved)]
    if newer:
        aside = saved.parent.with_name(f"{saved.parent.name}_left")
        aside.mkdir(exist_ok=True)
        for path in newer:
            path.replace(aside / path.name)


def require_no_training_in(folder: Path) -> None:
    """Raise InputError where a training from scratch would overwrite another."""
    there = checkpoints_in(folder) if folder.is_dir() else []
    if there:
        raise InputError(
            f"{folder.parent} already holds a training up to step {step_of(there[-1])}, which would be overwritten: go "
            f"on with it by --load-dir {folder.parent}, or choose another --timestamp (nerfstudio reads neither beside "
            "--load-config)."
        )


def read_checkpoint(path: Path) -> dict:
    """Read one checkpoint onto the CPU, tensors and plain values only."""
    if not path.is_file():
        raise InputError(f"The checkpoint {path} does not exist.")
    # torch does not compare the checksums of the archive it reads, so a flipped bit would pass as a weight.
    try:
        with zipfile.ZipFile(path) as archive:
            damaged_member = archive.testzip()
    except zipfile.BadZipFile as error:
        raise DamagedCheckpointError(f"The checkpoint {path} is damaged or unfinished; use an earlier one.") from error
    if damaged_member is not None:
        raise DamagedCheckpointError(f"The checkpoint {path} is damaged; use an earlier one.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise InputError(
            f"{path} is not a checkpoint of this package: resume from a run of the same method."
        ) from error
    if not isinstance(state, dict) or any(key not in state for key in KEYS):
        raise InputError(f"{path} is not a checkpoint of this package: resume from a run of the same method.")
    return state


def newest_whole_checkpoint(folder: Path) -> tuple[Path, dict, list[Path]]:
    """The newest checkpoint that reads whole: its path, its state, and the damaged newer ones that were passed over."""
    damaged = []
    for path in reversed(checkpoints_in(folder)):
        try:
            return path, read_checkpoint(path), damaged
        except DamagedCheckpointError:
            damaged.append(path)
    raise InputError(f"Every checkpoint in {folder} is damaged, so there is nothing to resume: train from scratch.")
