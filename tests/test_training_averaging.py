"""Laws of the mean over the end of a training: it is that of a slow loop, resumes, and is what a finished run keeps."""

import pytest
import torch
from nerfstudio.configs import base_config  # noqa: F401  nerfstudio's writer can only be imported after it
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation

from neus_ns.training.averaging import ParameterMean
from neus_ns.training.checkpoints import checkpoints_in, read_checkpoint
from tests.training_fake import fake_config, set_up, trained


def slow_mean(seen: list[tuple[float, torch.Tensor]], half_life: float) -> torch.Tensor:
    """By the weight of each moment; the first stands for all that was before it."""
    shares = [share for share, _ in seen]
    faded = [0.5 ** ((shares[-1] - share) / half_life) for share in shares]
    weights = [faded[0]] + [now - before for before, now in zip(faded, faded[1:], strict=False)]
    assert sum(weights) == pytest.approx(1.0)
    return torch.stack([weight * value.double() for weight, (_, value) in zip(weights, seen, strict=True)]).sum(0)


def walk(steps: int) -> tuple[torch.nn.Parameter, list[tuple[float, torch.Tensor]], ParameterMean]:
    """Random parameters through a training of so many steps, and what the mean is to have heard of them."""
    parameter = torch.nn.Parameter(torch.zeros(5))
    mean, heard, last = ParameterMean({"fields": [parameter]}, 0.05), [], 0.0
    for step in range(1, steps + 1):
        with torch.no_grad():
            parameter.copy_(torch.randn(5))
        mean.hear(step / steps)
        if step / steps >= max(0.8, last + 0.001):
            last = step / steps
            heard.append((last, parameter.detach().clone()))
    return parameter, heard, mean


@pytest.mark.parametrize("steps", [50, 700, 4000])
def test_it_is_the_mean_of_a_slow_loop_and_costs_as_much_for_any_number_of_steps(steps):
    parameter, heard, mean = walk(steps)
    assert len(heard) <= 201
    mean.take_over()
    torch.testing.assert_close(parameter.detach().double(), slow_mean(heard, 0.05), atol=1e-5, rtol=1e-5)


def test_what_stands_still_stays_as_it_is():
    parameter = torch.nn.Parameter(torch.randn(5))
    before, mean = parameter.detach().clone(), ParameterMean({"fields": [parameter]}, 0.05)
    for step in range(100):
        mean.hear((step + 1) / 100)
    mean.take_over()
    assert torch.equal(parameter.detach(), before) and mean.state_dict() == {"means": {}, "heard_at": 0.0}


def test_nothing_is_kept_before_the_end_or_where_none_is_wanted():
    parameter = torch.nn.Parameter(torch.randn(5))
    wanted, not_wanted = (ParameterMean({"fields": [parameter]}, half_life) for half_life in (0.05, 0.0))
    wanted.hear(0.79)
    not_wanted.hear(1.0)
    assert not wanted.means and not not_wanted.means


def test_a_run_that_is_given_more_time_forgets_what_was_to_be_its_end():
    parameter = torch.nn.Parameter(torch.zeros(5))
    mean = ParameterMean({"fields": [parameter]}, 0.05)
    mean.hear(0.95)
    with torch.no_grad():
        parameter.fill_(1.0)
    mean.hear(0.1)
    mean.hear(0.96)
    mean.take_over()
    assert torch.equal(parameter.detach(), torch.ones(5))


def test_a_finished_run_keeps_the_mean_and_whoever_looks_after_the_last_step_sees_it(tmp_path):
    trainer, history, at_the_end = set_up(fake_config(tmp_path, max_num_iterations=40)), [], []
    weights = trainer.pipeline.weights
    after = [TrainingCallbackLocation.AFTER_TRAIN_ITERATION]
    for place, kept in ((0, history), (len(trainer.callbacks) + 1, at_the_end)):
        keep = TrainingCallback(after, lambda step, kept=kept: kept.append(weights.detach().clone()))
        trainer.callbacks.insert(place, keep)
    trainer.train()
    seen = [((step + 1) / 40, value) for step, value in enumerate(history) if (step + 1) / 40 >= 0.8]
    expected = slow_mean(seen, trainer.config.mean_half_life)
    torch.testing.assert_close(weights.detach().double(), expected, atol=1e-6, rtol=1e-5)
    assert not torch.equal(weights, history[-1]) and torch.equal(at_the_end[-1], weights)
    assert torch.equal(at_the_end[-2], history[-2])
    saved = read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1])
    assert torch.equal(saved["pipeline"]["weights"], weights)


def test_without_it_a_run_ends_with_its_last_step(tmp_path):
    plain = trained(fake_config(tmp_path / "a", max_num_iterations=40, mean_half_life=0.0))
    with_mean = trained(fake_config(tmp_path / "b", max_num_iterations=40))
    assert plain.pipeline.losses == with_mean.pipeline.losses
    assert not torch.equal(plain.pipeline.weights, with_mean.pipeline.weights)


def test_a_run_resumed_near_its_end_comes_to_the_same_mean(tmp_path):
    options = {"max_num_iterations": 40, "steps_per_save": 5, "save_only_latest_checkpoint": False}
    whole = trained(fake_config(tmp_path / "a", **options))
    for step in (30, 35):
        again = fake_config(tmp_path / str(step), load_dir=whole.base_dir, load_step=step, max_num_iterations=40)
        assert torch.equal(trained(again, seed=99).pipeline.weights, whole.pipeline.weights)


def test_a_run_resumed_without_it_ends_with_its_last_step(tmp_path):
    options = {"max_num_iterations": 40, "mean_half_life": 0.0}
    plain = trained(fake_config(tmp_path / "a", **options))
    stopped = fake_config(tmp_path / "b", max_num_iterations=40, steps_per_save=35, save_only_latest_checkpoint=False)
    resumed = fake_config(tmp_path / "c", load_dir=trained(stopped).base_dir, load_step=35, **options)
    assert torch.equal(trained(resumed, seed=99).pipeline.weights, plain.pipeline.weights)
