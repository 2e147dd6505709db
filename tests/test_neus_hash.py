"""neus-hash as a whole, on a tiny ball: it trains, resumes, renders, and answers in nerfstudio's terms."""

import itertools
from pathlib import Path
from typing import get_args

import pytest
import torch

from neus_ns.data.frame import SceneFrame, similarity, transform_points
from neus_ns.data.region import SceneType
from neus_ns.errors import InputError
from neus_ns.losses.geometric import normal_variation
from neus_ns.losses.photometric import colour_l1, even_contrast
from neus_ns.methods import neus_hash_config
from neus_ns.models.loss_weights import LossWeights
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig, surface_pipeline
from neus_ns.models.scene_type import SuitedWeights, background_for, suited_weights
from neus_ns.training.trainer import SurfaceTrainer, SurfaceTrainerConfig
from tests.scenes import Ball, one_view, seen_tracks, short_run, tiny_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> tuple[Path, Ball]:
    folder = tmp_path_factory.mktemp("ball")
    return folder, tiny_capture(folder, size=32, views=8)


@pytest.fixture(scope="module")
def bare_capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    tiny_capture(folder, size=32, views=6, masks=False)
    return folder


def pipeline_config(config: SurfaceTrainerConfig) -> SurfacePipelineConfig:
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    return config.pipeline


def tiny_config(capture: Path, output: Path, steps: int) -> SurfaceTrainerConfig:
    config = neus_hash_config()
    pipeline = short_run(config, capture, output, steps)
    model = pipeline.model
    model.backend = "torch"
    model.sdf_field.levels, model.sdf_field.log2_rows, model.sdf_field.finest = 6, 12, 64
    model.sampling.grid_resolution, model.sampling.steps = 24, 48
    pipeline.samples_per_step = 1500
    return config


def trained(config: SurfaceTrainerConfig) -> SurfaceTrainer:
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer


def pipeline_of(trainer: SurfaceTrainer) -> SurfacePipeline:
    return surface_pipeline(trainer.pipeline)


def test_a_known_ball_comes_back_in_world_units(capture, tmp_path):
    folder, ball = capture
    pipeline = pipeline_of(trained(tiny_config(folder, tmp_path, 150)))
    source = pipeline.surface_source()
    directions = torch.nn.functional.normalize(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    # Walk from the true centre outwards, in the world, and find where the distance changes sign.
    steps = torch.linspace(0.3, 1.7, 141) * ball.radius
    points_world = torch.tensor(ball.centre) + directions[:, None] * steps[:, None]
    points = transform_points(torch.linalg.inv(source.frame.world_from_unit), points_world)
    with torch.no_grad():
        outside = source.sdf_fn(points.reshape(-1, 3)).view(64, -1) > 0
    found = steps[outside.float().argmax(1)]
    assert abs(float(found.median()) - ball.radius) < 0.08 * ball.radius


def test_resume_equals_no_pause(capture, tmp_path):
    whole = pipeline_of(trained(tiny_config(capture[0], tmp_path / "whole", 12)))
    first = tiny_config(capture[0], tmp_path / "first", 12)
    first.save_only_latest_checkpoint, first.steps_per_save = False, 5
    trained(first)
    second = tiny_config(capture[0], tmp_path / "second", 12)
    second.load_dir, second.load_step = first.get_checkpoint_dir(), 5
    resumed = pipeline_of(trained(second))
    expected = whole.state_dict()
    for name, value in resumed.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)
    # With other cells the same table would be another surface.
    pipeline_config(second).model.sdf_field.coarsest = 8
    with pytest.raises(SystemExit) as end:
        trained(second)
    assert "trained with --pipeline.model.sdf-field.coarsest 16, not 8" in str(end.value.__cause__)


def test_checkpoints_hold_only_tensors_and_plain_values(capture, tmp_path):
    config = tiny_config(capture[0], tmp_path, 2)
    trained(config)
    (path,) = config.get_checkpoint_dir().glob("*.ckpt")
    state = torch.load(path, weights_only=True)
    assert state["step"] == 1
    assert state["pipeline"]["_model.progress"] == 1.0


