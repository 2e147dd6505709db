"""The mean of the parameters over the end of a training, which a finished run keeps in place of its last step's.

However small its rate, Adam goes on stepping to and fro about the place where the loss is least, by what the last
batches happened to show. The mean of many steps lies nearer to that place than any of them (Polyak and Juditsky 1992).
"""

from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import Parameter

# Share of a training from which the mean is taken: the rendering is as sharp as it gets by then.
_FROM = 0.8
# Share of a training between two moments that are heard, so that the mean costs the same however many steps there are.
_APART = 0.001


class MeanState(TypedDict):
    """What a checkpoint remembers: the means in the order of their parameters, none before they begin."""

    means: dict[str, list[Tensor]]
    heard_at: float


class ParameterMean:
    """A running mean in which what was heard fades by half over `half_life` of a training; 0 keeps none."""

    def __init__(self, parameters: dict[str, list[Parameter]], half_life: float) -> None:
        self.parameters = parameters
        self.half_life = half_life
        self.means: dict[str, list[Tensor]] = {}
        self.heard_at = 0.0

    @torch.no_grad()
    def hear(self, progress: float) -> None:
        """Take in the parameters as they are after this share of the training, if it is time again."""
        if progress < self.heard_at:
            # The run was given more time than it had: its end, and so its mean, are yet to come.
            self._forget()
        if self.half_life == 0 or progress < max(_FROM, self.heard_at + _APART):
            return
        if not self.means:
            self.means = {name: [each.detach().clone() for each in group] for name, group in self.parameters.items()}
        kept = 0.5 ** ((progress - self.heard_at) / self.half_life)
        for name, group in self.parameters.items():
            for mean, parameter in zip(self.means[name], group, strict=True):
                mean.lerp_(parameter, 1.0 - kept)
        self.heard_at = progress

    @torch.no_grad()
    def take_over(self) -> None:
        """Put the means in the parameters' place, and forget them: longer training would begin anew."""
        for name, group in self.means.items():
            for parameter, mean in zip(self.parameters[name], group, strict=True):
                parameter.copy_(mean)
        self._forget()

    def _forget(self) -> None:
        self.means, self.heard_at = {}, 0.0

    def state_dict(self) -> MeanState:
        return {"means": self.means, "heard_at": self.heard_at}

    def load_state_dict(self, state: MeanState) -> None:
        """Go on from there, whatever device and type the means were saved with, if a mean is still wanted."""
        if self.half_life == 0:
            return
        self.heard_at = state["heard_at"]
        self.means = {
            name: [mean.to(each).reshape(each.shape) for mean, each in zip(group, self.parameters[name], strict=True)]
            for name, group in state["means"].items()
        }
