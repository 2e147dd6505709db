"""On CUDA the host works ahead of the device: a training step asks it for no number that it would have to wait for.

Without a device the operations that would wait are looked for on the CPU: reads of a tensor's value, and results whose
size depends on values.
"""

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import neus_ns
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.kernels.room import LateNumber, Room, enough
from neus_ns.models.gloss import GlossWatch
from neus_ns.models.patch_witness import PatchWitness
from neus_ns.models.sample_level import SampleLevel
from neus_ns.rays import sight
from neus_ns.training.trainer import SurfaceTrainerConfig
from tests.scenes import tiny_capture
from tests.test_ground_training import on_the_floor
from tests.test_neuralangelo import model_config
from tests.test_neuralangelo import tiny_config as tiny_witness_config
from tests.test_neus_hash import tiny_config

pytest.importorskip("warp")

WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::equal"}
# Tensors that live on the host whatever the device: the scene's frame, a random number that decides a size, the clock
# of a strategy. The guard looks at the losses of many steps together on CUDA.
ON_THE_HOST = {"data/frame.py", "pixels/redistribute.py", "pixels/running_error.py:keep_up", "training/guard.py"}


class Waits(TorchDispatchMode):
    """Notes where in the package each operation that would wait was called."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        chosen = args[1] if name.startswith("aten::index") and len(args) > 1 else ()
        chosen = chosen if isinstance(chosen, (list, tuple)) else (chosen,)
        by_mask = any(isinstance(each, Tensor) and each.dtype == torch.bool for each in chosen)
        if name in WAITING or by_mask:
            root = Path(neus_ns.__file__).parent
            ours = [frame for frame in traceback.extract_stack() if root in Path(frame.filename).parents]
            file = str(Path(ours[-1].filename).relative_to(root)) if ours else "elsewhere"
            here = f"{file}:{ours[-1].name}" if ours else file
            if not {file, here} & ON_THE_HOST:
                self.places.add(here)
        return func(*args, **(kwargs or {}))


MakeConfig = Callable[[Path, Path, int], SurfaceTrainerConfig]


def witness_config(capture: Path, output: Path, steps: int) -> SurfaceTrainerConfig:
    """neuralangelo-mask-sfm as it is by default, patches compared and refuted."""
    config = tiny_witness_config(capture, output, steps)
    model = model_config(config)
    model.schedule.analytic_from, model.schedule.carve_until, model.patches.side = 0.0, 1.0, 3
    return config


def train_with_one_step_in(
    watch: AbstractContextManager[object],
    folder: Path,
    device: Literal["cpu", "cuda"],
    make: MakeConfig = tiny_config,
    masks: bool = True,
    bent: bool = False,
) -> None:
    """A short training with a step in its middle, and its losses' way back, under watch; `bent`: through a lens that
    distorts."""
    tiny_capture(folder / "ball", size=32, views=8, masks=masks)
    path = folder / "ball" / "transforms.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps(meta | ({"camera_model": "OPENCV", "k1": 0.02, "p2": 1e-3} if bent else {})))
    config = make(folder / "ball", folder, 12)
    config.pipeline.model.backend = "warp"  # pyright: ignore[reportAttributeAccessIssue]
    config.machine.device_type = device
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    step_as_it_is = trainer.train_iteration

    def watched(step: int):
        if step != 9:
            return step_as_it_is(step)
        with watch:
            return step_as_it_is(step)

    trainer.train_iteration = watched
    trainer.train()


def waits_of_a_step(folder: Path, make: MakeConfig = tiny_config, masks: bool = True, bent: bool = False) -> set[str]:
    """Where a step in the middle of a training would wait."""
    waits = Waits()
    train_with_one_step_in(waits, folder, "cpu", make, masks, bent)
    return waits.places


def as_on_cuda(monkeypatch) -> None:
    """What these do there, where what is at hand is a few steps old and nothing is picked out."""
    monkeypatch.setattr(Room, "sections", lambda self, needed, rays, most: enough(12.0, rays, most))
    monkeypatch.setattr(LateNumber, "note", lambda self, number: setattr(self, "latest", 4.0))
    monkeypatch.setattr(sight, "picked", lambda mask: slice(None))


def test_a_training_step_waits_for_no_number(tmp_path, monkeypatch):
    as_on_cuda(monkeypatch)
    assert waits_of_a_step(tmp_path) == set()


def test_nor_does_one_through_a_lens_that_distorts(tmp_path, monkeypatch):
    as_on_cuda(monkeypatch)
    assert waits_of_a_step(tmp_path, bent=True) == set()


def test_nor_does_one_that_draws_points_which_its_photographs_see(tmp_path, monkeypatch):
    as_on_cuda(monkeypatch)
    drawn: list[int] = []
    draw = SfmTracks.draw_seen_by
    monkeypatch.setattr(SfmTracks, "draw_seen_by", lambda *a: (drawn.append(len((found := draw(*a))[1])), found)[1])

    def early(capture: Path, output: Path, steps: int) -> SurfaceTrainerConfig:
        config = witness_config(capture, output, steps)
        model_config(config).schedule.points_until = 1.0
        return config

    assert waits_of_a_step(tmp_path, early) == set() and min(drawn) > 0


@pytest.mark.parametrize("masks", [True, False])
def test_nor_does_one_that_compares_patches(tmp_path, monkeypatch, masks: bool):
    as_on_cuda(monkeypatch)
    monkeypatch.setattr(GlossWatch, "mirrors", property(lambda self: False))
    compared: list[int] = []
    costs = PatchWitness.costs
    monkeypatch.setattr(PatchWitness, "costs", lambda self, held: (compared.append(len(held.t)), costs(self, held))[1])
    assert waits_of_a_step(tmp_path, witness_config, masks) == set() and min(compared) > 0


def test_nor_does_one_of_an_object_on_the_floor(tmp_path, monkeypatch):
    as_on_cuda(monkeypatch)
    assert waits_of_a_step(tmp_path, on_the_floor, masks=False) == set()


def test_on_the_cpu_reading_costs_nothing_and_is_done_in_one_room(tmp_path):
    places = waits_of_a_step(tmp_path)
    assert places and {place.partition(":")[0] for place in places} == {"kernels/room.py"}


@contextmanager
def waiting_refused() -> Iterator[None]:
    """An error where the host would wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_training_step_on_a_device_waits_for_nothing(tmp_path):
    train_with_one_step_in(waiting_refused(), tmp_path, "cuda")