def test_figures_of_a_photograph_do_not_hang_on_what_is_behind(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 3)))
    behind, figures = pipeline.surface_model.behind, []
    for background in ("white", "black", "random"):
        behind.background = background
        figures.append(pipeline.get_average_eval_image_metrics())
        _, loss, _ = pipeline.get_eval_loss_dict(3)
        figures[-1]["colour"] = float(loss["colour"])
    for other in figures[1:]:
        assert other["psnr"] == pytest.approx(figures[0]["psnr"], abs=1e-3)
        assert other["ssim"] == pytest.approx(figures[0]["ssim"], abs=1e-4)


def test_without_masks_there_is_a_learned_background_and_no_mask_loss(bare_capture, tmp_path):
    config = tiny_config(bare_capture, tmp_path, 3)
    pipeline_config(config).model.appearance_width = 4
    pipeline = pipeline_of(trained(config))
    pipeline.train()
    _, losses, _ = pipeline.get_train_loss_dict(3)
    assert set(losses) == {"colour", "eikonal", "smooth"}
    sum(losses.values(), torch.tensor(0.0)).backward()
    model = pipeline.surface_model
    assert model.behind.world is not None
    for parameter in (model.behind.world.grid.table, model.appearance.weight):
        assert parameter.grad is not None and parameter.grad.abs().max() > 0


def test_without_masks_errors_of_colour_count_as_they_are_unless_asked_for(bare_capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(bare_capture, tmp_path, 2)))
    model = pipeline.surface_model
    pipeline.train()
    bundle, batch = pipeline.datamanager.next_train(2)
    outputs = model(bundle)
    target, drawn = model.target_colour(outputs, batch), batch["pixel_weight"][:, 0]
    assert model.black is None
    for black in (None, 0.2):
        model.black = black
        everywhere = torch.ones_like(drawn)
        counting = drawn if black is None else drawn * even_contrast(batch["image"], everywhere, black)
        expected, _ = colour_l1(outputs["rgb"], target, counting)
        torch.testing.assert_close(model.get_loss_dict(outputs, batch)["colour"], expected)


def test_masks_reach_the_loss(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 2)))
    pipeline.train()
    _, losses, metrics = pipeline.get_train_loss_dict(2)
    assert set(losses) == {"colour", "eikonal", "smooth", "flat", "mask", "free_space"} and losses["mask"] > 0
    assert torch.isfinite(metrics["psnr"])


def test_training_listens_for_what_shines(capture, tmp_path, capsys):
    model = pipeline_of(trained(tiny_config(capture[0], tmp_path, 50))).surface_model
    assert capsys.readouterr().out.count("errors common to areas") == 1
    # Three steps a stretch, of whose pixels some show the ball.
    for _, photographs, itself, brightness in model.gloss.heard:
        assert photographs[1] > 0 and 0 < itself[0] < itself[1] and 0 < brightness[0] < brightness[1]
    assert model.field.colour_network.view_strength == 1.0
    model.set_progress(0.4)
    assert model.field.colour_network.view_strength == (0.0 if model.gloss.matt else pytest.approx(0.5))


def test_kernels_are_compiled_before_the_first_step_and_nobody_hears_of_it(capture, tmp_path):
    trainer = tiny_config(capture[0], tmp_path, 1).setup(local_rank=0, world_size=1)
    trainer.setup()
    pipeline = pipeline_of(trainer)
    manager, drawn = pipeline.datamanager, pipeline.drawn
    assert manager.train_count == 0 and manager.train_pixel_sampler is not None
    fresh = manager.config.pixel_sampler.setup(num_rays_per_batch=8)
    fresh.propose(manager.train_store, 8)
    assert torch.equal(manager.train_pixel_sampler.state_dict()["error"], fresh.state_dict()["error"])
    assert drawn is not None and not drawn.counts.any() and pipeline.surface_model.samples is None
    assert all(parameter.grad is None for parameter in pipeline.parameters())


