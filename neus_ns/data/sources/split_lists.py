"""Text files beside a COLMAP model that say which photographs are for training and which for evaluation.

train_list.txt, test_list.txt, and val_list.txt or validation_list.txt: a file name a line, relative to the photographs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from neus_ns.data.checks_splits import first_of
from neus_ns.errors import InputError

# Whichever list is there, best first: nerfstudio knows validation_list.txt but looks for val_list.txt.
_LISTS = {
    "train": ("train",),
    "val": ("val", "validation", "test"),
    "test": ("test", "val", "validation"),
}


def listed_indices(
    data: Path, folder: Path, photographs: Sequence[Path], split: str
) -> Int64[ndarray, " chosen"] | None:
    """Which of the photographs, whose folder is given, a capture lists for this split; None where it lists nothing."""
    names = dict.fromkeys(name for wanted in _LISTS.values() for name in wanted)
    present = [path for name in names if (path := data / f"{name}_list.txt").is_file()]
    if not present:
        return None
    path = next((each for name in _LISTS[split] if (each := data / f"{name}_list.txt") in present), None)
    if path is None:
        wanted = "train_list.txt" if split == "train" else "val_list.txt or test_list.txt"
        raise InputError(f"{present[0]} is there but no {wanted}; add it, or remove the list to have some chosen.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text; write one file name a line.") from error
    position = {photograph: index for index, photograph in enumerate(photographs)}
    unknown = [line for line in lines if line and folder / line not in position]
    if unknown:
        raise InputError(
            f"{path} lists {first_of(unknown)}, which the COLMAP model has not registered under that name; correct "
            "the list."
        )
    return np.array(sorted({position[folder / line] for line in lines if line}), dtype=np.int64)
