"""How much of a disturbance of its poses is taken back: by neus-hash while it trains, by `neus-poses align`, by both.

    python -m tests.benchmarks.pose_refinement SCENE [--align] [--degrees 2] [--percent 2] [--steps 3000] [--passes 1]

SCENE is a nerfstudio capture with exact poses. Every training camera is turned about itself by so many degrees about a
random axis, and shifted in a random direction by so many percent of the radius of the region of interest. The
photographs and masks go along, but neither the structure-from-motion points nor any other files, which would tell where
the cameras had been. Then it is trained with --pipeline.model.cameras.optimise; a further pass starts a new surface
from the poses that the pass before found, as after `neus-poses export`, and believes them `--closer` times as good.
`--align` first corrects the poses by what the photographs share; `--steps 0` then stops there.

Errors are taken after the similarity that fits the camera centres best to the true ones, because no photograph tells
where the scene as a whole lies; the recovered share is 1 - after / before, for rotation, for position, and for where
points of the surface appear in the photographs (if gt_points.npz is there).
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.cli.align import AlignPoses
from neus_ns.data.se3 import rotation_matrix
from neus_ns.evaluation.poses import PoseError, pose_error, similarity_between
from neus_ns.methods import neus_hash_config
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig, surface_pipeline
from neus_ns.training.trainer import SurfaceTrainer


@dataclass(frozen=True)
class Disturbed:
    """A capture with disturbed poses, and the true and disturbed ones of its training photographs."""

    folder: Path
    truth: Float[np.ndarray, "views 3 4"]
    poses: Float[np.ndarray, "views 3 4"]


def random_directions(count: int, generator: torch.Generator) -> Float[Tensor, "n 3"]:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def disturbed(scene: Path, folder: Path, degrees: float, shift_world: float, seed: int) -> Disturbed:
    """Write the capture with every training camera turned about itself and shifted; the others stay."""
    meta = json.loads((scene / "transforms.json").read_text())
    meta.pop("ply_file_path", None)
    frames = training_frames(meta)
    truth = torch.tensor([frame["transform_matrix"] for frame in frames], dtype=torch.float64)[:, :3]
    generator = torch.Generator().manual_seed(seed)
    turn = rotation_matrix(random_directions(len(frames), generator) * np.radians(degrees))
    shift = random_directions(len(frames), generator) * shift_world
    poses = torch.cat([turn @ truth[:, :, :3], truth[:, :, 3:] + shift[..., None]], -1)
    for frame in meta["frames"]:
        for key in ("file_path", "mask_path"):
            if key in frame:
                link = folder / frame[key]
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((scene / frame[key]).resolve())
    (folder / "transforms.json").write_text(json.dumps(meta))
    put_poses(folder, poses.numpy())
    return Disturbed(folder, truth.numpy(), poses.numpy())


def training_frames(meta: dict) -> list[dict]:
    named = set(meta.get("train_filenames") or [frame["file_path"] for frame in meta["frames"]])
    return [frame for frame in meta["frames"] if frame["file_path"] in named]


def put_poses(capture: Path, poses: Float[np.ndarray, "views 3 4"]) -> None:
    """Write the training photographs' poses into a capture."""
    path = capture / "transforms.json"
    meta = json.loads(path.read_text())
    for frame, pose in zip(training_frames(meta), poses.tolist(), strict=True):
        frame["transform_matrix"] = [*pose, [0.0, 0.0, 0.0, 1.0]]
    path.write_text(json.dumps(meta))