def test_the_sampler_is_told_what_shines(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 1)))
    sampler, gloss = pipeline.datamanager.train_pixel_sampler, pipeline.surface_model.gloss
    assert sampler is not None
    for common, shines in ((0.05, False), (0.5, True)):
        # Products of errors and how many: of an area, of a photograph, of pixels with themselves; brightness squared.
        heard = torch.tensor([[common, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
        gloss.load_state_dict({"heard": heard.expand(2, 4, 2)})
        pipeline.set_progress(0.2)
        assert not sampler.shines
        pipeline.set_progress(0.4)
        assert sampler.shines is shines


def test_normals_are_told_how_plain_the_photograph_is_on_their_own_ray(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 20)))
    model = pipeline.surface_model
    pipeline.train()
    bundle, batch = pipeline.datamanager.next_train(20)
    outputs = model(bundle)
    off, samples = outputs["off_rays"], outputs["samples"]
    ray = samples.on_rays.sections.ray_index
    for row in range(0, len(off.ray_index), 50):
        same = (samples.gradient == off.gradient_on_rays[row]).all(1)
        assert off.ray_index[row] in ray[same]
    plain = torch.rand(len(batch["image"]), generator=torch.Generator().manual_seed(0))
    weight = model.config.weights.smooth * model.plain_weight
    expected = weight * normal_variation(off.gradient_on_rays, off.gradient_beside, plain[off.ray_index])
    torch.testing.assert_close(model.geometry_losses(outputs, batch | {"plain": plain})["flat"], expected)


def test_ever_more_counts_as_plain_while_the_hull_is_carved_and_nothing_behind_the_object(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 2)))
    pipeline.train()
    limits = []
    for progress in (0.0, 0.1, 0.3, 0.9):
        pipeline.set_progress(progress)
        batch, losses = pipeline.datamanager.next_train(2)[1], pipeline.get_train_loss_dict(2)[1]
        assert ("plain" in batch) is ("flat" in losses) is (progress > 0)
        limits.append(pipeline.datamanager.plain_limit)
    assert limits == pytest.approx([0.0, 1.0, 3.0, 4.0])
    assert (batch["plain"][batch["fg_mask"][:, 0] == 0] == 0).all()


def test_rooms_are_flattened_from_the_start_and_nobody_works_out_what_nobody_reads(bare_capture, tmp_path):
    limits: dict[SceneType, float] = {"indoor": 4.0, "object": 0.0}
    for scene_type, limit in limits.items():
        config = tiny_config(bare_capture, tmp_path / scene_type, 1)
        pipeline_config(config).model.scene_type = scene_type
        pipeline = pipeline_of(trained(config))
        for progress in (0.0, 0.9):
            pipeline.set_progress(progress)
            assert pipeline.datamanager.plain_limit == limit


def test_objects_without_masks_are_flattened_when_they_have_a_shape(bare_capture, tmp_path):
    config = tiny_config(bare_capture, tmp_path, 1)
    pipeline_config(config).model.weights.smooth_plain = 20.0
    pipeline = pipeline_of(trained(config))
    pipeline.train()
    for progress, limit in {0.0: 0.0, 0.2: 0.0, 0.275: 2.0, 0.35: 4.0, 0.9: 4.0}.items():
        pipeline.set_progress(progress)
        batch, losses = pipeline.datamanager.next_train(2)[1], pipeline.get_train_loss_dict(2)[1]
        assert pipeline.datamanager.plain_limit == pytest.approx(limit)
        assert ("plain" in batch) is ("flat" in losses) is (limit > 0)


def test_weights_are_as_the_user_says_or_as_suits_masks_and_rooms():
    for scene_type, has_masks in itertools.product(get_args(SceneType), (True, False)):
        found = suited_weights(scene_type, LossWeights(), has_masks)
        all_wanted = has_masks or scene_type == "indoor"
        assert found == (SuitedWeights(3.0, 20.0, 0.1) if all_wanted else SuitedWeights(0.0, 0.0, None))
        asked = suited_weights(scene_type, LossWeights(points=0.0, smooth_plain=7.0, black=0.0), has_masks)
        assert asked == SuitedWeights(points=0.0, smooth_plain=7.0, black=0.0)


def test_a_batch_of_evaluation_has_losses_too(capture, bare_capture, tmp_path):
    for name, folder in (("masks", capture[0]), ("bare", bare_capture)):
        config = tiny_config(folder, tmp_path / name, 2)
        config.steps_per_eval_batch = 1
        _, losses, _ = pipeline_of(trained(config)).get_eval_loss_dict(2)
        assert set(losses) == ({"colour", "mask"} if name == "masks" else {"colour"})
        assert all(torch.isfinite(value) for value in losses.values())


