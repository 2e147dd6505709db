"""Which image of a structure-from-motion model is which photograph, by name."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Int
from torch import Tensor


def match_names(photographs: Sequence[Path], images: Sequence[str]) -> Int[Tensor, " photographs"]:
    """For each photograph the number of its image, -1 where there is none.

    Names agree if the file names do, or else if these do without their endings (photographs get converted). Where
    several images have the same file name in different folders, the one with most of the path in common is meant; where
    that leaves a doubt, none is, and the same holds where two photographs claim one image.
    """
    paths = [PurePosixPath(name.replace("\\", "/")) for name in images]
    by_name, by_stem = defaultdict(list), defaultdict(list)
    for number, path in enumerate(paths):
        by_name[path.name].append(number)
        by_stem[path.stem].append(number)
    claims: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for photograph, path in enumerate(photographs):
        candidates = by_name.get(path.name) or by_stem.get(path.stem, [])
        common = [_common_parents(path.parts, paths[number].parts) for number in candidates]
        if candidates and common.count(max(common)) == 1:
            best = max(common)
            claims[candidates[common.index(best)]].append((best, photograph))
    found = torch.full((len(photographs),), -1)
    for number, claimants in claims.items():
        claimants.sort(reverse=True)
        if len(claimants) == 1 or claimants[0][0] > claimants[1][0]:
            found[claimants[0][1]] = number
    return found


def _common_parents(photograph: tuple[str, ...], image: tuple[str, ...]) -> int:
    """How many folders, counted from the file upwards, two paths share."""
    count = 0
    for a, b in zip(reversed(photograph[:-1]), reversed(image[:-1]), strict=False):
        if a != b:
            break
        count += 1
    return count