def trained(
    capture: Path, options: argparse.Namespace, folder: Path, closeness: float
) -> tuple[SurfacePipeline, float]:
    """Train on poses that many times as good as the method assumes; returns the pipeline and the seconds it took."""
    config = neus_hash_config()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.datamanager.data = capture
    cameras = config.pipeline.model.cameras
    cameras.optimise, cameras.largest_error = not options.fixed, cameras.largest_error / closeness
    config.output_dir, config.experiment_name, config.timestamp = folder, "benchmark", "poses"
    config.vis, config.steps_per_eval_image = "tensorboard", 0
    config.max_num_iterations = options.steps
    config.logging.local_writer.enable = False
    config.machine.seed = options.seed
    torch.manual_seed(options.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    assert isinstance(trainer, SurfaceTrainer)
    trainer.setup()
    began = time.perf_counter()
    trainer.train()
    return surface_pipeline(trainer.pipeline), time.perf_counter() - began


def aligned_poses(capture: Path, folder: Path) -> Float[np.ndarray, "views 3 4"]:
    """The training photographs' poses after `neus-poses align`."""
    AlignPoses(capture, folder).main()
    meta = json.loads((folder / "transforms.json").read_text())
    found = {Path(frame["file_path"]).name: frame["transform_matrix"][:3] for frame in meta["frames"]}
    wanted = training_frames(json.loads((capture / "transforms.json").read_text()))
    return np.array([found[Path(frame["file_path"]).name] for frame in wanted])


def refined_poses(pipeline: SurfacePipeline) -> Float[np.ndarray, "views 3 4"]:
    return pipeline.views_world(masks=False).world_from_camera.cpu().numpy()


def reprojection_px(
    poses: Float[np.ndarray, "views 3 4"],
    truth: Float[np.ndarray, "views 3 4"],
    points: Float[np.ndarray, "points 3"],
    focal: float,
) -> float:
    """How far, on average, points of the surface appear from where they should, after alignment of the centres."""
    matrix = similarity_between(poses[:, :, 3], truth[:, :, 3])
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    centres = poses[:, :, 3] @ matrix[:3, :3].T + matrix[:3, 3]
    aligned = np.concatenate([matrix[:3, :3] / scale @ poses[:, :, :3], centres[..., None]], -1)

    def seen(cameras: Float[np.ndarray, "views 3 4"]) -> Float[np.ndarray, "views points 2"]:
        local = (points - cameras[:, None, :, 3]) @ cameras[:, :, :3]
        return focal * local[..., :2] / -local[..., 2:]

    return float(np.linalg.norm(seen(aligned) - seen(truth), axis=-1).mean())


def report(name: str, before: PoseError, after: PoseError, radius: float) -> str:
    turn = (before.mean_rotation_degrees, after.mean_rotation_degrees)
    shift = (100 * before.mean_position / radius, 100 * after.mean_position / radius)
    return (
        f"{name}: rotation {turn[0]:.3f} -> {turn[1]:.3f} degrees ({1 - turn[1] / turn[0]:.0%} recovered), "
        f"position {shift[0]:.3f} -> {shift[1]:.3f} % of the radius ({1 - shift[1] / shift[0]:.0%} recovered)"
    )


def tell(capture: Disturbed, poses: Float[np.ndarray, "views 3 4"], focal: float, options: argparse.Namespace) -> None:
    """Print what became of the disturbance."""
    before, after = pose_error(capture.poses, capture.truth), pose_error(poses, capture.truth)
    print(report(options.scene.name, before, after, options.radius))
    points = options.scene / "gt_points.npz"
    if points.is_file():
        surface = np.load(points)["points"][:500]
        pixels = [reprojection_px(each, capture.truth, surface, focal) for each in (capture.poses, poses)]
        print(f"surface points appear off by {pixels[0]:.2f} -> {pixels[1]:.2f} pixels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--degrees", type=float, default=2.0)
    parser.add_argument("--percent", type=float, default=2.0)
    parser.add_argument("--radius", type=float, default=1.0, help="of the region of interest, in the poses' units")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--passes", type=int, default=1, help="trainings one after another")
    parser.add_argument("--closer", type=float, default=3.0, help="by what factor each pass is taken to mend the poses")
    parser.add_argument("--align", action="store_true", help="correct the poses by matches before training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fixed", action="store_true", help="leave the disturbed poses as they are")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shift = options.percent / 100 * options.radius
        capture = disturbed(options.scene, folder / "capture", options.degrees, shift, options.seed)
        focal = json.loads((capture.folder / "transforms.json").read_text())["fl_x"]
        if options.align:
            poses = aligned_poses(capture.folder, folder / "aligned")
            tell(capture, poses, focal, options)
            put_poses(capture.folder, poses)
        for number in range(options.passes if options.steps else 0):
            pipeline, seconds = trained(capture.folder, options, folder, options.closer ** (number + options.align))
            poses = refined_poses(pipeline)
            tell(capture, poses, focal, options)
            psnr = pipeline.get_average_eval_image_metrics()["psnr"]
            print(
                f"held-out PSNR {psnr:.2f}, {options.steps} steps, {seconds * 1e3 / options.steps:.1f} ms each",
                flush=True,
            )
            put_poses(capture.folder, poses)


if __name__ == "__main__":
    main()
