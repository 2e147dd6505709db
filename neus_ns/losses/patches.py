"""How far patches of several photographs disagree about the surface that they show (Geo-NeuS, eq. 11-14)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Disagreement (one minus correlation) from which on a patch is rather hidden, glossy or far from the surface than a
# little off: it pulls half as hard there, and ever less beyond.
_DOUBT = 0.5
# Grey levels of 255 between two patches from which on they are as likely as not of different things.
_ANOTHER_GREY = 6.0
# A patch with fewer sources than this to be compared with is left out: one agrees by chance.
LEAST_SOURCES = 2
# Correlation that a patch of texture loses when it is a pixel off: one that loses so much counts half, one that loses
# less ever less. What is left of it is shading, which agrees anywhere, and sheen, which pulls to where nothing is.
_LEAST_LOSS = 0.02
# Contrast right at its middle, in grey levels of 255, at which a patch counts half.
_LEAST_CONTRAST = 4.0


@dataclass(frozen=True)
class Agreement:
    """Correlation of patches with others, how it changes with each pixel of these, the spread of both, and how much
    darker or brighter the one is than the other, in grey levels."""

    correlation: Float[Tensor, "patches sources"]
    by_source: Float[Tensor, "patches sources pixels"]
    reference_variance: Float[Tensor, "patches sources"]
    source_variance: Float[Tensor, "patches sources"]
    apart: Float[Tensor, "patches sources"]


def agreement(
    reference: Float[Tensor, "patches pixels"],
    source: Float[Tensor, "patches sources pixels"],
    counts: Bool[Tensor, "patches sources pixels"],
) -> Agreement:
    """Normalised cross-correlation over the pixels that count, in [-1, 1]; 0 where either is of one colour.

    Gain and offset of a photograph change nothing. A negative of a patch is its opposite, not its like.
    """
    weight = counts.to(source.dtype)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1)
    r_mean, s_mean = ((weight * value).sum(-1, keepdim=True) for value in (reference[:, None], source))
    r, s = reference[:, None] - r_mean, source - s_mean
    weighted = weight * s
    r_variance, s_variance = (weight * r * r).sum(-1), (weighted * s).sum(-1)
    # A millionth of a grey level squared: no picture has that, but a flat patch must not divide by zero.
    scale = torch.rsqrt((r_variance * s_variance).clamp_min(1e-6))
    correlation = (weighted * r).sum(-1) * scale
    ratio = correlation / s_variance.clamp_min(1e-6)
    by_source = weight * (r * scale[..., None] - s * ratio[..., None])
    return Agreement(correlation, by_source, r_variance, s_variance, (r_mean - s_mean)[..., 0].abs())


def loss_when_off(
    source: Float[Tensor, "patches sources pixels"],
    change: Float[Tensor, "patches sources pixels"],
    counts: Bool[Tensor, "patches sources pixels"],
) -> Float[Tensor, "patches sources"]:
    """Correlation that patches in perfect agreement would lose if the source's pixels changed by `change`, to second
    order: half of the part of it that neither gain nor offset explains, squared, over the source's variance."""
    weight = counts.to(source.dtype)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1)
    s, moved = (value - (weight * value).sum(-1, keepdim=True) for value in (source, change))
    variance = (weight * s * s).sum(-1).clamp_min(1e-6)
    moved = moved - s * ((weight * moved * s).sum(-1) / variance)[..., None]
    return 0.5 * (weight * moved * moved).sum(-1) / variance


def how_telling(loss: Float[Tensor, "patches sources"]) -> Float[Tensor, "patches sources"]:
    """How much a patch counts that would lose so much correlation if it were a pixel off, from 0 to 1."""
    square = loss.square()
    return square / (square + _LEAST_LOSS**2)


def how_much_of_its_middle(middle: Float[Tensor, "patches pixels"]) -> Float[Tensor, " patches"]:
    """How much a patch tells of its middle, from 0 to 1, given the pixels there.

    Where these are plain, what agrees is an edge beside them, as like as not of a nearer surface, and the plain one
    would be pulled up to it (what stereo calls foreground fattening).
    """
    variance = middle.var(-1, correction=0)
    return variance / (variance + _LEAST_CONTRAST**2)


@dataclass(frozen=True)
class PatchCosts:
    """One minus the correlation of each patch with each source, how it changes with depth, how many grey levels apart
    the two are, how much it tells of that depth (from 0 to 1), and whether it counts at all."""

    cost: Float[Tensor, "patches sources"]
    by_t: Float[Tensor, "patches sources"]
    apart: Float[Tensor, "patches sources"]
    telling: Float[Tensor, "patches sources"]
    valid: Bool[Tensor, "patches sources"]


@dataclass(frozen=True)
class Judged:
    """Each patch beside the few sources that agree most with it, means over these: see `PatchCosts`; and whether they
    are enough to judge it."""

    cost: Float[Tensor, " patches"]
    by_t: Float[Tensor, " patches"]
    apart: Float[Tensor, " patches"]
    telling: Float[Tensor, " patches"]
    used: Bool[Tensor, " patches"]

    @property
    def doubt(self) -> Float[Tensor, " patches"]:
        """How surely photographs show different things, 0 to 1: a patch that is a pixel off still agrees, and texture
        finer than a pixel agrees with nothing, but is as dark or bright everywhere."""
        pattern, grey = (self.cost / _DOUBT) ** 8, (self.apart / _ANOTHER_GREY) ** 4
        return pattern / (pattern + 1) * grey / (grey + 1)


def judged(costs: PatchCosts, best: int) -> Judged:
    """Patches by the `best` sources that agree most: one from which the point is hidden agrees least."""
    ranked = torch.where(costs.valid, costs.cost, torch.inf)
    _, which = ranked.topk(min(best, ranked.shape[1]), dim=1, largest=False)
    counts = costs.valid.gather(1, which)
    number = counts.sum(1)
    share = counts / number.clamp_min(1)[:, None]

    def mean(of_sources: Float[Tensor, "patches sources"]) -> Float[Tensor, " patches"]:
        return (share * torch.where(counts, of_sources.gather(1, which), 0.0)).sum(1)

    of_each = (costs.cost, costs.by_t, costs.apart, costs.telling)
    return Judged(*map(mean, of_each), used=number >= LEAST_SOURCES)


def disagreement(found: Judged, t: Float[Tensor, " patches"]) -> Float[Tensor, ""]:
    """Mean disagreement of patches as a function of depth t.

    The value is that of the costs; its gradient flows to t alone, by the known derivative. Bounded by Geman and
    McClure's shape. Zero if nothing counts.
    """
    penalty = found.telling * _DOUBT * found.cost / (found.cost + _DOUBT)
    slope = found.telling * found.by_t * (_DOUBT / (found.cost + _DOUBT)) ** 2
    return _mean_along(penalty, slope, found, t)


def standing_refuted(
    found: Judged, refuted: Float[Tensor, " patches"], t: Float[Tensor, " patches"]
) -> Float[Tensor, ""]:
    """Mean of how far patches disagree where all do, as a function of depth t: it falls by as much as the surface is
    farther away. Behind it may be what they show, however far; a slope says only which way that is."""
    standing = found.telling * found.doubt * refuted
    return _mean_along(standing, -standing, found, t)


def _mean_along(
    value: Float[Tensor, " patches"], slope: Float[Tensor, " patches"], found: Judged, t: Float[Tensor, " patches"]
) -> Float[Tensor, ""]:
    """Mean over the patches that count of a value with a slope in t."""
    return torch.where(found.used, value + slope * (t - t.detach()), 0.0).sum() / found.used.sum().clamp_min(1)
