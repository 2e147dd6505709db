"""Corrections of the photographs' poses: right gradients, a pinned gauge, and poses that find their way home."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from neus_ns.data.mask_margin import with_wider_masks
from neus_ns.data.se3 import moved_poses, rotation_matrix
from neus_ns.evaluation.poses import pose_error
from neus_ns.kernels.backend import BackendChoice
from neus_ns.models import camera_poses, neus_hash
from neus_ns.models.camera_poses import CameraPoses
from neus_ns.models.neus_hash import NeusHashModel
from neus_ns.rays.bounds import without_sliding
from neus_ns.rays.look import look
from neus_ns.rays.refine import Refined
from neus_ns.rays.sections import Sections
from neus_ns.training.learning_rate import ProgressSchedulerConfig
from tests.benchmarks.pose_refinement import disturbed, refined_poses, reprojection_px
from tests.scenes import tiny_capture
from tests.test_neus_hash import pipeline_config, pipeline_of, tiny_config, trained

VIEWS = 5


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ball")
    tiny_capture(folder, size=32, views=8)
    return folder


def test_rotations_are_the_matrix_exponential_and_smooth_at_none():
    generator = torch.Generator().manual_seed(0)
    for size in (0.0, 1e-7, 1e-3, 9e-3, 1.1e-2, 0.3, 3.0):
        axis_angle = size * torch.nn.functional.normalize(
            torch.randn(3, generator=generator, dtype=torch.float64), dim=0
        )
        x, y, z = axis_angle.tolist()
        generator_matrix = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        torch.testing.assert_close(
            rotation_matrix(axis_angle), torch.linalg.matrix_exp(generator_matrix), atol=1e-13, rtol=0
        )
        assert torch.autograd.gradcheck(rotation_matrix, (axis_angle.requires_grad_(),))


def test_a_moved_pose_takes_camera_points_where_the_motion_takes_them():
    generator = torch.Generator().manual_seed(1)
    motion = 0.3 * torch.randn(VIEWS, 6, generator=generator, dtype=torch.float64)
    poses = torch.randn(VIEWS, 3, 4, generator=generator, dtype=torch.float64)
    points = torch.randn(VIEWS, 3, 1, generator=generator, dtype=torch.float64)
    moved = moved_poses(poses, motion)
    placed = poses[..., :3] @ points + poses[..., 3:]
    expected = rotation_matrix(motion[:, :3]) @ placed + motion[:, 3:, None]
    torch.testing.assert_close(moved[..., :3] @ points + moved[..., 3:], expected)


def random_cameras(count: int, dtype: torch.dtype) -> Float[Tensor, "views 3 4"]:
    generator = torch.Generator().manual_seed(2)
    turns = rotation_matrix(torch.randn(count, 3, generator=generator, dtype=dtype))
    return torch.cat([turns, 2 * torch.randn(count, 3, 1, generator=generator, dtype=dtype)], -1)


def test_what_no_photograph_tells_is_not_in_the_corrections():
    """Start from poses that were moved, turned, blown up and tilted together: nothing of it is in the corrections."""
    generator = torch.Generator().manual_seed(2)
    poses, cameras = CameraPoses(VIEWS).double(), random_cameras(VIEWS, torch.float64)
    poses.set_cameras(cameras)
    centres = cameras[:, :, 3]
    turn, shift, growth = torch.tensor([0.3, -0.2, 0.5]).double().expand(VIEWS, 3), torch.tensor([0.1, 0.7, -0.4]), 0.2
    moved = torch.linalg.cross(turn, centres) + shift + growth * centres
    tilted = turn + cameras[:, :, :2] @ torch.tensor([0.2, -0.1], dtype=torch.float64)
    with torch.no_grad():
        # In units of the corrections; the parameters behind them count shifts differently.
        by_parameter = torch.cat([torch.ones(3), torch.full((3,), camera_poses._SHIFT)]).double()
        own = 0.1 * torch.randn(VIEWS, 6, generator=generator, dtype=torch.float64)
        poses.motion.copy_(own / by_parameter)
        alone = poses.corrections()
        poses.motion.copy_((own + torch.cat([tilted, moved], 1)) / by_parameter)
        torch.testing.assert_close(poses.corrections(), alone)
        assert alone.abs().max() > 0.01


def test_a_lone_camera_and_cameras_in_one_place_are_no_trouble():
    alone, together = CameraPoses(1), CameraPoses(3)
    alone.set_cameras(random_cameras(1, torch.float32))
    together.set_cameras(random_cameras(1, torch.float32).expand(3, 3, 4))
    with torch.no_grad():
        alone.motion.normal_()
        together.motion.normal_()
    torch.testing.assert_close(alone.corrections(), torch.zeros(1, 6), atol=1e-5, rtol=0)
    assert torch.isfinite(together.corrections()).all() and together.corrections().abs().max() > 0.1


def small_model(backend: BackendChoice, masks: bool, dtype: torch.dtype) -> NeusHashModel:
    """A model with something in its tables, whose poses are to be corrected; its training as far as it gets."""
    torch.manual_seed(0)
    config = neus_hash.NeusHashModelConfig()
    config.backend, config.cameras.optimise = backend, True
    config.sdf_field.levels, config.sdf_field.log2_rows, config.sdf_field.finest = 6, 12, 64
    config.sampling.grid_resolution, config.sampling.steps = 24, 48
    model = NeusHashModel(config, None, VIEWS, metadata={"has_masks": masks}, device="cpu").to(dtype)  # type: ignore[arg-type]
    model.set_progress(0.45)
    with torch.no_grad():
        model.field.sdf_network.grid.get_parameter("table").normal_(0, 0.02)
        if model.behind.world is not None:
            model.behind.world.grid.table.normal_(0, 0.02)
        assert model.camera_poses is not None
        model.camera_poses.set_cameras(random_cameras(VIEWS, dtype))
        model.camera_poses.motion.normal_(0, 0.03)
    return model.train()


def some_rays(count: int, dtype: torch.dtype) -> RayBundle:
    generator = torch.Generator().manual_seed(3)
    origins = 2.5 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=-1)
    goals = 0.5 * torch.randn(count, 3, generator=generator, dtype=dtype)
    view = torch.randint(VIEWS, (count, 1), generator=generator)
    directions = torch.nn.functional.normalize(goals - origins, dim=-1)
    return RayBundle(origins, directions, torch.ones_like(origins[:, :1]), camera_indices=view)


def pictures(model: NeusHashModel, bundle: RayBundle) -> Float[Tensor, ""]:
    """One number that colour, opacity and background all have a part in."""
    torch.manual_seed(4)
    outputs = model.get_outputs(bundle)
    weight = torch.linspace(-1, 1, 3 * len(bundle), dtype=bundle.origins.dtype).view(-1, 3)
    return (weight * outputs["rgb"]).sum() + (weight[:, 0] * outputs["accumulation"][:, 0]).sum()


@pytest.mark.parametrize("masks", [True, False])
def test_gradients_of_the_corrections_are_those_of_finite_differences(monkeypatch, masks):
    model, bundle = small_model("torch", masks, torch.float64), some_rays(64, torch.float64)
    kept: list[Refined] = []
    first = model.unit_rays(bundle)

    def slid(rays: neus_hash.Rays) -> Float[Tensor, " rays"]:
        """How far the rays have slid along themselves since the start."""
        return ((rays.origins - first.origins) * first.directions).sum(-1).detach()

    # Where a ray is looked at has no gradient by design: sections, and the far side of the ball from which the
    # background is seen, must not move with the pose here either, nor along the ray when its origin slides.
    def look_once(rays: neus_hash.Rays, *given) -> Refined:
        if not kept:
            kept.append(look(rays, *given))
        sections, wanted = kept[0]
        back = slid(rays)[sections.ray_index]
        moved = Sections(sections.ray_index, sections.t_start - back, sections.t_end - back)
        return Refined(moved, wanted)

    def clip_once(origins: Tensor, directions: Tensor, near: float) -> neus_hash.Rays:
        rays = neus_hash.Rays(origins, directions, first.t_near, first.t_far)
        return neus_hash.Rays(origins, directions, first.t_near - slid(rays), first.t_far - slid(rays))

    monkeypatch.setattr(neus_hash, "look", look_once)
    monkeypatch.setattr(neus_hash, "clip_to_unit_ball", clip_once)
    assert model.camera_poses is not None
    motion = model.camera_poses.motion
    pictures(model, bundle).backward()
    assert motion.grad is not None
    numeric, step = torch.zeros_like(motion), 1e-7
    with torch.no_grad():
        for index in range(motion.numel()):
            flat = motion.view(-1)
            flat[index] += step
            above = pictures(model, bundle)
            flat[index] -= 2 * step
            below = pictures(model, bundle)
            flat[index] += step
            numeric.view(-1)[index] = (above - below) / (2 * step)
    assert motion.grad.abs().max() > 1e-2
    # The background's samples spread with distance, so an origin that slides moves them along the ray after all.
    compared, share = (slice(None), 1e-6) if masks else (slice(3), 1e-4)
    scale = float(motion.grad.abs().max())
    torch.testing.assert_close(motion.grad[:, compared], numeric[:, compared], rtol=1e-4, atol=share * scale)


def test_a_ray_that_slides_along_itself_has_no_gradient():
    origins = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    directions = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    held = without_sliding(origins, directions)
    assert torch.equal(held, origins)
    (gradient,) = torch.autograd.grad((held * directions).sum(), origins, retain_graph=True)
    assert gradient.abs().max() < 1e-12
    sideways = torch.linalg.cross(directions, torch.ones_like(directions))
    (gradient,) = torch.autograd.grad((held * sideways).sum(), origins)
    torch.testing.assert_close(gradient, sideways)


@pytest.mark.parametrize("masks", [True, False])
def test_warp_and_torch_agree_on_the_gradients(masks):
    gradients = []
    backends: tuple[BackendChoice, ...] = ("torch", "warp")
    for backend in backends:
        model = small_model(backend, masks, torch.float32)
        model.config.sampling.refine = False
        model.plan = model.config.sampling.plan(finer=1)
        pictures(model, some_rays(200, torch.float32)).backward()
        assert model.camera_poses is not None and model.camera_poses.motion.grad is not None
        gradients.append(model.camera_poses.motion.grad)
    torch.testing.assert_close(*gradients, rtol=2e-3, atol=2e-3 * float(gradients[0].abs().max()))


def test_positions_wait_for_orientations():
    model, bundle = small_model("torch", True, torch.float32), some_rays(64, torch.float32)
    model.set_progress(0.5 * model.config.cameras.turn_only_until)
    pictures(model, bundle).backward()
    assert model.camera_poses is not None and model.camera_poses.motion.grad is not None
    gradient = model.camera_poses.motion.grad
    assert gradient[:, :3].abs().max() > 0 and gradient[:, 3:].abs().max() == 0


def test_only_photographs_are_corrected_and_only_in_training():
    """Evaluation's rays carry camera indices too, but of other photographs."""
    model, bundle = small_model("torch", True, torch.float32), some_rays(16, torch.float32)
    moved = model.unit_rays(bundle)
    still = model.eval().unit_rays(bundle)
    assert (moved.directions - still.directions).norm(dim=-1).min() > 1e-3
    torch.testing.assert_close(still.directions, bundle.directions)


