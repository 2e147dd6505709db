"""Laws of the trainer, through nerfstudio's real loop: resuming is no pause, the clock ends a run, NaN never wins."""

import dataclasses
import os
import signal
from collections.abc import Iterator

import pytest
import torch
import tyro
import yaml
from nerfstudio.configs import base_config  # noqa: F401  nerfstudio's writer can only be imported after it
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.utils import writer

from neus_ns.errors import InputError
from neus_ns.training.checkpoints import checkpoints_in
from neus_ns.training.schedules import warmup_cosine
from neus_ns.training.trainer import SurfaceTrainerConfig
from tests.training_fake import FakePipeline, fake_config, set_up, trained


def checkpoint_steps(trainer) -> list[int]:
    return [int(path.name[5:-5]) for path in checkpoints_in(trainer.checkpoint_dir)]


def rate(trainer) -> float:
    return trainer.optimizers.optimizers["fields"].param_groups[0]["lr"]


def test_a_resumed_run_is_the_run_without_a_pause(tmp_path):
    whole = trained(fake_config(tmp_path / "a", steps_per_save=5, save_only_latest_checkpoint=False))
    assert checkpoint_steps(whole) == [5, 10, 11]
    resumed_config = fake_config(tmp_path / "b", load_dir=whole.base_dir, load_step=5)
    resumed = trained(resumed_config, seed=99)
    assert resumed.pipeline.losses == whole.pipeline.losses[6:]
    assert torch.equal(resumed.pipeline.weights, whole.pipeline.weights)
    assert checkpoint_steps(resumed) == [11]


def test_a_killed_run_loses_at_most_what_came_after_the_last_save(tmp_path, monkeypatch):
    whole = trained(fake_config(tmp_path / "a"))
    config = fake_config(tmp_path / "b", minutes_per_save=0.0)
    killed = set_up(config)
    inner = killed.pipeline.get_train_loss_dict

    def killed_at_step_8(step):
        if step == 8:
            raise KeyboardInterrupt
        return inner(step=step)

    killed.pipeline.get_train_loss_dict = killed_at_step_8
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    assert checkpoint_steps(killed) == [7]
    resumed = trained(fake_config(tmp_path / "c", load_dir=killed.checkpoint_dir), seed=99)
    assert resumed.pipeline.losses == whole.pipeline.losses[8:]


