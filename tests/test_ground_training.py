"""Trainings of an object without masks on a floor: that serves as masks, and is no part of the mesh."""

from pathlib import Path

import pytest
import torch
import trimesh

from neus_ns.data.ground.labels import COVERED, GROUND, OBJECT
from neus_ns.methods import neuralangelo_mask_sfm_config, neus_hash_config
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig, surface_pipeline
from neus_ns.surface.export import MeshOptions, export_surface
from neus_ns.training.trainer import SurfaceTrainer, SurfaceTrainerConfig
from tests.scenes import short_run
from tests.standing import FOOT, THICK, write_standing

METHODS = {"neus-hash": neus_hash_config, "neuralangelo-mask-sfm": neuralangelo_mask_sfm_config}


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("standing") / "capture"
    write_standing(folder)
    return folder


def small(capture: Path, output: Path, steps: int, method: str = "neuralangelo-mask-sfm") -> SurfaceTrainerConfig:
    config = METHODS[method]()
    pipeline = short_run(config, capture, output, steps)
    pipeline.model.sdf_field.levels, pipeline.model.sdf_field.log2_rows, pipeline.model.sdf_field.finest = 8, 13, 128
    pipeline.model.sampling.grid_resolution = 48
    pipeline.samples_per_step = 4000
    return config


def on_the_floor(capture: Path, output: Path, steps: int) -> SurfaceTrainerConfig:
    """For tests that bring a capture of their own: this one instead, beside it."""
    write_standing(capture.parent / "standing")
    return small(capture.parent / "standing", output, steps)


def pipeline_config(config: SurfaceTrainerConfig) -> SurfacePipelineConfig:
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    return config.pipeline


def set_up(config: SurfaceTrainerConfig) -> SurfaceTrainer:
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def pipeline_of(trainer: SurfaceTrainer) -> SurfacePipeline:
    return surface_pipeline(trainer.pipeline)


@pytest.mark.parametrize("method", METHODS)
def test_pixels_that_show_the_floor_serve_as_masks(capture, tmp_path, method):
    pipeline = pipeline_of(set_up(small(capture, tmp_path, 2, method)))
    model = pipeline.surface_model
    assert not model.has_masks and model.ground.known
    # As with masks: points pull, since those of the floor are left out, and what is plain is held from the start.
    assert model.points_weight == 3.0 and model.plain_times == (0.0, 0.4) and model.plain_weight == 20.0
    assert float(model.grid.allowed.float().mean()) < 0.25
    pipeline.train()
    _, batch = pipeline.datamanager.next_train(0)
    assert {GROUND, OBJECT, COVERED} <= set(batch["ground"].tolist())
    assert model.ground.covers
    pipeline.set_progress(0.31)
    assert not model.ground.covers
    pipeline.set_progress(0.0)
    losses = pipeline.get_train_loss_dict(0)[1]
    assert losses["mask"] > 0 and ("mask_mse" in losses) == (method == "neuralangelo-mask-sfm")
    # What is evaluated is compared with photographs as ever.
    assert "ground" not in pipeline.datamanager.next_eval(0)[1]


@pytest.mark.parametrize(
    "without", ["asked", "in a wide world", "exposures differ", "poses are wrong", "all is black", "no points"]
)
def test_there_is_no_ground_where_it_is_not_asked_for_or_cannot_be_told(capture, tmp_path, without):
    folder = capture
    if without == "no points":
        folder = tmp_path / "bare"
        write_standing(folder)
        (folder / "sparse_pc.ply").unlink()
        text = (folder / "transforms.json").read_text(encoding="utf-8")
        text = text.replace('"ply_file_path": "sparse_pc.ply"', '"applied_scale": 1.0')
        (folder / "transforms.json").write_text(text, encoding="utf-8")
    config = small(folder, tmp_path / "out", 2)
    pipeline = pipeline_config(config)
    pipeline.ground = without != "asked"
    pipeline.model.scene_type = "unbounded" if without == "in a wide world" else "object"
    pipeline.model.background = "black" if without == "all is black" else "auto"
    pipeline.model.appearance_width = 4 if without == "exposures differ" else 0
    pipeline.model.cameras.optimise = without == "poses are wrong"
    made = pipeline_of(set_up(config))
    assert not made.surface_model.ground.known and made.datamanager.ground_labels is None
    made.train()
    assert "mask" not in made.get_train_loss_dict(0)[1]


def test_a_checkpoint_of_before_goes_on_without_ground(capture, tmp_path):
    pipeline = pipeline_of(set_up(small(capture, tmp_path, 2)))
    state = {f"module.{name}": value for name, value in pipeline.state_dict().items()}
    pipeline.load_pipeline(state, 1)
    assert pipeline.surface_model.ground.known and pipeline.datamanager.ground_labels is not None
    del state["module._model.ground.plane"]
    pipeline.load_pipeline(state, 1)
    assert not pipeline.surface_model.ground.known and pipeline.datamanager.ground_labels is None
    assert pipeline.surface_model.points_weight == 0.0


def test_resume_equals_no_pause(capture, tmp_path):
    """What is found of the ground is in no checkpoint but for its plane, and found again."""
    configs = [small(capture, tmp_path / name, 6) for name in ("whole", "first", "second")]
    configs[1].save_only_latest_checkpoint, configs[1].steps_per_save = False, 3
    configs[2].load_dir, configs[2].load_step = configs[1].get_checkpoint_dir(), 3
    for config in configs:
        config.pipeline.model.backend = "torch"  # pyright: ignore[reportAttributeAccessIssue]
    trainers = []
    for config in configs:
        trainers.append(set_up(config))
        trainers[-1].train()
    expected = pipeline_of(trainers[0]).state_dict()
    for name, value in pipeline_of(trainers[2]).state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)


def test_the_mesh_is_the_object_without_the_floor(capture, tmp_path):
    trainer = set_up(small(capture, tmp_path, 150))
    trainer.train()
    export_surface(
        pipeline_of(trainer).surface_source(), MeshOptions(resolution=64, colour=False), tmp_path / "mesh.ply"
    )
    mesh = trimesh.load(tmp_path / "mesh.ply", force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    low, high = mesh.bounds
    assert abs(low[:2]).max() < 1.2 * FOOT and abs(high[:2]).max() < 1.2 * FOOT
    # Nothing is known of its underside but that it is not far below the floor: a cell of the occupancy grid.
    assert low[2] > -0.1 and high[2] == pytest.approx(THICK + 0.5, abs=0.08)
    # The plain foot is there, though any colours on the floor would look like it.
    foot = mesh.vertices[(abs(mesh.vertices[:, 2] - THICK) < 0.03)]
    reach = (foot[:, 0] ** 2 + foot[:, 1] ** 2) ** 0.5
    assert len(foot) > 100 and reach.max() > 0.9 * FOOT