def test_rays_follow_so_that_their_samples_stay_level():
    level = SampleLevel(samples_per_step=1200, max_rays=500)
    assert level.rays(64) == 64 and level.samples(64) is None
    for _ in range(60):
        level.hear(torch.tensor(10.0 * 64), 64)
    assert level.per_ray == pytest.approx(10) and level.rays(64) == 128 and level.samples(128) == 1200
    for _ in range(200):
        level.hear(torch.tensor(4.0 * 128), 128)
    assert level.rays(128) == pytest.approx(300, abs=1) and level.samples(300) == 1200
    for _ in range(200):
        level.hear(torch.tensor(1.5 * 300), 300)
    # The most rays do not come to so many samples: none are made up.
    assert level.rays(300) == 500 and level.samples(500) == 750
    level.hear(torch.tensor(float("nan")), 300)
    assert level.rays(300) == 500 and level.samples(500) == 750
    # A share of a step's samples, as if it were a smaller step.
    level = SampleLevel(samples_per_step=1200, max_rays=500)
    level.hear(torch.tensor(640.0), 64)
    level.share = 0.5
    assert level.rays(64) == 128 and level.samples(50) == 500 and level.samples(100) == 600
    own = SampleLevel(samples_per_step=0, max_rays=500)
    own.hear(torch.tensor(640.0), 64)
    assert own.rays(2000) == 2000 and own.samples(2000) == 20_000
