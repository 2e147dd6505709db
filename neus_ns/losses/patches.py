"""How far patches of several photographs disagree about the surface that they show (Geo-NeuS, eq. 11-14)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Disagreement (one minus correlation) from which on a patch is rather hidden, glossy or far from the surface than a
# little off: it pulls half as hard there, and ever less beyond.
_DOUBT = 0.5
# A patch with fewer sources than this to be compared with is left out: one agrees by chance.
_LEAST_SOURCES = 2
# Correlation that a patch of texture loses when it is a pixel off: one that loses so much counts half, one that loses
# less ever less. What is left of it is shading, which agrees anywhere, and sheen, which pulls to where nothing is.
_LEAST_LOSS = 0.02
# Contrast right at its middle, in grey levels of 255, at which a patch counts half.
_LEAST_CONTRAST = 4.0


@dataclass(frozen=True)
class Agreement:
    """Correlation of patches with others, how it changes with each pixel of these, and the spread of both."""

    correlation: Float[Tensor, "patches sources"]
    by_source: Float[Tensor, "patches sources pixels"]
    reference_variance: Float[Tensor, "patches sources"]
    source_variance: Float[Tensor, "patches sources"]


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
    r, s = (value - (weight * value).sum(-1, keepdim=True) for value in (reference[:, None], source))
    weighted = weight * s
    r_variance, s_variance = (weight * r * r).sum(-1), (weighted * s).sum(-1)
    # A millionth of a grey level squared: no picture has that, but a flat patch must not divide by zero.
    scale = torch.rsqrt((r_variance * s_variance).clamp_min(1e-6))
    correlation = (weighted * r).sum(-1) * scale
    ratio = correlation / s_variance.clamp_min(1e-6)
    by_source = weight * (r * scale[..., None] - s * ratio[..., None])
    return Agreement(correlation, by_source, r_variance, s_variance)


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
    """One minus the correlation of each patch with each source, how it changes with depth, how much it tells of that
    depth (from 0 to 1), and whether it counts at all."""

    cost: Float[Tensor, "patches sources"]
    by_t: Float[Tensor, "patches sources"]
    telling: Float[Tensor, "patches sources"]
    valid: Bool[Tensor, "patches sources"]


def disagreement(
    costs: PatchCosts, t: Float[Tensor, " patches"], best: int
) -> tuple[Float[Tensor, ""], Bool[Tensor, " patches"]]:
    """Mean disagreement of patches with the `best` sources that agree most, as a function of depth t; which count.

    A source from which the point is hidden agrees least and is not among the best. The value is that of the costs; its
    gradient flows to t alone, by the known derivative. Bounded by Geman and McClure's shape. Zero if nothing counts.
    """
    ranked = torch.where(costs.valid, costs.cost, torch.inf)
    best = min(best, ranked.shape[1])
    least, which = ranked.topk(best, dim=1, largest=False)
    counts = costs.valid.gather(1, which)
    number = counts.sum(1)
    used = number >= _LEAST_SOURCES
    share = counts / number.clamp_min(1)[:, None]
    cost = (share * torch.where(counts, least, 0.0)).sum(1)
    by_t = (share * torch.where(counts, costs.by_t.gather(1, which), 0.0)).sum(1)
    telling = (share * torch.where(counts, costs.telling.gather(1, which), 0.0)).sum(1)
    penalty = telling * _DOUBT * cost / (cost + _DOUBT)
    slope = telling * by_t * (_DOUBT / (cost + _DOUBT)) ** 2
    along = torch.where(used, penalty + slope * (t - t.detach()), 0.0)
    return along.sum() / used.sum().clamp_min(1), used
