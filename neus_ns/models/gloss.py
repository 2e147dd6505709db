"""Whether what is photographed shines, found out while training: when colours may begin to depend on the view, and
whether photographs can be compared.

As long as colour is the same from everywhere, a surface explains photographs only by being where they say. What is
wrong then about a matt thing soon is fine: texture too bright here and too dark right beside it. What shines stays
wrong over whole areas: where a window is mirrored everything is too dark, and beside it too bright. So what the errors
of two pixels of one area have in common tells the one from the other: its share of their mean square, and how it falls.
What two pixels have in common that are anywhere in one photograph is taken off: that is its exposure. And what is wrong
by little is no reflection, however much of all that is wrong it is: all matt things have a sheen somewhere.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from neus_ns.pixels.ranks import summed_over_ranks

# Share of training at which it is known, and two stretches before that over which errors are heard.
DECIDED_AT = 0.3
_EARLY, _LATE = (0.08, 0.14), (0.24, DECIDED_AT)
# Areas along a photograph's width, and along its height.
AREAS_ACROSS = 20
# How great a share of errors would be common to areas later: from the first on colours must not wait for the view, from
# the second on photographs say nothing of one another. Measured: matt up to 0.07, a glossy dark head 0.10 to 0.15,
# satin, lacquer and mirrors 0.27 and more.
_SHINES_FROM, _MIRRORS_FROM = 0.08, 0.2
# And how great they would be, of the brightness's mean square: a sheen changes brightness by less than a twenty-fifth,
# and in a long training it is all that is still wrong. Measured: a satin plate after 9600 steps 0.0005 and 0.0007,
# lacquer without masks 0.003, shadows that move with the photographer 0.004, else what shines 0.007 to 0.027.
_SHINES_BY = 0.04**2
# Opacity from which on a pixel shows the surface.
_SURFACE = 0.5


@dataclass(frozen=True)
class CommonErrors:
    """How great what two pixels' errors of one area have in common would be, of mean squares."""

    of_errors: float
    of_brightness: float


class GlossWatch(nn.Module):
    """Listens to errors of colour; part of the checkpoint, so that a resumed run decides as an unbroken one."""

    heard: Tensor

    def __init__(self, photographs: int) -> None:
        super().__init__()
        self.photographs = photographs
        self.progress = 0.0
        # For each stretch sums over pairs of one area, over pairs of one photograph, and over each pixel with itself:
        # of products of errors and of what these count; and of squares of brightness.
        self.register_buffer("heard", torch.zeros(2, 4, 2))
        self._later: CommonErrors | None = None

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Older checkpoints heard something else: what they show is not known to be matt.
        if state_dict.get(prefix + "heard", self.heard).shape != self.heard.shape:
            state_dict[prefix + "heard"] = torch.zeros_like(self.heard)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._later = None

    @property
    def listening(self) -> bool:
        """Whether errors of now have a say."""
        return any(first <= self.progress < last for first, last in (_EARLY, _LATE))

    @torch.no_grad()
    def hear(
        self,
        rendered: Float[Tensor, " rays"],
        photographed: Float[Tensor, " rays"],
        opacity: Float[Tensor, " rays"],
        even: Float[Tensor, " rays"],
        area: Int64[Tensor, " rays"],
    ) -> None:
        """Take in a step: brightness as it is and as it should be, by the area that each ray is of, counted on from
        photograph to photograph, weighted as if pixels had been drawn evenly: a strategy looks for what is alike."""
        error, counts = rendered - photographed, even * (opacity > _SURFACE)
        squares = [torch.stack([(counts * each.square()).sum(), counts.sum()]) for each in (error, photographed)]
        areas_of_one = AREAS_ACROSS**2
        near = _products_of_pairs(error, counts, area, self.photographs * areas_of_one)
        anywhere = _products_of_pairs(error, counts, area // areas_of_one, self.photographs)
        said = torch.stack([near, anywhere, *squares])
        # All ranks have to come to the same decision: each hears the same sums.
        self.heard[int(self.progress >= _LATE[0])] += summed_over_ranks(said)

    @property
    def common_later(self) -> CommonErrors:
        """What of errors would be common to areas, if that went on falling by as much as between the stretches, for
        twice as long; infinite if too little was heard."""
        products, counts = self.heard.double().unbind(-1)
        if not ((counts > 0).all() and (products[:, 2:] > 0).all()):
            return CommonErrors(math.inf, math.inf)
        (near, anywhere, itself, brightness) = (products / counts).unbind(1)
        early, late = (near - anywhere).clamp_min(0).tolist()
        later = late * (late / early) ** 2 if early > 0 else 0.0
        return CommonErrors(later / float(itself[1]), later / float(brightness[1]))

    @property
    def known(self) -> bool:
        """Whether enough of the training is done to tell."""
        return self.progress >= DECIDED_AT

    @property
    def matt(self) -> bool:
        """Whether colour can do without the view for longer; no, until it is known."""
        if not self.known:
            return False
        later = self._decided
        return later.of_errors < _SHINES_FROM or later.of_brightness < _SHINES_BY

    @property
    def shines(self) -> bool:
        """Whether it is known that colour cannot do without the view."""
        return self.known and not self.matt

    @property
    def mirrors(self) -> bool:
        """Whether it is known that what photographs show is rather what is mirrored than the surface; not if too little
        was heard to tell."""
        return self.shines and _MIRRORS_FROM <= self._decided.of_errors < math.inf

    def sentence(self) -> str:
        """What it was taken for, once that is known, and by what."""
        later = self._decided
        if math.isinf(later.of_errors):
            return "too little of the surface was seen to tell whether it shines: it is taken for shining"
        like = "mirror all over" if self.mirrors else "shine" if self.shines else "are matt"
        return (
            f"surfaces {like}: errors common to areas would be {later.of_errors:.2f} of all later, and "
            f"{later.of_brightness:.4f} of brightness, in mean squares"
        )

    @property
    def _decided(self) -> CommonErrors:
        if self._later is None:
            # Read once: on CUDA the host has to wait for it.
            self._later = self.common_later
        return self._later


def _products_of_pairs(
    error: Float[Tensor, " rays"], counts: Float[Tensor, " rays"], group: Int64[Tensor, " rays"], groups: int
) -> Float[Tensor, " 2"]:
    """Products of the errors of every two different rays of a group, and what these pairs count: the square of a
    group's sum is that of all its pairs and of each ray with itself."""
    each = torch.stack([counts * error, counts], 1)
    return error.new_zeros(groups, 2).index_add_(0, group, each).square().sum(0) - each.square().sum(0)
