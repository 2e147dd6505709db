"""A look at a capture's point cloud: a file that was cut short would become thousands of points at the origin."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from neus_ns.errors import InputError

# A header longer than this is none.
_LONGEST_HEADER = 1 << 16
_BYTES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "float", "int32", "uint32", "float32"), 4),
    **dict.fromkeys(("double", "float64", "int64", "uint64"), 8),
}
_FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
# Formats that nerfstudio's reader of clouds tells by these endings and reads as well.
_OTHERS = (".pcd", ".pts", ".xyz", ".xyzn", ".xyzrgb")


@dataclass(frozen=True)
class _Element:
    """One kind of rows: how many there are, and the least that one takes, since lists may be of any length."""

    name: str
    rows: int
    bytes_a_row: int = 0
    numbers_a_row: int = 0


def named_cloud(meta: dict[str, Any], json_path: Path) -> Path | None:
    """The file of points that a transforms.json names, whether it is there or not; None if it names none."""
    name = meta.get("ply_file_path")
    return json_path.parent / name if isinstance(name, str) and name else None


def check_cloud(path: Path, json_path: Path) -> None:
    """Raise InputError unless a file has all the points that its header promises."""
    if path.suffix.lower() in _OTHERS:
        return
    cure = f"copy or export the file again, or remove `ply_file_path` from {json_path.name}"
    try:
        with open(path, "rb") as file:
            is_text, before, points = _read_header(file)
            has = _numbers(file) if is_text else path.stat().st_size - file.tell()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {cure}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not a PLY file that can be read; {cure}.") from error
    sizes = [element.numbers_a_row if is_text else element.bytes_a_row for element in (*before, points)]
    needed = sum(size * element.rows for size, element in zip(sizes, (*before, points), strict=True))
    if points.rows and has < needed:
        found = max(0, points.rows - -(-(needed - has) // sizes[-1]))
        raise InputError(f"{path} is cut short, since it ends after {found} of {points.rows} points; {cure}.")


def _read_header(file: BinaryIO) -> tuple[bool, list[_Element], _Element]:
    """Whether the rows are text, what comes before the points, and these; ValueError if it is no header.

    The file is left at its first row.
    """
    lines = []
    while not lines or lines[-1] != ["end_header"]:
        line = file.readline(_LONGEST_HEADER)
        if not line or file.tell() > _LONGEST_HEADER:
            raise ValueError("The header has no end.")
        lines.append(line.decode().split())
    layout = next((words[1] for words in lines if words[:1] == ["format"] and len(words) == 3), "")
    if lines[0] != ["ply"] or layout not in _FORMATS:
        raise ValueError("The header has no beginning.")
    elements = []
    for words in lines:
        match words:
            case ["element", name, rows] if rows.isdecimal():
                elements.append(_Element(name, int(rows)))
            case ["property", "list", length, _, _] if elements:
                elements[-1] = _with_property(elements[-1], length)
            case ["property", kind, _] if elements:
                elements[-1] = _with_property(elements[-1], kind)
            case ["element" | "property", *_]:
                raise ValueError("A line of the header says nothing.")
    names = [element.name for element in elements]
    index = names.index("vertex")
    if elements[index].numbers_a_row == 0:
        raise ValueError("The points have no coordinates.")
    return layout == "ascii", elements[:index], elements[index]


def _with_property(element: _Element, kind: str) -> _Element:
    if kind not in _BYTES:
        raise ValueError("A property is of no known kind.")
    return _Element(element.name, element.rows, element.bytes_a_row + _BYTES[kind], element.numbers_a_row + 1)


def _numbers(file: BinaryIO) -> int:
    return sum(len(line.split()) for line in file)
