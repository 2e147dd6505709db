"""How much memory is free, and whether the photographs fit into it: asked before minutes are spent on reading them."""

from pathlib import Path

import torch

from neus_ns.errors import InputError

_MEMINFO = Path("/proc/meminfo")
# Where Linux says what a container may use and does use: the second and the first version of control groups.
_CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
# Bytes: a colour; and with masks how much of it is the object, that as yes or no, and the number of every second pixel,
# that is of those near the object.
_PER_PIXEL, _PER_MASKED_PIXEL = 3, 7


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on the device; None where the system does not say."""
    if device.type != "cuda":
        return free_ram(_MEMINFO, _CONTAINERS)
    # Before 2.5 torch wants to know which of the devices.
    free, _ = torch.cuda.mem_get_info(torch.cuda.current_device() if device.index is None else device.index)
    # What torch holds back for later use is free for the run that asks.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def free_ram(meminfo: Path, containers: tuple[tuple[Path, str, str], ...]) -> int | None:
    """Bytes of the computer's memory that are available, within the container's limit if there is one."""
    if not meminfo.is_file():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    if "MemAvailable" not in fields:
        return None
    free = int(fields["MemAvailable"].split()[0]) * 1024
    for folder, limit_name, usage_name in containers:
        limit = folder / limit_name
        if limit.is_file() and limit.read_text().strip().isdigit():
            used = int((folder / usage_name).read_text()) - _droppable(folder / "memory.stat")
            free = min(free, max(int(limit.read_text()) - used, 0))
    return free


def _droppable(stat: Path) -> int:
    """Bytes of files that the system only keeps at hand: they count as used, and go when the memory is wanted."""
    fields = dict(line.split() for line in stat.read_text().splitlines()) if stat.is_file() else {}
    return int(fields.get("inactive_file", 0))


def gigabytes(count: int | float) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.1f} GB"


def require_room_for_photographs(pixels: int, scale: float, has_masks: bool, device: torch.device) -> None:
    """Raise InputError if so many pixels cannot be kept on the device; they are put together in the computer first.

    `scale` is how large photographs are read now, next to their files.
    """
    need = (_PER_MASKED_PIXEL if has_masks else _PER_PIXEL) * pixels
    for place in dict.fromkeys((torch.device("cpu"), device)):
        free = free_memory(place)
        if free is None or need <= free:
            continue
        remedy = f"make them smaller by --pipeline.datamanager.camera-res-scale-factor {scale / 2:.2g}"
        if place.type == "cuda":
            remedy += ", or keep them in the computer's memory by --pipeline.datamanager.images-on-gpu False"
        raise InputError(
            f"The training photographs take about {gigabytes(need)} and {gigabytes(free)} of memory are free on "
            f"{place}: {remedy}."
        )
