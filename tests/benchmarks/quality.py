"""Chamfer, F-score and PSNR of a method on a scene after given minutes, each from a run of its own.

    python -m tests.benchmarks.quality SCENE [--method neus-hash] [--minutes 1 5 20 | --steps 5000] [--no-masks]
        [--sampler NAME] [--plain-march] [--seed 0]

SCENE is a nerfstudio capture with gt_points.npz and gt_mesh.ply beside transforms.json (the capture that neus-demo
writes is one). `--steps` trains for so many steps instead, for machines that are busy with something else. Prints one
line per run: distances in percent of the truth's diagonal, PSNR of the evaluation photographs inside their masks'
frame, training speed, and peak memory of the process.
"""

import argparse
import json
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import trimesh

from neus_ns.cli.bench.run import METHODS, end_log
from neus_ns.evaluation.camera import training_cameras
from neus_ns.evaluation.geometry import GroundTruth, score_mesh
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig, surface_pipeline
from neus_ns.pixels.choice import sampler_config
from neus_ns.surface.export import MeshOptions, export_surface
from neus_ns.training.trainer import SurfaceTrainer, SurfaceTrainerConfig


def without_masks(scene: Path, folder: Path) -> Path:
    """The same capture as if nobody had cut the object out: its photographs alone, with no masks beside them."""
    meta = json.loads((scene / "transforms.json").read_text())
    for frame in meta["frames"]:
        frame.pop("mask_path", None)
        link = folder / frame["file_path"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((scene / frame["file_path"]).resolve())
    if "ply_file_path" in meta:
        meta["ply_file_path"] = str((scene / meta["ply_file_path"]).resolve())
    (folder / "transforms.json").write_text(json.dumps(meta))
    return folder


@dataclass(frozen=True)
class Length:
    """How long a run is: so many minutes, or so many steps."""

    amount: float
    unit: Literal["min", "steps"]

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


def prepared(config: SurfaceTrainerConfig, capture: Path, length: Length, seed: int, folder: Path) -> SurfaceTrainer:
    """A trainer that is ready to train the configured method on the capture; what it writes goes into the folder."""
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.datamanager.data = capture
    config.output_dir, config.experiment_name, config.timestamp = folder, "benchmark", str(length).replace(" ", "-")
    config.vis, config.steps_per_eval_image = "tensorboard", 0
    if length.unit == "min":
        config.max_minutes = length.amount
    else:
        config.max_num_iterations = int(length.amount)
    config.logging.local_writer.enable = False
    config.machine.seed = seed
    torch.manual_seed(seed)
    trainer = config.setup(local_rank=0, world_size=1)
    assert isinstance(trainer, SurfaceTrainer)
    trainer.setup()
    return trainer


def exported(pipeline: SurfacePipeline, resolution: int, path: Path) -> trimesh.Trimesh:
    """The trained surface by way of its file, as a user gets it."""
    export_surface(pipeline.surface_source(), MeshOptions(resolution=resolution, colour=False), path)
    mesh = trimesh.load(path, force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def run(capture: Path, scene: Path, length: Length, options: argparse.Namespace, folder: Path) -> str:
    """Train, export, score; one line."""
    config = METHODS[options.method]()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.model.sampling.refine = not options.plain_march
    if options.sampler is not None:
        config.pipeline.datamanager.pixel_sampler = sampler_config(options.sampler)
    trainer = prepared(config, capture, length, options.seed, folder)
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    pipeline = surface_pipeline(trainer.pipeline)
    mesh = exported(pipeline, options.resolution, folder / "mesh.ply")
    cameras = training_cameras(scene / "transforms.json")
    score = score_mesh(mesh, GroundTruth.load(scene), cameras, stands_on_table=options.on_table)
    psnr = pipeline.get_average_eval_image_metrics()["psnr"]
    end_log()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"{options.method} on {scene.name} {'without' if options.no_masks else 'with'} masks, {length}: "
        f"chamfer {score.chamfer_percent:.3f} % (accuracy {score.accuracy_percent:.3f}, "
        f"completeness {score.completeness_percent:.3f}), outside {score.outside_percent:+.3f}, "
        f"F@0.5 {score.f_05:.3f}, normals {score.normals:.3f}, "
        f"PSNR {psnr:.2f}, {trainer.step + 1} steps, {seconds * 1e3 / (trainer.step + 1):.1f} ms each, "
        f"{len(mesh.faces)} faces, peak {memory:.2f} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--method", choices=sorted(METHODS), default="neus-hash")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 5.0, 20.0])
    parser.add_argument("--steps", type=int, nargs="+", help="train for so many steps instead of minutes")
    parser.add_argument("--no-masks", action="store_true", help="leave the masks out of the training")
    parser.add_argument("--sampler", help="pixel sampler, as --pipeline.datamanager.pixel-sampler of ns-train")
    parser.add_argument("--plain-march", action="store_true", help="evaluate every marched section")
    parser.add_argument("--on-table", action="store_true", help="leave the foot of the object out of accuracy")
    parser.add_argument("--resolution", type=int, default=512, help="cells along the mesh lattice")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture = without_masks(options.scene, folder) if options.no_masks else options.scene
        lengths = [Length(steps, "steps") for steps in options.steps or ()]
        for length in lengths or [Length(minutes, "min") for minutes in options.minutes]:
            print(run(capture, options.scene, length, options, folder), flush=True)


if __name__ == "__main__":
    main()