def test_what_the_surface_must_be_like_does_not_move_cameras():
    model, bundle = small_model("torch", True, torch.float32), some_rays(64, torch.float32)
    model.config.weights.mask = model.config.weights.colour = 0.0
    batch = {
        "image": torch.zeros(64, 3),
        "fg_mask": torch.zeros(64, 1),
        "pixel_weight": torch.ones(64, 1),
        "plain": torch.zeros(64),
    }
    losses = model.get_loss_dict(model.get_outputs(bundle), batch)
    sum(losses.values(), torch.tensor(0.0)).backward()
    assert model.camera_poses is not None
    gradient = model.camera_poses.motion.grad
    assert gradient is None or gradient.abs().max() == 0
    table = model.field.sdf_network.grid.get_parameter("table")
    assert table.grad is not None and table.grad.abs().max() > 0


def test_switched_off_there_is_nothing(capture, tmp_path):
    pipeline = pipeline_of(trained(tiny_config(capture, tmp_path, 2)))
    assert not any("camera" in name for name in pipeline.state_dict())
    assert "cameras" not in pipeline.get_param_groups()


def test_training_corrects_and_resumes_and_the_first_steps_do_not(capture, tmp_path):
    whole = tiny_config(capture, tmp_path / "whole", 40)
    whole.save_only_latest_checkpoint, whole.steps_per_save = False, 20
    pipeline_config(whole).model.cameras.optimise = True
    delay = whole.optimizers["cameras"]["scheduler"].delay
    trainer = trained(whole)
    saved = torch.load(whole.get_checkpoint_dir() / "step-000000020.ckpt", weights_only=True)["pipeline"]
    assert 0 < delay < 0.5 and saved["_model.camera_poses.motion"].abs().max() > 0
    resumed_config = tiny_config(capture, tmp_path / "resumed", 40)
    pipeline_config(resumed_config).model.cameras.optimise = True
    resumed_config.load_dir, resumed_config.load_step = whole.get_checkpoint_dir(), 20
    resumed = pipeline_of(trained(resumed_config)).state_dict()
    for name, value in pipeline_of(trainer).state_dict().items():
        if name.startswith("_model.camera_poses"):
            torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)


