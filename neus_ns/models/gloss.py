"""Whether what is photographed shines, found out while training: when colours may begin to depend on the view.

As long as colour is the same from everywhere, a surface can explain photographs only by being where they say. Matt
things gain by every step of that, and their error goes on falling. What shines looks different from everywhere:
soon its error falls no more, and the surface begins to bend after reflections, from which only colours that depend on
the view can save it. So the error of colour between two moments, both before that, tells the one from the other: where
there is surface, for what is behind is learned soon in long trainings, and its error falls no more either.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Share of training at which it is known, and two stretches before that over which errors are averaged.
DECIDED_AT = 0.3
_EARLY, _LATE = (0.08, 0.12), (0.26, DECIDED_AT)
# Where a greater share of the early error is left late, it shines. Measured: matt 0.50 to 0.71, a dark head 0.80,
# lacquer and satin 0.82, mirrors 0.88.
_MATT_BELOW = 0.76
# Opacity from which on a pixel shows the surface.
_SURFACE = 0.5


class GlossWatch(nn.Module):
    """Listens to the error of colour; part of the checkpoint, so that a resumed run decides as an unbroken one."""

    heard: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.progress = 0.0
        # Sums over steps of the errors where there is surface and of the share of pixels that is, a row a stretch.
        self.register_buffer("heard", torch.zeros(2, 2))
        self._matt: bool | None = None

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._matt = None

    @property
    def listening(self) -> bool:
        """Whether errors of now have a say."""
        return any(first <= self.progress < last for first, last in (_EARLY, _LATE))

    def hear(
        self, error: Float[Tensor, " rays"], opacity: Float[Tensor, " rays"], even: Float[Tensor, " rays"]
    ) -> None:
        """Take in the errors of a step's colours, weighted as if pixels had been drawn evenly: a strategy that looks
        for errors finds ever worse ones."""
        counts = even * (opacity.detach() > _SURFACE)
        for row, (first, last) in enumerate((_EARLY, _LATE)):
            if first <= self.progress < last:
                self.heard[row] += torch.stack([(counts * error.detach()).mean(), counts.mean()])

    @property
    def share_left(self) -> float:
        """How much of the early error was left when it was decided; infinite if nothing was heard of one."""
        (early, shown_early), (late, shown_late) = self.heard.tolist()
        return late * shown_early / (early * shown_late) if early * shown_late > 0 else math.inf

    @property
    def matt(self) -> bool:
        """Whether colour can do without the view for longer; no, until it is known."""
        if self.progress < DECIDED_AT:
            return False
        if self._matt is None:
            # Read once: on CUDA the host has to wait for it.
            self._matt = self.share_left < _MATT_BELOW
        return self._matt

    @property
    def shines(self) -> bool:
        """Whether it is known that colour cannot do without the view."""
        return self.progress >= DECIDED_AT and not self.matt
