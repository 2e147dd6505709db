"""A field that gives no numbers any more ends the training in a sentence, whatever runs the kernels."""

import math
from pathlib import Path

import pytest
import torch

from neus_ns.models.pipeline import surface_pipeline
from neus_ns.training.guard import DivergedError
from neus_ns.training.trainer import SurfaceTrainer
from tests.scenes import tiny_capture
from tests.test_neus_hash import tiny_config

SPOILT_AT = 6


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ball")
    tiny_capture(folder, size=24, views=6, masks=False)
    return folder


def spoil(trainer: SurfaceTrainer, parameter: str) -> None:
    """An infinite gradient of a finite loss, as far as what comes after is concerned."""
    field = surface_pipeline(trainer.pipeline).surface_model.field
    with torch.no_grad():
        field.get_parameter(parameter).view(-1)[0] = math.nan


@pytest.mark.parametrize("backend", ["warp", "torch"])
@pytest.mark.parametrize("parameter", ["sdf_network.hidden.weight", "sdf_network.output.bias", "sharpness.v"])
def test_a_parameter_that_is_no_number_ends_the_training_in_a_sentence(
    capture: Path, tmp_path: Path, backend: str, parameter: str
):
    if backend == "warp":
        pytest.importorskip("warp")
    config = tiny_config(capture, tmp_path, 10)
    config.pipeline.model.backend = backend  # pyright: ignore[reportAttributeAccessIssue]
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    step_as_it_is = trainer.train_iteration

    def spoilt(step: int):
        if step == SPOILT_AT:
            spoil(trainer, parameter)
        return step_as_it_is(step)

    trainer.train_iteration = spoilt
    with pytest.raises(SystemExit) as end:
        trainer.train()
    cause = end.value.__cause__
    assert isinstance(cause, DivergedError) and cause.step == SPOILT_AT
