"""Tiny captures with a known answer, for tests of everything that needs photographs."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.data.synthetic.capture import CaptureOptions, write_views
from neus_ns.data.synthetic.shapes import Shape, Vec3, sphere
from neus_ns.data.synthetic.texture import fractal_noise
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.models.pipeline import SurfacePipelineConfig
from neus_ns.training.trainer import SurfaceTrainerConfig


@dataclass(frozen=True)
class Ball:
    """What is to be found: a ball, in world units."""

    centre: Vec3
    radius: float


def ball_shape(ball: Ball) -> Shape:
    """A ball with a texture of its own size, ready to be photographed."""

    def sdf_local(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return sphere(points, (0.0, 0.0, 0.0), ball.radius)

    def albedo_local(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        channels = [fractal_noise(points / ball.radius + 11.0 * k, 0.8, 3) for k in range(3)]
        return (2.5 * (torch.stack(channels, dim=1) - 0.5) + 0.5).clamp(0.02, 0.95)

    # The room around the ball is what a photographer leaves; it is also where the bounding ball ends.
    return Shape(ball.centre, 1.25 * ball.radius, sdf_local, albedo_local)


def tiny_capture(folder: Path, size: int = 32, views: int = 8, masks: bool = True) -> Ball:
    """Write a capture of one textured ball, away from the origin and not of unit size; returns the ball."""
    ball = Ball((3.0, -2.0, 1.0), 0.5)
    options = CaptureOptions(views=views, test_views=2, size=size, masks=masks)
    write_views(folder, ball_shape(ball), options)
    return ball


def one_view() -> Views:
    """A camera three units above the origin, looking down at it."""
    pose = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3]]])
    size = torch.full((1,), 64.0)
    return Views(pose, size, size, size / 2, size / 2, size, size, None)


def seen_tracks(points: torch.Tensor) -> SfmTracks:
    """Points that the one view sees, all of them equally well known."""
    count = len(points)
    nothing, numbers = torch.zeros(count, dtype=torch.long), torch.arange(count)
    return SfmTracks(points, nothing, torch.full((count,), torch.nan), nothing, numbers, 1, "")


def short_run(config: SurfaceTrainerConfig, capture: Path, output: Path, steps: int) -> SurfacePipelineConfig:
    """Let a method train on a capture for so many steps, quietly and on the CPU; returns its pipeline's options."""
    pipeline = config.pipeline
    assert isinstance(pipeline, SurfacePipelineConfig)
    pipeline.datamanager.data = capture
    config.output_dir, config.experiment_name, config.timestamp = output, "test", "run"
    config.max_num_iterations, config.vis, config.steps_per_eval_image = steps, "tensorboard", 0
    config.logging.local_writer.enable = False
    config.machine.device_type = "cpu"
    return pipeline
