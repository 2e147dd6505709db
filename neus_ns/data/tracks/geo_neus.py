"""Points and lists of who sees them in the layout of Geo-NeuS: sfm_pts/points.npy and sfm_pts/view_id.npy.

points.npy is [points, 3]. view_id.npy holds for every photograph, in the order of their names, the numbers of the
points that it sees: an array of arrays of unequal length, which numpy stores as a pickle; or a plain table where all
are equally long; or, from other tools, a table of booleans, photographs by points.
"""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from neus_ns.errors import InputError

_AGAIN = "write it again or remove the folder"
_MOST_SHAPE = 2**31


@dataclass(frozen=True)
class SeenPoints:
    """Points in whatever frame the files are in, and pairs of a photograph's row and a point that it sees."""

    folder: Path
    points: Float[Tensor, "points 3"]
    row: Int[Tensor, " pairs"]
    point: Int[Tensor, " pairs"]
    rows: int


def find_geo_neus(folders: list[Path]) -> Path | None:
    """The first sfm_pts folder with points below these."""
    return next((path / "sfm_pts" for path in folders if (path / "sfm_pts" / "points.npy").is_file()), None)


def read_geo_neus(folder: Path) -> SeenPoints:
    """The points of an sfm_pts folder; InputError for files that are damaged or do not fit together."""
    points_path, lists_path = folder / "points.npy", folder / "view_id.npy"
    if not lists_path.is_file():
        raise InputError(f"{folder} has points.npy but no view_id.npy; add that or remove the folder.")
    points = _read(points_path)
    if isinstance(points, list) or points.dtype.kind not in "fiu" or points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"{points_path} is no table of points with three numbers each; {_AGAIN}.")
    points = points.astype(np.float64)
    if not np.isfinite(points).all():
        raise InputError(f"{points_path} has points that are not finite; {_AGAIN}.")
    lists = [_numbers(entry, len(points), lists_path) for entry in _entries(_read(lists_path), lists_path)]
    row = np.repeat(np.arange(len(lists), dtype=np.int64), [len(numbers) for numbers in lists])
    point = np.concatenate([np.zeros(0, dtype=np.int64), *lists])
    # A point listed twice for a photograph is seen once.
    pairs = np.unique(row * max(len(points), 1) + point)
    row, point = np.divmod(pairs, max(len(points), 1))
    return SeenPoints(folder, torch.from_numpy(points), torch.from_numpy(row), torch.from_numpy(point), rows=len(lists))


def _entries(table: ndarray | list, path: Path) -> list:
    if isinstance(table, list):
        return table
    if table.ndim == 0:
        raise InputError(f"{path} does not list points for every photograph; {_AGAIN}.")
    if table.dtype == bool:
        return [np.flatnonzero(seen) for seen in table]
    return list(table)


def _numbers(entry: object, points: int, path: Path) -> Int[ndarray, " seen"]:
    if isinstance(entry, list | tuple) and len(entry) == 0:
        return np.zeros(0, dtype=np.int64)
    numbers = np.asarray(entry) if isinstance(entry, ndarray | list | tuple) else np.zeros((0, 0))
    if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and len(numbers) > 0):
        raise InputError(f"{path} has something else than a list of whole numbers for a photograph; {_AGAIN}.")
    if len(numbers) and not (0 <= int(numbers.min()) and int(numbers.max()) < points):
        raise InputError(f"{path} names point {int(numbers.max())} where points.npy has {points}; {_AGAIN}.")
    return numbers.astype(np.int64)


class _PickledType:
    """What a pickle says of a numpy dtype: its code, then its byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _PickledArray:
    """What a pickle says of a numpy array, believed only after a look at it."""

    state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def numbers(self) -> ndarray:
        """A row of whole numbers, or whatever else the bytes are, one after the other."""
        _, shape, kind, _, content = self.state
        (length,) = shape
        return np.frombuffer(content, np.dtype(kind.code).newbyteorder(kind.order), length)


class _ArraysOnly(pickle._Unpickler):
    """Unpickles stand-ins for numpy arrays, in plain Python.

    A pickle may otherwise run any program it likes, and numpy's own unpickling of a damaged one can end the process.
    """

    def find_class(self, module: str, name: str) -> object:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda *_: _PickledArray()
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _PickledType if name == "dtype" else _PickledArray
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array of numbers")


def _unpickled(file: io.BytesIO, shape: tuple[int, ...]) -> list:
    found = _ArraysOnly(file).load()
    if not isinstance(found, _PickledArray) or found.state[1] != shape or len(shape) != 1:
        raise ValueError("it is no array of arrays")
    entries = found.state[4]
    if not isinstance(entries, list) or len(entries) != shape[0]:
        raise ValueError("it is no array of arrays")
    return [entry.numbers() if isinstance(entry, _PickledArray) else entry for entry in entries]


def _read(path: Path) -> ndarray | list:
    """An npy file: an array, or the entries of an array of arrays."""
    try:
        content = path.read_bytes()
        file = io.BytesIO(content)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        if any(length < 0 or length > _MOST_SHAPE for length in shape):
            raise ValueError(f"it claims the shape {shape}")
        if not dtype.hasobject:
            return np.load(io.BytesIO(content), allow_pickle=False)
        return _unpickled(file, shape)
    # What a damaged pickle raises is not documented to be of any one kind.
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(f"{path} cannot be read as a numpy array ({reason}); {_AGAIN}.") from error
