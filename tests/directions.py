"""Directions for the tests of whatever depends on them."""

import torch
import torch.nn.functional as F
from torch import Tensor


def unit_vectors(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random ones, the same for the same seed."""
    draws = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return F.normalize(draws, dim=-1)
