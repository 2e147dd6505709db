"""What a run writes for TensorBoard, read back from its event file."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neus_ns.cli.bench.run import end_log
from neus_ns.methods import neuralangelo_mask_sfm_config, neus_hash_config
from neus_ns.models.neuralangelo import NeuralangeloModel, NeuralangeloModelConfig
from neus_ns.models.pipeline import surface_pipeline
from tests.scenes import short_run, tiny_capture

STEPS = 12


@pytest.fixture
def no_other_logs():
    """nerfstudio keeps the logs of earlier runs of a process open."""
    end_log()
    yield
    end_log()


def logged(folder: Path, method: str) -> tuple[dict[str, list[float]], NeuralangeloModel | None]:
    """Every scalar of a tiny run, by its tag, at all steps."""
    tiny_capture(folder / "ball", size=24, views=5)
    config = neus_hash_config() if method == "neus-hash" else neuralangelo_mask_sfm_config()
    pipeline = short_run(config, folder / "ball", folder, STEPS)
    config.logging.steps_per_log = 1
    model = pipeline.model
    if isinstance(model, NeuralangeloModelConfig):
        # Taps bring the curvature.
        model.schedule.analytic_from = None
    model.backend = "torch"
    model.sdf_field.levels, model.sdf_field.log2_rows, model.sdf_field.finest = 6, 10, 32
    model.sampling.grid_resolution, model.sampling.steps = 16, 24
    pipeline.samples_per_step = 400
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    end_log()
    events = EventAccumulator(str(config.get_base_dir()))
    events.Reload()
    scalars = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    trained = surface_pipeline(trainer.pipeline).surface_model
    return scalars, trained if isinstance(trained, NeuralangeloModel) else None


def test_everything_that_changes_in_the_flagship_is_in_the_event_file(tmp_path: Path, no_other_logs) -> None:
    scalars, model = logged(tmp_path, "neuralangelo-mask-sfm")
    assert model is not None
    losses, metrics = "Train Loss Dict", "Train Metrics Dict"
    always = {"colour", "eikonal", "mask", "mask_mse", "free_space", "smooth"}
    for name in always:
        assert len(scalars[f"{losses}/{name}"]) == len(scalars[f"{metrics}/{name}_term"]) == STEPS
    # A weight is there at all steps, at those where it is zero as well; its term is not.
    for name in always | {"sfm", "curvature", "patches"}:
        assert len(scalars[f"{metrics}/{name}_weight"]) == STEPS, name
    sfm = scalars[f"{metrics}/sfm_weight"]
    assert sfm[0] == pytest.approx(model.points_weight) and sfm[-1] == 0.0 and sfm == sorted(sfm, reverse=True)
    assert len(scalars[f"{metrics}/sfm_term"]) == sum(weight > 0 for weight in sfm)
    curvature = scalars[f"{metrics}/curvature_weight"]
    assert curvature[0] == 0.0 and curvature[1] == pytest.approx(model.config.weights.curvature)
    resolutions = model.sdf_network.grid.layout.resolutions
    assert curvature[-1] == pytest.approx(curvature[1] * resolutions[3] / resolutions[5])

    levels = scalars[f"{metrics}/active_levels"]
    assert levels[0] == 4 and levels[-1] == 6
    expected = [2 / resolutions[int(level) - 1] for level in levels]
    assert scalars[f"{metrics}/tap_step"] == pytest.approx(expected)
    assert scalars[f"{metrics}/inv_s"][0] == pytest.approx(20.0, rel=0.05)
    assert len(scalars[f"{metrics}/inv_s"]) == STEPS


def test_neus_hash_logs_its_terms_and_weights_too(tmp_path: Path, no_other_logs) -> None:
    scalars, _ = logged(tmp_path, "neus-hash")
    for name in ("colour", "eikonal", "mask", "free_space", "smooth"):
        weight, term = (scalars[f"Train Metrics Dict/{name}_{kind}"] for kind in ("weight", "term"))
        for factor, value, loss in zip(weight, term, scalars[f"Train Loss Dict/{name}"], strict=True):
            assert factor * value == pytest.approx(loss, rel=1e-4, abs=1e-7)
    assert scalars["Train Metrics Dict/points_weight"][0] == 3.0
