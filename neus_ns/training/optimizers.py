"""Adam and AdamW with torch's fused update: one pass over parameter, gradient and moments, on CPU and CUDA."""

import functools
from dataclasses import dataclass

import torch
from nerfstudio.engine.optimizers import OptimizerConfig


def has_fused_adam(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch has a fused Adam for such parameters, found by one step of a single number.

    torch offers no question to ask: by version it refuses when the optimizer is made or at its first step.
    """
    probe = torch.nn.Parameter(torch.zeros(1, device=device, dtype=dtype))
    probe.grad = torch.zeros_like(probe)
    try:
        torch.optim.Adam([probe], fused=True).step()
    except RuntimeError:
        return False
    return True


@dataclass
class FusedAdamConfig(OptimizerConfig):
    """Adam with torch's fused update."""

    _target: type = torch.optim.Adam
    """The optimizer class to use."""
    eps: float = 1e-15
    """The epsilon value to use; tiny, so that rarely touched table rows still move."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the running means of the gradient and of its square."""
    weight_decay: float = 0.0
    """The weight decay to use."""
    keep_gradients: bool = False
    """Zero gradients in place instead of freeing them, for layers that scatter straight into the gradient."""

    def setup(self, params) -> torch.optim.Optimizer:
        """The optimizer, fused where torch can; elsewhere the plain update computes the same, more slowly."""
        params = list(params)
        kinds = {(param.device, param.dtype) for param in params}
        optimizer = self._target(
            params,
            lr=self.lr,
            eps=self.eps,
            betas=self.betas,
            weight_decay=self.weight_decay,
            fused=all(has_fused_adam(device, dtype) for device, dtype in kinds) or None,
        )
        if self.keep_gradients:
            optimizer.zero_grad = functools.partial(optimizer.zero_grad, set_to_none=False)
        return optimizer


@dataclass
class FusedAdamWConfig(FusedAdamConfig):
    """AdamW (weight decay apart from the moments) with torch's fused update."""

    _target: type = torch.optim.AdamW
    """The optimizer class to use."""
