"""How much memory to set aside for what only the device knows the number of, without waiting to hear it.

Asking a CUDA device for a number makes the host wait until everything before it is done, and then the device wait for
the host. Numbers that change slowly are asked for without waiting, and are a few steps old when they are used.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

# Over what was needed lately: batches differ, and what is set aside in vain is evaluated in vain.
_SPARE, _AT_LEAST = 1.25, 4096


def picked(mask: Bool[Tensor, " entries"]) -> Int64[Tensor, " set"] | slice:
    """Where a mask is set, to work there only; on CUDA everywhere, since the host would wait to hear how many it is."""
    return slice(None) if mask.is_cuda else torch.nonzero(mask)[:, 0]


class LateNumber:
    """A number of the device as the host knows it: on the CPU at once, from CUDA when it has arrived."""

    def __init__(self) -> None:
        self.latest: float | None = None
        self._coming: tuple[Tensor, torch.cuda.Event] | None = None

    def note(self, number: Tensor) -> None:
        """The number is now this. While an earlier one is on its way from the device, it is left out."""
        if not number.is_cuda:
            self.latest = float(number)
        elif self._coming is None:
            copy = torch.empty((), dtype=number.dtype, pin_memory=True)
            copy.copy_(number.detach(), non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(number.device))
            self._coming = copy, arrived

    def look(self) -> float | None:
        """The newest that has arrived; None before the first."""
        if self._coming is not None and self._coming[1].query():
            self.latest, self._coming = float(self._coming[0]), None
        return self.latest


class Room:
    """Memory for the sections of rays. What does not fit is left out by the kernels, and the next room is larger.

    A ray whose sections are left out renders nothing and so teaches nothing, for a step or two.
    """

    def __init__(self) -> None:
        self._per_ray = LateNumber()

    def sections(self, needed: Tensor, rays: int, most: int) -> int:
        """How many sections to set memory aside for; `needed` is how many there are, as the device knows it, and no
        ray has more than `most`. More than all rays could have is what was needed, for the caller to refuse."""
        if not needed.is_cuda:
            return int(needed)
        per_ray = self._per_ray.look()
        self._per_ray.note(needed / rays)
        if per_ray is None:
            # The first batch is waited for: nothing is known yet.
            return int(needed)
        return int(per_ray * rays) if per_ray > most else enough(per_ray, rays, most)


def enough(per_ray: float, rays: int, most: int) -> int:
    """Room for rays of which each needs so many sections on average, with some to spare."""
    return min(int(_SPARE * per_ray * rays) + _AT_LEAST, most * rays)
