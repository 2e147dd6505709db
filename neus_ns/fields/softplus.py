"""The distance network's activation, kept clear of numbers that processors are slow at.

    softplus_beta(a) = log(1 + exp(beta a)) / beta,      sigma = its derivative = sigmoid(beta a)

Far below zero both run into numbers too small for an exponent of their own (denormals), at which a processor takes some
hundred cycles each: the activation took five times as long as without them, a whole training step an eighth longer.
They count for nothing, so no unit sinks deeper than where its sigma is the rounding of 1.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def awake(before: Tensor, beta: float) -> Tensor:
    """What goes into the activation, in place: no lower than where sigma is the rounding of 1."""
    return before.clamp_min_(math.log(torch.finfo(before.dtype).eps) / beta)


def softplus(before: Tensor, beta: float) -> Tensor:
    """The activation, of a tensor that nobody else wants any more."""
    return F.softplus(awake(before, beta), beta=beta)
