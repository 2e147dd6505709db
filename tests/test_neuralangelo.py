"""neuralangelo-mask-sfm as a whole, on a tiny ball, and the laws of what it adds to neus-hash."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import trimesh
from nerfstudio.configs.method_configs import all_methods

from neus_ns.cli.export import load_surface
from neus_ns.data.pixel_store import store_images
from neus_ns.data.region import SceneType
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.data.witness_pixels import on_mask_edge
from neus_ns.kernels.layout import GridLayout
from neus_ns.losses.geometric import curvature, inward, near_surface
from neus_ns.losses.photometric import colour_l1, even_contrast
from neus_ns.losses.silhouette import silhouette_bce, silhouette_mse
from neus_ns.methods import neuralangelo_mask_sfm_config
from neus_ns.models.gloss import CommonErrors
from neus_ns.models.neuralangelo import NeuralangeloModel, NeuralangeloModelConfig
from neus_ns.models.numerical_schedule import NumericalSchedule
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig, surface_pipeline
from neus_ns.models.scene_type import CARVE_WEIGHT, suited_carving
from neus_ns.models.seen_points import SeenSpace, point_noise
from neus_ns.pixels.base import PixelBatch
from neus_ns.surface.export import MeshOptions, export_surface
from neus_ns.training.trainer import SurfaceTrainer, SurfaceTrainerConfig
from tests.scenes import Ball, short_run, tiny_capture

LAYOUT = GridLayout(levels=6, features=2, log2_rows=10, coarsest=4, finest=64)


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> tuple[Path, Ball]:
    folder = tmp_path_factory.mktemp("ball")
    return folder, tiny_capture(folder, size=32, views=8)


def tiny_config(capture: Path, output: Path, steps: int) -> SurfaceTrainerConfig:
    config = neuralangelo_mask_sfm_config()
    pipeline = short_run(config, capture, output, steps)
    model = pipeline.model
    assert isinstance(model, NeuralangeloModelConfig)
    # Not the default, and more to go wrong.
    model.schedule.analytic_from = None
    model.backend = "torch"
    model.sdf_field.levels, model.sdf_field.log2_rows, model.sdf_field.finest = 6, 12, 64
    model.sampling.grid_resolution, model.sampling.steps = 24, 48
    pipeline.samples_per_step = 1500
    return config


def model_config(config: SurfaceTrainerConfig) -> NeuralangeloModelConfig:
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    assert isinstance(config.pipeline.model, NeuralangeloModelConfig)
    return config.pipeline.model


def trained(config: SurfaceTrainerConfig) -> SurfaceTrainer:
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer


def pipeline_of(trainer: SurfaceTrainer) -> SurfacePipeline:
    return surface_pipeline(trainer.pipeline)


def model_of(pipeline: SurfacePipeline) -> NeuralangeloModel:
    assert isinstance(pipeline.model, NeuralangeloModel)
    return pipeline.model


def views_around(count: int) -> Views:
    """Cameras two units from the origin along x, looking nowhere in particular: only where they stand matters."""
    poses = torch.eye(3, 4).repeat(count, 1, 1)
    poses[:, 0, 3] = 2.0
    size = torch.full((count,), 100.0)
    return Views(poses, size, size, size / 2, size / 2, size, size, masks=None)


def tracks_of(points: torch.Tensor, pairs: list[tuple[int, int]], length: list[int], error: list[float]) -> SfmTracks:
    view, point = torch.tensor(pairs).unbind(-1)
    return SfmTracks(points, torch.tensor(length), torch.tensor(error), view, point, view_count=3, source="a test")


def test_it_finds_the_ball_and_its_checkpoint_exports(capture, tmp_path, monkeypatch):
    folder, ball = capture
    config = tiny_config(folder, tmp_path, 60)
    trained(config)
    config.save_config()
    # As if this method were installed: an environment may have been made before it was there.
    monkeypatch.setitem(all_methods, config.method_name, neuralangelo_mask_sfm_config())
    source = load_surface(config.get_base_dir() / "config.yml")
    report = export_surface(source, MeshOptions(resolution=32, colour=False), tmp_path / "mesh.ply")
    assert report.faces > 300
    mesh = trimesh.load(tmp_path / "mesh.ply", force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    radii = torch.as_tensor(mesh.vertices.copy() - ball.centre).norm(dim=-1)
    assert abs(float(radii.median()) - ball.radius) < 0.1 * ball.radius


def test_resume_equals_no_pause(capture, tmp_path):
    whole = pipeline_of(trained(tiny_config(capture[0], tmp_path / "whole", 7)))
    first = tiny_config(capture[0], tmp_path / "first", 7)
    first.save_only_latest_checkpoint, first.steps_per_save = False, 3
    trained(first)
    second = tiny_config(capture[0], tmp_path / "second", 7)
    second.load_dir, second.load_step = first.get_checkpoint_dir(), 3
    resumed = pipeline_of(trained(second))
    expected = whole.state_dict()
    for name, value in resumed.state_dict().items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)
    assert model_of(resumed).sdf_network.step == model_of(whole).sdf_network.step


def test_what_is_known_of_space_follows_the_region_of_a_checkpoint(capture, tmp_path):
    """Frame, hull, points and cameras: none of them may be left in the frame that the options of now would give."""
    first = tiny_config(capture[0], tmp_path / "first", 2)
    assert isinstance(first.pipeline, SurfacePipelineConfig)
    first.pipeline.region.radius = 1.5 * capture[1].radius
    of_then = model_of(pipeline_of(trained(first)))
    second = tiny_config(capture[0], tmp_path / "second", 3)
    second.load_dir = first.get_checkpoint_dir()
    of_now = model_of(pipeline_of(trained(second)))
    found_now = model_of(pipeline_of(trained(tiny_config(capture[0], tmp_path / "third", 1))))
    for model, same in ((of_now, True), (found_now, False)):
        assert model._patches is not None and of_then._patches is not None
        pairs = [(getattr(model.known_space, name), getattr(of_then.known_space, name)) for name in ("bound", "eyes")]
        pairs += [(model._patches.cameras.centre, of_then._patches.cameras.centre)]
        assert all((a.shape == b.shape and torch.allclose(a, b, atol=1e-5)) is same for a, b in pairs)


def test_a_checkpoint_of_cameras_elsewhere_is_refused(capture, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(capture[0], moved)
    transforms = json.loads((moved / "transforms.json").read_text(encoding="utf-8"))
    for frame in transforms["frames"]:
        frame["transform_matrix"][0][3] += 0.1
    first = tiny_config(capture[0], tmp_path / "first", 2)
    trained(first)
    (moved / "transforms.json").write_text(json.dumps(transforms), encoding="utf-8")
    second = tiny_config(moved, tmp_path / "second", 3)
    second.load_dir = first.get_checkpoint_dir()
    with pytest.raises(SystemExit):
        trained(second)
    assert "do not stand where they stood" in " ".join(capsys.readouterr().out.split())


def test_everything_it_minimises_is_in_the_log_and_reaches_the_parameters(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 3)))
    model = model_of(pipeline)
    pipeline.train()
    # One level of the two that are not there from the start has been opened.
    pipeline.set_progress(0.1)
    _, losses, metrics = pipeline.get_train_loss_dict(3)
    terms = {"colour", "eikonal", "smooth", "flat", "mask", "mask_mse", "free_space", "curvature", "sfm"}
    assert set(losses) == terms
    for name in terms:
        assert losses[name].detach() == pytest.approx(float(metrics[f"{name}_term"] * metrics[f"{name}_weight"]))
    assert {"inv_s", "active_levels", "tap_step"} <= set(metrics)
    assert float(metrics["tap_step"]) == pytest.approx(2 / model.sdf_network.grid.layout.resolutions[4])
    for name in ("curvature", "sfm", "mask_mse"):
        (gradient,) = torch.autograd.grad(losses[name], [model.sdf_network.hidden.weight], retain_graph=True)
        assert gradient.abs().max() > 0 and gradient.isfinite().all()


def test_colours_count_relative_to_the_brightness_of_what_was_photographed(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture[0], tmp_path, 3)))
    model = model_of(pipeline)
    pipeline.train()
    bundle, batch = pipeline.datamanager.next_train(3)
    # How much the colour of what is plain counts has a law of its own.
    del batch["plain"]
    outputs = model(bundle)
    target, drawn = model.target_colour(outputs, batch), batch["pixel_weight"][:, 0]
    plain, _ = colour_l1(outputs["rgb"], target, drawn)
    even = even_contrast(batch["image"], batch["fg_mask"][:, 0], black=0.1)
    expected, error = colour_l1(outputs["rgb"], target, drawn * even)
    assert abs(float(expected - plain)) > 0.01 * float(plain)
    torch.testing.assert_close(model.get_loss_dict(outputs, batch)["colour"], expected)
    # Samplers go on hearing errors as they are.
    torch.testing.assert_close(outputs["ray_error"], error)
    model.black = 1e6
    torch.testing.assert_close(model.get_loss_dict(outputs, batch)["colour"], plain)


def test_the_analytic_stage_has_no_curvature_loss_and_lasts_through_a_checkpoint(capture, tmp_path):
    config = tiny_config(capture[0], tmp_path, 4)
    model_config(config).schedule.analytic_from = 0.5
    pipeline = pipeline_of(trained(config))
    assert model_of(pipeline).sdf_network.analytic
    pipeline.train()
    assert "curvature" not in pipeline.get_train_loss_dict(4)[1]
    pipeline.set_progress(0.4)
    assert "curvature" in pipeline.get_train_loss_dict(4)[1]
    state = pipeline.state_dict() | {"_model.progress": torch.tensor(1.0)}
    pipeline.load_pipeline(state, 3)
    assert model_of(pipeline).sdf_network.analytic


def test_curvature_moves_no_camera(capture, tmp_path):
    config = tiny_config(capture[0], tmp_path, 2)
    model_config(config).cameras.optimise = True
    pipeline = pipeline_of(trained(config))
    pipeline.train()
    pipeline.set_progress(0.3)
    losses = pipeline.get_train_loss_dict(2)[1]
    poses = model_of(pipeline).camera_poses
    assert poses is not None
    for name in ("curvature", "sfm"):
        gradients = torch.autograd.grad(losses[name], [*poses.parameters()], retain_graph=True, allow_unused=True)
        assert all(gradient is None for gradient in gradients)


@pytest.mark.parametrize("poses_are_corrected", [False, True])
def test_patches_are_compared_late_and_shape_the_surface_but_no_camera(capture, tmp_path, poses_are_corrected):
    config = tiny_config(capture[0], tmp_path, 8)
    model_config(config).cameras.optimise = poses_are_corrected
    model_config(config).weights.patches, model_config(config).weights.carve = 0.2, 20.0
    # At 32 pixels the whole ball is hardly larger than a patch of the usual size.
    model_config(config).patches.side, model_config(config).patches.every = 3, 1
    pipeline = pipeline_of(trained(config))
    model = model_of(pipeline)
    pipeline.train()
    # Reflections are no witnesses.
    model.gloss._later = CommonErrors(1.0, 1.0)
    for progress in (0.29, 0.5):
        pipeline.set_progress(progress)
        assert not {"patches", "carve", "inward"} & set(pipeline.get_train_loss_dict(8)[1])
    # What shines a little shows its texture too, but pushing and carving would follow highlights inwards.
    model.gloss._later = CommonErrors(0.15, 1.0)
    pipeline.set_progress(0.5)
    losses = pipeline.get_train_loss_dict(8)[1]
    assert "patches" in losses and not {"carve", "inward"} & set(losses)
    model.gloss._later = CommonErrors(0.0, 1.0)
    pipeline.set_progress(0.5)
    _, losses, metrics = pipeline.get_train_loss_dict(8)
    # A push would bend poses instead of the surface.
    assert ("inward" in losses) is not poses_are_corrected
    assert metrics["patches_weight"] == pytest.approx(0.2) and metrics["patches_used"] > 0
    assert losses["patches"].detach() == pytest.approx(0.2 * float(metrics["patches_term"]))
    assert losses["carve"].detach() == pytest.approx(20 * float(metrics["carve_term"]))
    (gradient,) = torch.autograd.grad(losses["patches"], [model.sdf_network.hidden.weight], retain_graph=True)
    assert gradient.abs().max() > 0 and gradient.isfinite().all()
    if model.camera_poses is not None:
        motion = [*model.camera_poses.parameters()]
        assert torch.autograd.grad(losses["patches"], motion, allow_unused=True) == (None,)
    pipeline.eval()
    assert "patches" not in pipeline.get_eval_loss_dict(8)[1]


def test_it_carves_around_objects_without_masks_unless_photographs_cannot_be_alike(capture, tmp_path):
    cases: list[tuple[SceneType, float]] = [("object", CARVE_WEIGHT), ("unbounded", CARVE_WEIGHT), ("indoor", 0.0)]
    for scene_type, usual in cases:
        assert suited_carving(scene_type, None, has_masks=False, alike=True) == usual
        assert suited_carving(scene_type, None, has_masks=True, alike=True) == 0.0
        assert suited_carving(scene_type, None, has_masks=False, alike=False) == 0.0
        assert suited_carving(scene_type, 3.0, has_masks=True, alike=False) == 3.0
    for appearance, expected in ((0, CARVE_WEIGHT), (2, 0.0)):
        config = tiny_config(capture[0], tmp_path, 1)
        model_config(config).appearance_width = appearance
        assert isinstance(config.pipeline, SurfacePipelineConfig)
        config.pipeline.datamanager.masks = False
        assert model_of(surface_pipeline(config.pipeline.setup(device="cpu"))).carve_weight == expected


def test_without_their_weight_no_patches_are_prepared(capture, tmp_path):
    config = tiny_config(capture[0], tmp_path, 1)
    model_config(config).weights.patches = 0.0
    pipeline = pipeline_of(trained(config))
    pipeline.train()
    pipeline.set_progress(0.5)
    _, losses, metrics = pipeline.get_train_loss_dict(1)
    assert "patches" not in losses and "patches_used" not in metrics


def test_without_masks_the_silhouette_and_the_pull_of_points_go(tmp_path):
    folder = tmp_path / "bare"
    tiny_capture(folder, size=32, views=6, masks=False)
    pipeline = pipeline_of(trained(tiny_config(folder, tmp_path, 3)))
    pipeline.train()
    pipeline.set_progress(0.1)
    # Free space is that of the points' lines of sight, which stay.
    terms = {"colour", "eikonal", "smooth", "free_space", "curvature"}
    assert set(pipeline.get_train_loss_dict(3)[1]) == terms
    # What is plain is held as it is with masks, but only once there is a shape.
    pipeline.set_progress(0.5)
    assert "flat" in pipeline.get_train_loss_dict(3)[1]


def test_without_masks_what_is_plain_is_flattened_of_objects_and_in_rooms_unless_the_user_says_otherwise(tmp_path):
    folder = tmp_path / "bare"
    tiny_capture(folder, size=32, views=6, masks=False)
    weights: dict[SceneType, float] = {"object": 20.0, "indoor": 20.0, "unbounded": 0.0}
    for scene_type, weight in weights.items():
        for said in (None, 3.0):
            config = tiny_config(folder, tmp_path / f"{scene_type}-{said}", 1)
            model_config(config).scene_type, model_config(config).weights.smooth_plain = scene_type, said
            assert pipeline_of(trained(config)).surface_model.plain_weight == (weight if said is None else said)


def test_curvature_weight_rises_and_falls_with_every_level_opened():
    schedule = NumericalSchedule(first_levels=2, levels_until=0.5, curvature_warmup=0.1)
    assert schedule.curvature_strength(0.0, 2, LAYOUT) == 0
    assert schedule.curvature_strength(0.05, 2, LAYOUT) == pytest.approx(0.5)
    assert schedule.curvature_strength(0.1, 2, LAYOUT) == 1
    for levels in range(3, 7):
        ratio = schedule.curvature_strength(0.5, levels - 1, LAYOUT) / schedule.curvature_strength(0.5, levels, LAYOUT)
        # Neuralangelo's growth factor, up to the whole numbers that resolutions are.
        assert ratio == pytest.approx(16 ** (1 / 5), rel=0.15)
    # All levels from the start: nothing is ever opened.
    assert NumericalSchedule(levels_until=0.0).curvature_strength(0.5, 6, LAYOUT) == 1
    assert NumericalSchedule(first_levels=9, levels_until=0.5).curvature_strength(0.5, 6, LAYOUT) == 1


def test_curvature_is_the_mean_size_of_the_laplacian():
    torch.testing.assert_close(curvature(torch.tensor([3.0, -1.0])), torch.tensor(2.0))
    assert curvature(torch.zeros(0)) == 0


def test_points_pull_within_their_noise_gently_and_beyond_their_limit_hardly():
    sdf = torch.tensor([1e-4, 0.02, -0.02, 5.0], requires_grad=True)
    noise, limit = torch.full((4,), 1e-2), torch.full((4,), 0.1)
    loss = near_surface(sdf, noise, limit)
    (pull,) = torch.autograd.grad(4 * loss, sdf)
    assert pull[0] < 0.02 and pull[1] == pytest.approx(-float(pull[2])) and pull[1] > 0.5 and pull[3] < 1e-3
    assert near_surface(torch.full((9,), 1e3), torch.full((9,), 1e-2), torch.full((9,), 0.1)) < 0.1
    # Without noise and limit it is Geo-NeuS's mean |f|.
    exact = near_surface(sdf, torch.full((4,), 1e-9), torch.full((4,), 1e9))
    torch.testing.assert_close(exact, sdf.abs().mean(), rtol=1e-4, atol=1e-6)
    assert near_surface(torch.zeros(0), torch.zeros(0), torch.zeros(0)) == 0


def test_a_point_is_as_sure_as_its_track_is_long_and_its_error_small():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    pairs = [(0, 0), (0, 1), (0, 2), (1, 3), (2, 4)]
    tracks = tracks_of(points, pairs, [3, 9, 3, 3, 0], [0.5, 0.5, 2.0, 0.5, float("nan")])
    noise = point_noise(tracks, views_around(3))
    assert noise[1] == pytest.approx(float(noise[0]) / 2)
    assert noise[2] > 2 * noise[0] and noise[3] == pytest.approx(2 * float(noise[0]))
    assert noise[4].isfinite() and noise[4] > noise[0]


def test_photographs_speak_for_the_points_that_they_see():
    points = torch.tensor([[0.1, 0.0, 0.0], [0.2, 0.0, 0.0], [0.3, 0.0, 0.0], [5.0, 0.0, 0.0]])
    tracks = tracks_of(points, [(0, 0), (0, 3), (1, 1), (1, 2)], [3, 3, 3, 3], [0.5, 0.5, 0.5, 0.5])
    space = SeenSpace(8)
    assert len(space.draw_seen_by(torch.tensor([0]), 10).points) == 0
    space.learn_points(tracks, views_around(3), torch.ones(8, 8, 8, dtype=torch.bool))
    torch.manual_seed(0)
    assert space.draw_seen_by(torch.tensor([0, 0, 2]), 20).points[:, 0].unique().tolist() == pytest.approx([0.1])
    assert space.draw_seen_by(torch.tensor([1]), 40).points[:, 0].unique().tolist() == pytest.approx([0.2, 0.3])
    assert space.draw_seen_by(torch.tensor([2]), 60).points[:, 0].unique().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert len(space.draw(0, 20, 20).surface) == 0 and len(space.draw(0, 20, 20).free) > 0


def test_pixels_on_an_outline_are_known():
    soft, hard = torch.zeros(5, 6, dtype=torch.uint8), torch.zeros(5, 6, dtype=torch.uint8)
    soft[2, 3] = 100
    hard[1:4, 2:] = 255
    store = store_images([torch.zeros(5, 6, 3, dtype=torch.uint8)] * 2, [soft, hard], "cpu")
    flat = torch.arange(60)
    edge = on_mask_edge(store, PixelBatch(store.locate(flat), flat, torch.ones(60))).view(2, 5, 6)
    assert edge[0].nonzero().tolist() == [[2, 3]]
    expected = torch.zeros(5, 6, dtype=torch.bool)
    expected[[0, 1, 3, 4], 2:] = True
    expected[1:4, 1:3] = True
    # The photograph's right border is no outline.
    assert torch.equal(edge[1], expected)


def test_a_push_inwards_moves_what_textured_pixels_show_and_nothing_else():
    sdf = torch.tensor([0.2, -0.1, 0.1, 0.0], requires_grad=True)
    weights, telling = torch.tensor([0.1, 0.8, 0.5, 0.0]), torch.tensor([1.0, 1.0, 0.0, 1.0])
    (pull,) = torch.autograd.grad(inward(sdf, weights * telling, rays=2), sdf)
    # Falling along the gradient, distances grow: what was surface is outside afterwards.
    torch.testing.assert_close(pull, torch.tensor([-0.05, -0.4, 0.0, 0.0]))
    assert inward(sdf[:0], weights[:0], rays=0) == 0


def test_the_silhouette_wants_the_masks_own_coverage_and_heeds_weights():
    opacity = torch.tensor([0.3, 0.6], requires_grad=True)
    mask, weight = torch.tensor([0.3, 1.0]), torch.tensor([1.0, 0.25])
    for loss in (silhouette_bce, silhouette_mse):
        (pull,) = torch.autograd.grad(loss(opacity, mask, weight), opacity)
        (full,) = torch.autograd.grad(loss(opacity, mask, torch.ones(2)), opacity)
        assert abs(float(pull[0])) < 1e-6 and pull[1] < 0
        torch.testing.assert_close(pull[1], full[1] / 4)