@pytest.fixture
def in_the_foreground() -> Iterator[None]:
    """Tests may run in the background, where Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_foreground")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_asked_to_stop_saves_its_last_step_and_says_how_to_go_on(tmp_path, capsys, number, code):
    whole = trained(fake_config(tmp_path / "a"))
    stopped, handlers = set_up(fake_config(tmp_path / "b")), [signal.getsignal(number)]
    inner = stopped.pipeline.get_train_loss_dict

    def asked_at_step_8(step):
        if step == 8:
            os.kill(os.getpid(), number)
        return inner(step=step)

    stopped.pipeline.get_train_loss_dict = asked_at_step_8
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        stopped.train()
    assert end.value.code == code and checkpoint_steps(stopped) == [8]
    said = capsys.readouterr().out
    assert f"Stopped by {number.name} after step 8" in said and f"--load-dir {stopped.checkpoint_dir}" in said
    assert "Finished" not in said and [signal.getsignal(number)] == handlers
    resumed = trained(fake_config(tmp_path / "c", load_dir=stopped.checkpoint_dir), seed=99)
    assert resumed.pipeline.losses == whole.pipeline.losses[9:]


@pytest.mark.usefixtures("in_the_foreground")
def test_who_asks_twice_is_obeyed_at_once(tmp_path):
    stopped = set_up(fake_config(tmp_path))

    def asked_twice(step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")

    stopped.pipeline.get_train_loss_dict = asked_twice
    with pytest.raises(KeyboardInterrupt):
        stopped.train()


def test_who_is_told_to_ignore_signals_does(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trainer = set_up(fake_config(tmp_path))
        inner = trainer.pipeline.get_train_loss_dict
        trainer.pipeline.get_train_loss_dict = lambda step: (os.kill(os.getpid(), signal.SIGINT), inner(step=step))[1]
        trainer.train()
    finally:
        signal.signal(signal.SIGINT, before)
    assert checkpoint_steps(trainer) == [11]


@pytest.mark.usefixtures("in_the_foreground")
def test_what_is_finished_no_longer_listens(tmp_path):
    trainer, seen = set_up(fake_config(tmp_path)), []
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def look(step: int) -> None:
        seen.append([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)])

    at = TrainingCallbackLocation
    trainer.callbacks.append(TrainingCallback([at.AFTER_TRAIN_ITERATION, at.AFTER_TRAIN], look))
    trainer.train()
    assert len(seen) == 13 and seen[-1] == handlers and all(each != handlers for each in seen[:-1])


def test_a_resumed_run_trains_by_the_options_of_now(tmp_path):
    first = trained(fake_config(tmp_path / "a", max_num_iterations=4))
    config = fake_config(tmp_path / "b", load_dir=first.base_dir)
    config.optimizers["fields"]["optimizer"].eps, config.optimizers["fields"]["optimizer"].weight_decay = 1e-3, 0.5
    resumed = set_up(config)
    (group,) = resumed.optimizers.optimizers["fields"].param_groups
    assert group["eps"] == 1e-3 and group["weight_decay"] == 0.5
    assert all(int(each["step"]) == 4 for each in resumed.optimizers.optimizers["fields"].state.values())


def test_the_checkpoint_holds_tensors_and_plain_values_only(tmp_path):
    trainer = trained(fake_config(tmp_path))
    path = checkpoints_in(trainer.checkpoint_dir)[-1]
    state = torch.load(path, weights_only=True)
    assert {"step", "pipeline", "optimizers", "schedulers", "scalers"} <= set(state)
    assert state["step"] == 11 and float(state["pipeline"]["progress"]) == 1.0
    assert torch.equal(state["pipeline"]["_extra_state"]["momentum"], trainer.pipeline.momentum)
    assert state["clock"]["seconds"] > 0.0


def test_resuming_a_finished_run_ends_at_once(tmp_path, capsys):
    first = trained(fake_config(tmp_path / "a"))
    again = trained(fake_config(tmp_path / "b", load_dir=first.base_dir))
    assert again.pipeline.losses == [] and checkpoint_steps(again) == [11]
    assert torch.equal(again.pipeline.weights, first.pipeline.weights)
    assert "already finished at step 11" in capsys.readouterr().out


def test_a_longer_limit_trains_only_the_difference(tmp_path):
    first = trained(fake_config(tmp_path / "a"))
    longer = trained(fake_config(tmp_path / "b", load_dir=first.base_dir, max_num_iterations=20))
    assert len(longer.pipeline.losses) == 8 and checkpoint_steps(longer) == [19]


def test_progress_and_rates_follow_the_share_of_iterations(tmp_path):
    trainer = set_up(fake_config(tmp_path, max_num_iterations=10))
    rates = []
    inner = trainer.pipeline.get_train_loss_dict

    def noting_the_rate(step):
        rates.append(rate(trainer))
        return inner(step=step)

    trainer.pipeline.get_train_loss_dict = noting_the_rate
    trainer.train()
    assert trainer.pipeline.progress_seen == pytest.approx([step / 10 for step in range(11)])
    assert rates == pytest.approx([0.05 * warmup_cosine(step / 10, 0.2, 0.05) for step in range(10)])
    assert rate(trainer) == pytest.approx(0.05 * 0.05)


def test_a_run_by_minutes_ends_by_itself_with_every_schedule_at_its_end(tmp_path):
    trainer = trained(fake_config(tmp_path, max_num_iterations=3, max_minutes=0.01))
    seen = trainer.pipeline.progress_seen
    assert len(trainer.pipeline.losses) > 3
    assert seen[0] < 0.1 and seen == sorted(seen) and seen[-1] == 1.0
    assert rate(trainer) == pytest.approx(0.05 * 0.05)
    assert trainer.clock.seconds >= 0.6
    # The label is the last step that was executed.
    assert checkpoint_steps(trainer) == [len(trainer.pipeline.losses) - 1]


def test_minutes_already_trained_count_in_a_resumed_run(tmp_path):
    first = trained(fake_config(tmp_path / "a", max_minutes=0.005))
    again = trained(fake_config(tmp_path / "b", max_minutes=0.005, load_dir=first.base_dir))
    assert again.pipeline.losses == []


def test_a_pause_in_the_viewer_stops_the_clock(tmp_path):
    trainer = set_up(fake_config(tmp_path))
    trainer.clock.start()
    trainer.training_state = "paused"
    paused_at = trainer.clock.seconds
    assert trainer.clock.seconds == paused_at
    trainer.training_state = "training"
    assert trainer.clock.seconds > paused_at


def test_a_bad_loss_ends_in_one_sentence_and_changes_nothing(tmp_path, capsys):
    trainer = set_up(fake_config(tmp_path, steps_per_save=4, bad_step=6))
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 1
    last_line = capsys.readouterr().out.strip().splitlines()[-1]
    assert "stopped at step 6 because the loss 'prior' became NaN or infinite" in last_line
    assert "step-000000004.ckpt" in last_line and checkpoint_steps(trainer) == [4]
    good = trained(fake_config(tmp_path / "good", max_num_iterations=12, minutes_per_save=0.0))
    assert torch.isfinite(trainer.pipeline.weights).all()
    assert trainer.pipeline.losses[:6] == good.pipeline.losses[:6]


def test_bad_weights_are_never_saved(tmp_path):
    trainer = set_up(fake_config(tmp_path, minutes_per_save=0.0))
    inner = trainer.pipeline.get_train_loss_dict

    def breaking_a_weight(step):
        result = inner(step=step)
        if step == 5:
            # A finite loss whose gradient is not.
            trainer.pipeline.weights.register_hook(lambda gradient: gradient * float("inf"))
        return result

    trainer.pipeline.get_train_loss_dict = breaking_a_weight
    with pytest.raises(SystemExit):
        trainer.train()
    assert checkpoint_steps(trainer) == [4]


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"max_minutes": -1.0}, "--max-minutes is -1.0"),
        ({"max_num_iterations": 0}, "--max-num-iterations is 0"),
        ({"mixed_precision": True}, "--mixed-precision would round"),
        ({"mean_half_life": 2.0}, "--mean-half-life is 2.0"),
        ({"load_dir": "nowhere"}, "There is no checkpoint in"),
        ({"load_checkpoint": "nothing.ckpt"}, "nothing.ckpt does not exist"),
    ],
)
def test_bad_settings_end_in_one_sentence(tmp_path, capsys, settings, sentence):
    settings = {name: tmp_path / value if isinstance(value, str) else value for name, value in settings.items()}
    with pytest.raises(SystemExit) as ended:
        set_up(fake_config(tmp_path, **settings))
    assert ended.value.code == 1 and sentence in capsys.readouterr().out


def test_a_device_without_numbers_of_64_bits_is_refused(tmp_path):
    config = fake_config(tmp_path)
    config.check()
    config.machine.device_type = "mps"
    with pytest.raises(InputError, match="mps knows no numbers of 64 bits, .* take cpu"):
        config.check()


def test_bad_input_found_by_the_pipeline_ends_in_one_sentence(tmp_path, capsys, monkeypatch):
    def refuse(self):
        raise InputError("The photograph [a].png is empty: export it again.")

    monkeypatch.setattr(FakePipeline, "get_param_groups", refuse)
    with pytest.raises(SystemExit):
        set_up(fake_config(tmp_path))
    assert "The photograph [a].png is empty: export it again." in capsys.readouterr().out


def test_a_checkpoint_of_other_settings_is_refused_in_a_sentence(tmp_path, capsys, monkeypatch):
    first = trained(fake_config(tmp_path / "a"))
    config = fake_config(tmp_path / "b", load_dir=first.base_dir)
    monkeypatch.setattr(
        FakePipeline,
        "get_param_groups",
        lambda self: {"fields": [self.weights, torch.nn.Parameter(self.weights.clone())]},
    )
    with pytest.raises(SystemExit):
        set_up(config)
    assert "does not fit these settings" in capsys.readouterr().out


def test_a_checkpoint_of_another_method_or_without_a_part_is_refused_by_name(tmp_path, capsys, monkeypatch):
    first = trained(fake_config(tmp_path / "a"))
    config = fake_config(tmp_path / "b", load_dir=first.base_dir)
    config.method_name = "another"
    with pytest.raises(SystemExit):
        set_up(config)
    assert "was trained with fake, not another: resume with that method." in capsys.readouterr().out
    monkeypatch.setattr(
        FakePipeline, "get_param_groups", lambda self: {"fields": [self.weights], "cameras": [self.weights]}
    )
    settings = fake_config(tmp_path / "c")
    settings.optimizers["cameras"] = settings.optimizers["fields"]
    second = trained(settings)
    monkeypatch.undo()
    with pytest.raises(SystemExit):
        set_up(fake_config(tmp_path / "d", load_dir=second.base_dir))
    assert "the parameters `cameras`, which these options leave out" in capsys.readouterr().out


def test_a_training_is_never_overwritten_by_another(tmp_path, capsys):
    first = trained(fake_config(tmp_path))
    content = checkpoints_in(first.checkpoint_dir)[-1].read_bytes()
    with pytest.raises(SystemExit):
        set_up(fake_config(tmp_path))
    said = capsys.readouterr().out
    assert f"{first.base_dir} already holds a training up to step 11" in said and "--timestamp" in said
    assert checkpoints_in(first.checkpoint_dir)[-1].read_bytes() == content


def test_a_run_resumed_in_its_own_folder_is_read_at_its_own_end(tmp_path):
    """By nerfstudio's tools, which go by config.yml, and by whoever looks for the newest checkpoint."""
    first = trained(fake_config(tmp_path, steps_per_save=5, save_only_latest_checkpoint=False))
    again = fake_config(
        tmp_path, load_dir=first.base_dir, load_step=5, max_num_iterations=8, save_only_latest_checkpoint=False
    )
    again.save_config()
    resumed = trained(again)
    assert checkpoint_steps(resumed) == [5, 7]
    assert [path.name for path in checkpoints_in(first.base_dir / "nerfstudio_models_left")] == [
        "step-000000010.ckpt",
        "step-000000011.ckpt",
    ]
    saved = yaml.load((first.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    assert saved.load_step is None and saved.load_dir is None and saved.load_checkpoint is None
    assert again.load_step == 5


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_sentence(tmp_path, capsys):
    first = trained(fake_config(tmp_path / "a", steps_per_save=5, save_only_latest_checkpoint=False))
    newest = checkpoints_in(first.checkpoint_dir)[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = trained(fake_config(tmp_path / "b", load_dir=first.base_dir))
    assert "step-000000011.ckpt; resuming from step-000000010.ckpt" in capsys.readouterr().out
    assert resumed.pipeline.losses == first.pipeline.losses[11:]


def test_options_are_on_the_command_line_and_in_the_saved_config(tmp_path):
    default = fake_config(tmp_path)
    config = tyro.cli(
        type(default),
        default=default,
        args=["--max-minutes", "5", "--optimizers.fields.scheduler.warmup", "0.3"],
    )
    assert config.max_minutes == 5.0 and config.optimizers["fields"]["scheduler"].warmup == 0.3
    assert dataclasses.asdict(yaml.load(yaml.dump(config), Loader=yaml.Loader)) == dataclasses.asdict(config)


def test_the_defaults_suit_the_machine_and_keep_the_viewer_private():
    config = SurfaceTrainerConfig()
    assert config.machine.device_type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert config.viewer.websocket_host == "127.0.0.1"


def test_the_console_estimates_the_last_step_of_a_run_by_minutes(tmp_path):
    trainer = trained(fake_config(tmp_path, max_minutes=0.002))
    assert writer.GLOBAL_BUFFER["max_iter"] == trainer.step == len(trainer.pipeline.losses) - 1
