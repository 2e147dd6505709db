"""Schedules: pure functions of training progress in [0, 1].

Every quantity that changes during a run (learning rates, loss weights, active levels, finite-difference steps) is one
of these functions of one number, so a run shortened to ten minutes goes through the same stages as a run of a day.
Progress outside [0, 1] counts as the nearer end. No state, no torch.
"""

import math

Number = float | int


def _clip(progress: Number) -> float:
    return min(max(float(progress), 0.0), 1.0)


def ramp(progress: Number, start: Number, end: Number) -> float:
    """0 until `start`, 1 from `end` on, a straight line between; a step at `start` when both are equal."""
    progress = _clip(progress)
    if progress >= end:
        return 1.0
    if progress <= start:
        return 0.0
    return (progress - start) / (end - start)


def exponential(progress: Number, first: Number, last: Number) -> float:
    """From `first` to `last` (both positive) by equal ratios in equal shares of the run."""
    return first * (last / first) ** _clip(progress)


def _after_warmup(progress: float, warmup: Number) -> float:
    """The share done of what follows the warm-up, in [0, 1]."""
    return 1.0 if warmup >= 1.0 else (progress - warmup) / (1.0 - warmup)


def warmup_cosine(progress: Number, warmup: Number, floor: Number) -> float:
    """A straight rise from 0 to 1 over the first `warmup` share of the run, then half a cosine down to `floor`."""
    progress = _clip(progress)
    if progress < warmup:
        return progress / warmup
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * _after_warmup(progress, warmup)))


def warmup_exponential(progress: Number, warmup: Number, last: Number) -> float:
    """A straight rise from 0 to 1 over the first `warmup` share of the run, then equal ratios down to `last`."""
    progress = _clip(progress)
    if progress < warmup:
        return progress / warmup
    return exponential(_after_warmup(progress, warmup), 1.0, last)
