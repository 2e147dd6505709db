"""Laws of the checkpoint files: whole or absent, checked before believed, and readable without pickled classes."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from neus_ns.errors import InputError
from neus_ns.training.checkpoints import (
    KEYS,
    DamagedCheckpointError,
    checkpoint_folder,
    checkpoint_path,
    checkpoints_in,
    delete_other_checkpoints,
    newest_whole_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from neus_ns.training.guard import DivergedError, LossGuard, check_parameters
from neus_ns.training.random_state import random_state, restore_random_state


def some_state(step: int) -> dict:
    return {**dict.fromkeys(KEYS, {}), "step": step, "pipeline": {"weights": torch.full((50,), float(step))}}


def test_what_is_written_is_read_back(tmp_path):
    folder = tmp_path / "run" / "models"
    path = write_checkpoint(some_state(7), folder, 7)
    state = read_checkpoint(path)
    assert state["step"] == 7 and torch.equal(state["pipeline"]["weights"], torch.full((50,), 7.0))
    assert [each.name for each in folder.iterdir()] == ["step-000000007.ckpt"]
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["models"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_kill_while_writing_leaves_the_previous_checkpoint_and_nothing_else(tmp_path, monkeypatch, call):
    folder = tmp_path / "models"
    write_checkpoint(some_state(1), folder, 1)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, call, killed)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(some_state(2), folder, 2)
    # This is how nerfstudio's own loaders read the folder: every name must hold a number.
    assert [int(name[name.find("-") + 1 : name.find(".")]) for name in os.listdir(folder)] == [1]
    assert newest_whole_checkpoint(folder)[1]["step"] == 1
    write_checkpoint(some_state(2), folder, 2)
    assert newest_whole_checkpoint(folder)[1]["step"] == 2


def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    write_checkpoint(some_state(1), folder, 1)

    def full(state, file):
        file.write(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"step-000000002.ckpt could not be written .* MB free there: make room"):
        write_checkpoint(some_state(2), folder, 2)
    assert [each.name for each in tmp_path.iterdir()] == ["models"]
    assert newest_whole_checkpoint(folder)[1]["step"] == 1


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_one_bit_of_a_weight(content: bytes) -> bytes:
    place = content.index(np.full(50, 9.0, np.float32).tobytes()) + 3
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [truncate, flip_one_bit_of_a_weight, lambda _: b"", lambda _: b"no checkpoint"])
def test_a_damaged_newest_falls_back_to_the_newest_whole_one(tmp_path, damage):
    for step in (3, 5, 9):
        path = write_checkpoint(some_state(step), tmp_path / "models", step)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedCheckpointError, match="step-000000009"):
        read_checkpoint(path)
    found, state, damaged = newest_whole_checkpoint(tmp_path / "models")
    assert state["step"] == 5 and found.name == "step-000000005.ckpt" and damaged == [path]


def test_when_all_are_damaged_the_user_is_told(tmp_path):
    write_checkpoint(some_state(3), tmp_path / "models", 3).write_bytes(b"")
    with pytest.raises(InputError, match="Every checkpoint in .* is damaged"):
        newest_whole_checkpoint(tmp_path / "models")


def test_other_names_in_the_folder_are_ignored_and_left_alone(tmp_path):
    folder = tmp_path / "models"
    write_checkpoint(some_state(2), folder, 2)
    kept = write_checkpoint(some_state(1_000_000_010), folder, 1_000_000_010)
    for name in ("notes.txt", "step-x.ckpt", "step-000000099.ckpt.part", "best-000000001.ckpt"):
        (folder / name).write_text("mine")
    assert [path.name for path in checkpoints_in(folder)] == ["step-000000002.ckpt", "step-1000000010.ckpt"]
    delete_other_checkpoints(kept)
    assert len(list(folder.iterdir())) == 5 and kept.exists()


def test_the_run_folder_stands_for_its_checkpoint_folder(tmp_path):
    write_checkpoint(some_state(2), tmp_path / "run" / "models", 2)
    (tmp_path / "run" / "config.yml").write_text("")
    expected = tmp_path / "run" / "models"
    assert checkpoint_folder(tmp_path / "run", Path("models")) == expected
    assert checkpoint_folder(expected, Path("models")) == expected
    with pytest.raises(InputError, match="There is no checkpoint in"):
        checkpoint_folder(tmp_path, Path("models"))


@pytest.mark.parametrize("content", [{"step": 3}, {"model": os.path.join}, [1, 2]])
def test_a_file_of_another_program_is_refused_in_a_sentence(tmp_path, content):
    path = checkpoint_path(tmp_path, 3)
    torch.save(content, path)
    with pytest.raises(InputError, match="not a checkpoint of this package"):
        read_checkpoint(path)


def test_every_random_generator_goes_back():
    def draws():
        return random.gauss(0, 1), random.random(), np.random.randn(3).tolist(), torch.randn(3).tolist()

    draws()
    np.random.randn()
    random.gauss(0, 1)
    state = random_state()
    first = draws()
    restore_random_state(state)
    assert draws() == first


@pytest.mark.parametrize("every", [1, 4])
def test_the_guard_names_the_first_bad_step_and_terms(every):
    def get_loss_dict(step):
        bad = torch.tensor(float("inf")) if step >= 2 else torch.tensor(1.0)
        return {}, {"colour": torch.tensor([1.0]), "eikonal": bad, "mask": bad * 0.0}, {}

    guard = LossGuard(every)
    watched = guard.watching(get_loss_dict)
    with pytest.raises(DivergedError) as caught:
        for step in range(10):
            last = step
            watched(step=step)
    assert caught.value.step == 2 and caught.value.culprits == ["the loss 'eikonal'", "the loss 'mask'"]
    assert last == (2 if every == 1 else 3)


def test_bad_parameters_are_named():
    good, bad = torch.ones(2), torch.tensor([1.0, float("nan")])
    check_parameters([("table", good)], 5)
    with pytest.raises(DivergedError, match="Step 5: the parameter 'table'"):
        check_parameters([("net", good), ("table", bad)], 5)
