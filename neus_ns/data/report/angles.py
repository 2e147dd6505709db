"""From how different directions the photographs were taken, as seen from the middle of the scene."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class Angles:
    """In degrees. `neighbour` is the median angle between a view and the next one to it; `widest` that between the two
    views furthest apart; `gap` the widest step that must be taken to get from some view to all others by the shortest
    steps there are."""

    neighbour: float
    widest: float
    gap: float


def view_angles(centres: Float[ndarray, "views 3"], middle: Float[ndarray, "3"]) -> Angles | None:
    """The angles between views as seen from `middle`; None for fewer than two views that stand apart from it.

    One pass of Prim's algorithm meets every pair of views and needs no table of them.
    """
    offsets = centres - middle
    lengths = np.linalg.norm(offsets, axis=1)
    directions = offsets[lengths > 0] / lengths[lengths > 0, None]
    count = len(directions)
    if count < 2:
        return None
    to_tree = np.full(count, np.inf)
    outside = np.ones(count, dtype=bool)
    nearest = np.full(count, np.inf)
    widest, gap, current = 0.0, 0.0, 0
    for _ in range(count):
        outside[current] = False
        # Chords resolve the small angles that cosines in floating point lose.
        chords = np.linalg.norm(directions - directions[current], axis=1)
        widest = max(widest, float(chords.max()))
        chords[current] = np.inf
        nearest[current] = chords.min()
        to_tree = np.minimum(to_tree, chords)
        if outside.any():
            current = int(np.where(outside, to_tree, np.inf).argmin())
            gap = max(gap, float(to_tree[current]))
    return Angles(_degrees(float(np.median(nearest))), _degrees(widest), _degrees(gap))


def _degrees(chord: float) -> float:
    return float(np.degrees(2 * np.arcsin(min(1.0, chord / 2))))
