"""Laws of the optimizers: the fused update is Adam, refusals fall back, and rates follow progress."""

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers

from neus_ns.training.learning_rate import ProgressSchedulerConfig
from neus_ns.training.optimizers import FusedAdamConfig, FusedAdamWConfig
from neus_ns.training.schedules import warmup_cosine


def adam_by_hand(start: torch.Tensor, gradients: torch.Tensor, config: FusedAdamConfig, decoupled: bool):
    """Adam of Kingma and Ba, one step a row of gradients, in float64."""
    value, mean, square = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for count, gradient in enumerate(gradients, start=1):
        if decoupled:
            value = value * (1.0 - config.lr * config.weight_decay)
        else:
            gradient = gradient + config.weight_decay * value
        mean = config.betas[0] * mean + (1.0 - config.betas[0]) * gradient
        square = config.betas[1] * square + (1.0 - config.betas[1]) * gradient**2
        corrected = (square / (1.0 - config.betas[1] ** count)).sqrt() + config.eps
        value = value - config.lr * mean / (1.0 - config.betas[0] ** count) / corrected
    return value


@pytest.mark.parametrize("kind", [FusedAdamConfig, FusedAdamWConfig])
def test_the_fused_update_is_adam(kind):
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(7, dtype=torch.float64, generator=generator)
    gradients = torch.randn(5, 7, dtype=torch.float64, generator=generator)
    config = kind(lr=0.1, weight_decay=0.3)
    value = torch.nn.Parameter(start.clone())
    optimizer = config.setup([value])
    assert optimizer.defaults["fused"]
    for gradient in gradients:
        value.grad = gradient.clone()
        optimizer.step()
    expected = adam_by_hand(start, gradients, config, decoupled=kind is FusedAdamWConfig)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-10, atol=1e-12)


def test_where_torch_has_no_fused_kernel_the_plain_update_serves():
    value = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = FusedAdamConfig(lr=0.1).setup(iter([value]))
    value.grad = torch.ones_like(value)
    optimizer.step()
    assert not optimizer.defaults["fused"] and not torch.equal(value.detach(), torch.ones_like(value))


@pytest.mark.parametrize("keep", [False, True])
def test_gradients_are_kept_in_place_on_request(keep):
    value = torch.nn.Parameter(torch.ones(3))
    optimizer = FusedAdamConfig(keep_gradients=keep).setup([value])
    gradient = torch.full((3,), 2.0)
    value.grad = gradient
    optimizer.zero_grad()
    if keep:
        assert value.grad is gradient and not gradient.any()
    else:
        assert value.grad is None


def test_rates_follow_progress_and_not_the_count_of_steps():
    value = torch.nn.Parameter(torch.ones(1))
    scheduler_config = ProgressSchedulerConfig(warmup=0.1, final_ratio=0.2, shape="cosine")
    optimizers = Optimizers(
        {"fields": {"optimizer": FusedAdamConfig(lr=0.5), "scheduler": scheduler_config}}, {"fields": [value]}
    )
    scheduler = optimizers.schedulers["fields"]
    for progress in (0.0, 0.05, 0.1, 0.7, 1.0):
        scheduler.set_progress(progress)
        optimizers.scheduler_step_all(step=0)
        optimizers.scheduler_step_all(step=1)
        assert scheduler.get_last_lr() == [pytest.approx(0.5 * warmup_cosine(progress, 0.1, 0.2))]
        assert optimizers.optimizers["fields"].param_groups[0]["lr"] == scheduler.get_last_lr()[0]
    assert scheduler.get_last_lr() == [pytest.approx(0.1)]


def test_a_loaded_scheduler_gives_the_rate_of_its_progress():
    def scheduler():
        optimizer = FusedAdamConfig(lr=0.5).setup([torch.nn.Parameter(torch.ones(1))])
        return ProgressSchedulerConfig(shape="exponential").setup().get_scheduler(optimizer=optimizer, lr_init=0.5)

    first, second = scheduler(), scheduler()
    first.set_progress(0.4)
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == first.get_last_lr()