def test_masks_are_widened_by_the_angle_that_poses_may_be_off(capture, tmp_path):
    views = pipeline_of(trained(tiny_config(capture, tmp_path, 1))).datamanager.views_parser(masks=True)
    wide = with_wider_masks(views, 3.0)
    assert views.masks is not None and wide.masks is not None
    reach = float(views.fx[0]) * torch.tan(torch.deg2rad(torch.tensor(3.0)))
    object_at, grown_at = views.masks[0].nonzero().double(), wide.masks[0].nonzero().double()
    distance = torch.cdist(grown_at, object_at).min(1).values
    assert bool((wide.masks[0] | ~views.masks[0]).all()) and reach - 1 < distance.max() <= reach
    assert with_wider_masks(views, 0.0) is views


@pytest.mark.slow
def test_disturbed_cameras_find_their_way_back(tmp_path):
    """Ten cameras turned by two degrees: a short training makes them look at the ball again."""
    scene = tmp_path / "scene"
    ball = tiny_capture(scene, size=64, views=10)
    given = disturbed(scene, tmp_path / "disturbed", 2.0, 0.0, 0)
    config = tiny_config(given.folder, tmp_path / "run", 500)
    pipeline_config(config).model.cameras.optimise = True
    poses, centre = refined_poses(pipeline_of(trained(config))), np.array([ball.centre])
    before, after = (reprojection_px(each, given.truth, centre, 64.0) for each in (given.poses, poses))
    assert after < 0.4 * before
    assert pose_error(poses, given.truth).mean_rotation_degrees < 1.5


def test_the_learning_rate_waits_and_then_goes_its_whole_way():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    config = ProgressSchedulerConfig(delay=0.2, warmup=0.25, final_ratio=0.1, shape="exponential")
    scheduler = config.setup().get_scheduler(optimizer=optimizer, lr_init=2.0)
    expected = {0.0: 0.0, 0.19: 0.0, 0.2: 0.0, 0.3: 1.0, 0.4: 2.0, 1.0: 0.2}
    for progress, rate in expected.items():
        scheduler.set_progress(progress)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, abs=1e-9)
    scheduler = ProgressSchedulerConfig(delay=1.0).setup().get_scheduler(optimizer=optimizer, lr_init=2.0)
    for progress in (0.0, 0.999):
        scheduler.set_progress(progress)
        assert optimizer.param_groups[0]["lr"] == 0
    scheduler.set_progress(1.0)
