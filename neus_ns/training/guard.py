"""The guard against NaN and infinity: a run that diverges stops at once and never overwrites a good checkpoint."""

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class DivergedError(RuntimeError):
    """Training produced NaN or infinity. `step` is the first bad one, `culprits` names the losses or parameters."""

    def __init__(self, step: int, culprits: list[str]) -> None:
        self.step = step
        self.culprits = culprits
        super().__init__(f"Step {step}: {', '.join(culprits)} became NaN or infinite.")


class LossGuard:
    """Looks at the loss terms of every step, `every` steps at a time.

    Asking a CUDA tensor for its value makes the host wait for the device. So the terms are only kept (a few scalars a
    step) and `every` steps of them are looked at together: one wait, and no work at all on the steps between. With
    `every=1` a bad loss is caught before its backward pass.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._unseen: list[tuple[int, dict[str, Tensor]]] = []

    def watching(self, get_loss_dict: Callable) -> Callable:
        """Wrap a pipeline's `get_train_loss_dict(step)`, the one seam between the losses and their backward pass."""

        @functools.wraps(get_loss_dict)
        def watched(step: int):
            outputs, loss_dict, metrics_dict = get_loss_dict(step=step)
            self._unseen.append((step, {name: term.detach() for name, term in loss_dict.items()}))
            if len(self._unseen) >= self.every:
                self.check()
            return outputs, loss_dict, metrics_dict

        return watched

    def check(self) -> None:
        """Look at every loss not yet looked at; raises DivergedError for the first bad step."""
        unseen, self._unseen = self._unseen, []
        values = [term.float().reshape(()) for _, terms in unseen for term in terms.values()]
        if not values or bool(torch.isfinite(torch.stack(values)).all()):
            return
        for step, terms in unseen:
            culprits = [f"the loss '{name}'" for name, term in terms.items() if not bool(torch.isfinite(term))]
            if culprits:
                raise DivergedError(step, culprits)


def check_parameters(named_parameters: Iterable[tuple[str, Tensor]], step: int) -> None:
    """Raise DivergedError if a parameter is not finite: a finite loss can still have had an infinite gradient."""
    named_parameters = list(named_parameters)
    if named_parameters and not bool(torch.stack([torch.isfinite(value).all() for _, value in named_parameters]).all()):
        culprits = [f"the parameter '{name}'" for name, value in named_parameters if not bool(value.isfinite().all())]
        raise DivergedError(step, culprits)
