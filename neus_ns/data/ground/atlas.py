"""What colour photographs agree about, place by place of a plane, and where they surely mean the plane.

Every pixel is laid on the plane along its ray. Where the plane is seen, the photographs' colours of a place agree, but
for those that show the object before it. What is plain agrees at any height, so a place is only known to be of the
plane if the photographs agree less about planes above it (a plane sweep: Collins 1996).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

# Colours agree within so many levels of 255.
_AGREE = 18.0
# Photographs that must see a place, and that must agree about it, and the share of those that see it.
_LEAST_VIEWS, LEAST_SHARE = 3, 0.25
# How much more photographs must disagree about planes above, in proportion and in levels, and places asked together.
_MORE, _LEVELS, _STRAY, _TOGETHER = 1.05, 0.1, 0.7, 7
_BIN = 8


@dataclass(frozen=True)
class Meeting:
    """Pixels of one photograph whose rays meet a plane: their number, at which place they do, and their colours."""

    pixel: Int64[Tensor, " pixels"]
    place: Int64[Tensor, " pixels"]
    colour: UInt8[Tensor, "pixels channels"]


@dataclass(frozen=True)
class LaidOut:
    """Photographs laid on a plane: mean colours of places and which photograph sees them."""

    colour: UInt8[Tensor, "views places channels"]
    seen: Bool[Tensor, "views places"]

    @property
    def grey(self) -> "LaidOut":
        """The same without colour, which is enough to tell planes apart."""
        grey = [each.float().mean(-1, keepdim=True).round().to(torch.uint8) for each in self.colour]
        return LaidOut(torch.stack(grey), self.seen)


@dataclass(frozen=True)
class Agreed:
    """What photographs agree about, place by place."""

    colour: Float[Tensor, "places channels"]
    """In levels of 255."""
    share: Float[Tensor, " places"]
    """Of the photographs that see a place those that agree; 0 where too few do."""
    apart: Float[Tensor, " places"]
    """How far all that see it are from that on average, in levels; no more than the limit of agreement each."""


def lay_out(photographs: Iterable[Meeting], places: int) -> LaidOut:
    """Photographs laid out, each by its pixels that meet the plane."""
    colours, seen = [], []
    for met in photographs:
        count = torch.bincount(met.place, minlength=places)
        total = torch.zeros(places, met.colour.shape[1]).index_add_(0, met.place, met.colour.float())
        colours.append((total / count.clamp_min(1)[:, None]).round().to(torch.uint8))
        seen.append(count > 0)
    return LaidOut(torch.stack(colours), torch.stack(seen))


def agreed(laid: LaidOut) -> Agreed:
    """The colour that most photographs of a place have, about."""
    views, places = laid.seen.shape
    votes = torch.zeros(places, 256 // _BIN + 2)
    grey = laid.grey.colour[..., 0]
    for view in range(views):
        bin_ = grey[view].long() // _BIN + 1
        votes.scatter_add_(1, bin_[:, None], laid.seen[view, :, None].float())
    around = votes[:, :-2] + 2 * votes[:, 1:-1] + votes[:, 2:]
    level = (around.argmax(1).float() + 0.5) * _BIN
    colour = _mean_of(laid, lambda view: (grey[view].float() - level).abs() < _AGREE)
    colour = _mean_of(laid, lambda view: _apart(laid, view, colour) < _AGREE)
    agree, apart = torch.zeros(places), torch.zeros(places)
    for view in range(views):
        distance = _apart(laid, view, colour).clamp_max(_AGREE)
        agree += (distance < _AGREE).float() * laid.seen[view]
        apart += distance * laid.seen[view]
    count = laid.seen.sum(0)
    share = torch.where(agree >= _LEAST_VIEWS, agree / count.clamp_min(1), 0.0)
    return Agreed(colour, share, apart / count.clamp_min(1))


def _apart(laid: LaidOut, view: int, colour: Float[Tensor, "places channels"]) -> Float[Tensor, " places"]:
    return (laid.colour[view].float() - colour).abs().amax(-1)


def _mean_of(laid: LaidOut, agrees: Callable[[int], Tensor]) -> Float[Tensor, "places channels"]:
    """Mean colour of the photographs that agree."""
    total, count = torch.zeros_like(laid.colour[0], dtype=torch.float32), torch.zeros(laid.seen.shape[1])
    for view in range(len(laid.seen)):
        counts = (agrees(view) & laid.seen[view]).float()
        total += counts[:, None] * laid.colour[view].float()
        count += counts
    return total / count.clamp_min(1)[:, None]


def strays(here: LaidOut, above: LaidOut, colour: Float[Tensor, "places channels"]) -> Float[Tensor, " places"]:
    """How far photographs that agree about the plane are, on average, from its colours on a plane above: what they show
    of both, in levels, and no more than the limit of agreement each."""
    total, count = torch.zeros_like(colour[:, 0]), torch.zeros_like(colour[:, 0])
    for view in range(len(here.seen)):
        agrees = here.seen[view] & above.seen[view] & (_apart(here, view, colour) < _AGREE)
        total += agrees * _apart(above, view, colour).clamp_max(_AGREE)
        count += agrees
    return total / count.clamp_min(1)


def surely_ground(here: LaidOut, above: Iterable[LaidOut], side: int) -> tuple[Agreed, Bool[Tensor, " places"]]:
    """What photographs agree about, and where they surely mean the plane: about any above it they agree less, and those
    that see it would see other colours there."""

    def about(values: Tensor) -> Tensor:
        square = values.view(1, 1, side, side)
        return F.avg_pool2d(square, _TOGETHER, 1, _TOGETHER // 2, count_include_pad=False).view(-1)

    found, grey = agreed(here), here.grey
    plain = agreed(grey)
    at_all, of_those = about(plain.apart), about(strays(grey, grey, plain.colour))
    sure = found.share > LEAST_SHARE
    for laid in above:
        sure &= _MORE * at_all + _LEVELS < about(agreed(laid.grey).apart)
        sure &= of_those + _STRAY < about(strays(grey, laid.grey, plain.colour))
    return found, sure