def test_evaluation_answers_in_nerfstudios_terms(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 60)))
    figures, pictures = pipeline.get_eval_image_metrics_and_images(0)
    assert {"psnr", "ssim"} <= set(figures)
    assert all(torch.isfinite(torch.tensor(float(value))) for value in figures.values())
    assert pictures["img"].shape == (32, 64, 3) and pictures["sdf_slice"].ndim == 3
    camera, _ = pipeline.datamanager.next_eval_image(0)
    pipeline.eval()
    outputs = pipeline.model.get_outputs_for_camera(camera)
    assert {"rgb", "depth", "normals", "accumulation", "behind"} == set(outputs)
    assert outputs["normals"].min() >= 0 and outputs["normals"].max() <= 1
    # Where the ray is opaque, the point at its depth lies on the surface: depth is in nerfstudio's units.
    bundle = camera.generate_rays(camera_indices=0, keep_shape=True)
    solid = outputs["accumulation"][..., 0] > 0.95
    points = (bundle.origins + bundle.directions * outputs["depth"])[solid]
    distance = pipeline.surface_model.field.forward_geonetwork(points)[:, 0]
    scale = pipeline.surface_model.field.frame.parser_units_per_unit
    assert solid.any() and (distance.abs().median() / scale) < 0.1


def test_backends_train_alike_and_read_each_others_checkpoints(capture, tmp_path):
    """The same losses to rounding, whichever kernels run; and a checkpoint of one renders the same on the other."""
    losses, pipelines = {}, {}
    for backend in ("torch", "warp"):
        config = tiny_config(capture[0], tmp_path / backend, 4)
        pipeline_config(config).model.backend = backend
        pipelines[backend] = pipeline_of(trained(config))
        assert pipelines[backend].surface_model.backends.encoding == backend
    torch_state = pipelines["torch"].state_dict()
    pipelines["warp"].load_pipeline(torch_state, 3)
    for backend, pipeline in pipelines.items():
        torch.manual_seed(5)
        pipeline.train()
        _, terms, _ = pipeline.get_train_loss_dict(4)
        losses[backend] = {name: float(value.detach()) for name, value in terms.items()}
    assert losses["warp"] == pytest.approx(losses["torch"], rel=2e-3, abs=1e-5)


def test_two_evaluations_of_one_photograph_agree(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 3)))
    pipeline.eval()
    camera = pipeline.datamanager.train_dataset.cameras[0:1]
    once, again = (pipeline.model.get_outputs_for_camera(camera)["rgb"] for _ in range(2))
    assert torch.equal(once, again)


def test_scene_type_decides_sign_and_background():
    assert background_for("object", "auto", True) == "random"
    assert background_for("object", "auto", False) == "learned"
    assert background_for("indoor", "auto", False) == "none"
    assert background_for("unbounded", "white", False) == "white"
    with pytest.raises(InputError, match="nothing to learn from"):
        background_for("object", "learned", True)


def test_indoor_starts_inside_out(bare_capture, tmp_path):
    config = tiny_config(bare_capture, tmp_path, 1)
    pipeline_config(config).model.scene_type = "indoor"
    model = pipeline_of(trained(config)).surface_model
    assert model.field.sdf_network.sdf(torch.zeros(1, 3)) > 0.5
    assert model.behind.background == "none"


@pytest.mark.parametrize("scene_type, indoors", [("indoor", True), ("object", False)])
def test_sightlines_speak_to_the_end_and_points_pull_only_indoors(scene_type, indoors, bare_capture, tmp_path):
    config = tiny_config(bare_capture, tmp_path, 1)
    pipeline_config(config).model.scene_type = scene_type
    pipeline = pipeline_of(trained(config))
    model, points = pipeline.surface_model, torch.tensor([[0.0, 0.0, -0.4], [0.1, 0.2, -0.4]])
    model.known_space.learn_points(seen_tracks(points), one_view(), torch.ones_like(model.grid.allowed))
    model.train()
    for progress, looks, pulls in ((0.2, True, indoors), (0.9, indoors, False)):
        pipeline.set_progress(progress)
        losses = pipeline.get_train_loss_dict(0)[1]
        assert ("free_space" in losses) == looks and ("points" in losses) == pulls


def test_the_frame_travels_with_the_field():
    frame = SceneFrame(similarity(2.0, torch.tensor([1.0, 2.0, 3.0])), similarity(5.0, torch.tensor([0.0, 1.0, 0.0])))
    points = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = transform_points(frame.world_from_unit, points)
    torch.testing.assert_close(transform_points(torch.linalg.inv(frame.world_from_unit), there), points)
    assert frame.world_units_per_unit == pytest.approx(10.0)
