"""Matrices out of an npz file, with one sentence for every way in which it can be broken."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.lib.npyio import NpzFile

from neus_ns.errors import InputError

# What numpy raises on archives that are cut short, damaged, or hold pickles where arrays are wanted.
_ERRORS = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def read_matrices(path: Path) -> dict[str, Float[ndarray, "_rows _columns"]]:
    """Every two-dimensional numeric array of the file, in float64."""
    try:
        # Opened here, since numpy leaves the file open when it is no archive.
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, NpzFile):
                raise InputError(f"{path} holds a single array, not named matrices; export the cameras again.")
            arrays = {name: content[name] for name in content.files}
            if not all(isinstance(array, ndarray) for array in arrays.values()):
                # numpy hands out a member that does not begin as an array should as bare bytes.
                raise ValueError("a member is no array")
    except InputError:
        raise
    except _ERRORS as error:
        raise InputError(f"{path} cannot be read as an npz archive of matrices; copy or export it again.") from error
    return {
        name: array.astype(np.float64)
        for name, array in arrays.items()
        if array.ndim == 2 and np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)
    }
