"""Pixel by pixel: the ground is seen, or something before it, or what covers it in all photographs, or nobody knows."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from neus_ns.data.ground.atlas import LEAST_SHARE, Agreed

OPEN, GROUND, OBJECT, COVERED = 0, 1, 2, 3
# Levels of 255 within which a pixel shows the ground, and from which on something else; it is blurred in between.
_SAME, _OTHER = 10.0, 40.0
# Gaps of this share of the largest one's area are feet as well.
_FOOT_SHARE = 0.2
# Levels that ground and foot must differ by, and how much nearer to one of them a colour must be, to tell them apart.
_DISTINCT, _NEARER = 30.0, 0.7


class Colours:
    """The ground's colours: a range for each place, of it and its neighbours, since no pixel falls on one alone."""

    def __init__(
        self, agreed: Agreed, known: Bool[Tensor, " places"], covered: Bool[Tensor, " places"], side: int
    ) -> None:
        self.known, self.covered = known, covered
        square = agreed.colour.T.reshape(1, 3, side, side)
        there = known.view(1, 1, side, side)
        highest = F.max_pool2d(square.where(there, -torch.inf), 3, 1, 1)
        lowest = -F.max_pool2d(-square.where(there, torch.inf), 3, 1, 1)
        self.highest, self.lowest = (each.view(3, -1).T.contiguous() for each in (highest, lowest))

    def labels(self, place: Int64[Tensor, " pixels"], pixel: UInt8[Tensor, "pixels 3"]) -> UInt8[Tensor, " pixels"]:
        """What pixels show whose rays meet the ground at these places."""
        value = pixel.float()
        off = torch.maximum(self.lowest[place] - value, value - self.highest[place]).amax(-1)
        on_known = torch.where(off < _SAME, GROUND, torch.where(off > _OTHER, OBJECT, OPEN))
        return torch.where(self.known[place], on_known, self.covered[place] * COVERED).to(torch.uint8)


def by_majority(known: Bool[Tensor, " places"], agreed: Agreed, side: int, reach: int) -> Bool[Tensor, " places"]:
    """Places most of whose surroundings are known, where photographs agree at all: small gaps close, what is known here
    and there by chance goes, and the borders of what is large stay where they are."""
    along = torch.arange(-reach, reach + 1).float()
    disc = ((along[:, None].square() + along.square()) <= reach**2 + 0.5).float()[None, None]
    there = known.view(1, 1, side, side).float()
    count, most = F.conv2d(there, disc, padding=reach), F.conv2d(torch.ones_like(there), disc, padding=reach)
    return (count > 0.5 * most).view(-1) & (agreed.share > LEAST_SHARE)


def covered_places(
    known: Bool[Tensor, " places"], inside: Bool[Tensor, " places"], side: int
) -> Bool[Tensor, " places"]:
    """Where the object stands on the ground: the largest gap of what is known inside the region of interest, and others
    that are nearly as large, as of its several feet. Something else covers them in every photograph."""
    gaps = cv2.connectedComponents((inside & ~known).view(side, side).numpy().astype(np.uint8), connectivity=4)[1]
    sizes = np.bincount(gaps.ravel())
    sizes[0] = 0
    large = sizes >= max(_FOOT_SHARE * sizes.max(), 1)
    return torch.from_numpy(large[gaps]).view(-1)


def grown(marked: Bool[Tensor, "h w"], reach: int) -> Bool[Tensor, "h w"]:
    """These and all that lie in a square around them."""
    square = marked[None, None].float()
    # One way after the other, for a wide window would take long.
    for window in ((1, 2 * reach + 1), (2 * reach + 1, 1)):
        square = F.max_pool2d(square, window, 1, (window[0] // 2, window[1] // 2))
    return square[0, 0] > 0


def settled(
    known: Bool[Tensor, " places"], covered: Bool[Tensor, " places"], agreed: Agreed, side: int, reach: int
) -> tuple[Bool[Tensor, " places"], Bool[Tensor, " places"]]:
    """Known and covered places with the border between them moved to where colours change, up to so many places away.

    What is nearer in colour to the ground about there is ground, and to what covers it, covered; where the two look
    alike, or a place like neither, nothing is known.
    """
    wider, narrower = (grown(each.view(side, side), reach).view(-1) for each in (covered, ~covered))
    known_core, covered_core = known & ~wider, ~narrower
    border = wider & ~covered_core
    ground, foot = (_colour_about(each, agreed, side, 3 * reach) for each in (known_core, covered_core))
    to_ground, to_foot = ((agreed.colour - each).abs().amax(-1) for each in (ground, foot))
    # Without any about there both distances are not numbers, and nothing is less than they are.
    apart = (ground - foot).abs().amax(-1) > _DISTINCT
    known_there, covered_there = (near < _NEARER * far for near, far in ((to_ground, to_foot), (to_foot, to_ground)))
    return known_core | (border & apart & known_there), covered_core | (border & apart & covered_there)


def _colour_about(places: Bool[Tensor, " places"], agreed: Agreed, side: int, reach: int) -> Float[Tensor, "places 3"]:
    """Mean colour of those of these places that are near; not a number where there are none."""
    there = places.view(1, 1, side, side).float()
    square = torch.cat([agreed.colour.T.reshape(1, 3, side, side) * there, there], 1)
    for across in ((1, 2 * reach + 1), (2 * reach + 1, 1)):
        square = F.avg_pool2d(square, across, 1, (across[0] // 2, across[1] // 2))
    total, count = square.view(4, -1).split([3, 1])
    return (total / count.where(count > 0, torch.nan)).T
