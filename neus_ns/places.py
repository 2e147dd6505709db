"""Places that results are written to, tried before the work that they are for."""

import os
from pathlib import Path

from neus_ns.errors import InputError


def require_file_can_be_written(path: Path) -> None:
    """Raise InputError unless a file could be written there; its folder is made."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, but a file is to be written there; give the name of a file.")
    require_folder_can_be_written(path.parent)


def require_folder_can_be_written(folder: Path) -> None:
    """Raise InputError unless files could be written into a folder; it is made."""
    trial = folder / f".{os.getpid()}.trial.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(
            f"{folder}: nothing can be written there ({error.strerror}); choose another folder."
        ) from error
