"""How many rays a training step shoots, and how many samples it takes: the same work whatever the rays meet.

Small steps come first: while the surface is rough the direction of a step is clear from few rays, and in the same time
there are more of them. The last, fine steps take all the samples that a step may have.
"""

import math

from torch import Tensor

from neus_ns.kernels.room import LateNumber

# The weight of a new batch in the average: single batches differ, and a jumping batch size makes the loss jump.
_NEW = 0.1
_FEWEST_RAYS = 128


class SampleLevel:
    """Follows how many samples a ray comes to; `per_ray` is their slow average, zero before the first batch.

    `share`, set by schedule, is how many of a step's samples are taken.
    """

    def __init__(self, samples_per_step: int, max_rays: int) -> None:
        self._samples_per_step, self._max_rays = samples_per_step, max_rays
        self.per_ray, self.share = 0.0, 1.0
        self._heard = LateNumber()

    def hear(self, wanted: Tensor, rays: int) -> None:
        """The budget of a batch of so many rays has come to `wanted` samples."""
        self._heard.note(wanted / max(rays, 1))
        new = self._heard.look()
        # What is not a number ends the training, but where the losses are looked at.
        if new is not None and math.isfinite(new):
            self.per_ray = new if self.per_ray == 0 else (1 - _NEW) * self.per_ray + _NEW * new

    def rays(self, given: int) -> int:
        """How many rays the next batch should have; `given` if the user wants a number of rays and not of samples."""
        if self._samples_per_step == 0 or self.per_ray == 0:
            return given
        wanted = self.share * self._samples_per_step / max(self.per_ray, 1.0)
        return int(min(self._max_rays, max(wanted, _FEWEST_RAYS)))

    def samples(self, rays: int) -> int | None:
        """How many samples a batch of so many rays takes; None while nothing is known."""
        if self.per_ray == 0:
            return None
        wanted = max(round(self.per_ray * rays), 1)
        return wanted if self._samples_per_step == 0 else min(wanted, round(self.share * self._samples_per_step))
