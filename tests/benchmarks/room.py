"""Chamfer of the indoor preset on a furnished room, photographed here from within it, without masks.

    python -m tests.benchmarks.room [--steps 3000] [--views 60] [--size 200] [--scene-type indoor|object] [--mesh PATH]

Prints one line: distances to what some photograph shows of the room, in percent of the room's diagonal.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from neus_ns.cli.bench.run import METHODS, end_log
from neus_ns.data.synthetic.cameras import Pinhole, look_at
from neus_ns.data.synthetic.capture import CaptureOptions, write_photographs
from neus_ns.data.synthetic.shapes import Shape, capsule, rounded_cylinder, smooth_minimum, sphere, upright_torus
from neus_ns.data.synthetic.texture import blend, checks, fractal_noise
from neus_ns.data.synthetic.truth import exact_mesh
from neus_ns.evaluation.raycast import RayCaster
from neus_ns.models.pipeline import SurfacePipelineConfig, surface_pipeline
from tests.benchmarks.gloss import against_truth
from tests.benchmarks.quality import Length, exported, prepared

_HALF = (1.3, 1.0, 0.8)
_VIEW_DEGREES = 80.0
_TRUTH_POINTS = 100_000


def room_sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Distance to walls, floor, ceiling and furniture from within the room, where it is positive."""
    walls = (points.new_tensor(_HALF) - points.abs()).amin(1)
    top = rounded_cylinder(points, (0.1, 0.15, -0.42), 0.36, 0.03, 0.02)
    leg = capsule(points, (0.1, 0.15, -0.8), (0.1, 0.15, -0.45), 0.05)
    table = smooth_minimum(top, leg, 0.05)
    neck = capsule(points, (0.15, 0.2, -0.2), (0.15, 0.2, -0.06), 0.05)
    vase = smooth_minimum(sphere(points, (0.15, 0.2, -0.27), 0.13), neck, 0.08)
    stool = rounded_cylinder(points, (-0.75, -0.5, -0.62), 0.22, 0.18, 0.05)
    ring = upright_torus(points, (-0.3, 0.93, 0.1), 0.25, 0.07)
    lamp = torch.minimum(
        sphere(points, (0.7, -0.4, 0.3), 0.16), capsule(points, (0.7, -0.4, 0.3), (0.7, -0.4, 0.8), 0.025)
    )
    return torch.stack([walls, table, vase, stool, ring, lamp]).amin(0)


def room_albedo(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Mottled paint, and a chequered floor."""
    noise = (2 * fractal_noise(points, 0.15, 4) - 0.5).clamp(0, 1)
    plaster = blend(points.new_tensor([[0.75, 0.68, 0.55]]), points.new_tensor([[0.25, 0.32, 0.42]]), noise)
    tiles = checks(points[:, 0] / 0.4, points[:, 1] / 0.4)
    floor = blend(points.new_tensor([[0.55, 0.25, 0.18]]), points.new_tensor([[0.85, 0.8, 0.7]]), tiles)
    return torch.where((points[:, 2] < -0.79)[:, None], floor * (0.6 + 0.6 * noise)[:, None], plaster)


def room() -> Shape:
    """The room about the origin of the world."""
    return Shape((0.0, 0.0, 0.0), 1.03 * math.dist(_HALF, (0, 0, 0)), room_sdf, room_albedo)


def walk(count: int, size: int, seed: int) -> list[Pinhole]:
    """Cameras on a round through the room, by turns high and low, that look across it."""
    generator = torch.Generator().manual_seed(seed)
    focal = 0.5 * size / math.tan(math.radians(_VIEW_DEGREES / 2))
    cameras = []
    for index in range(count):
        unrest = 2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1
        angle = math.tau * (index + 0.4 * float(unrest[0])) / count
        height = (-0.25, 0.1, 0.45)[index % 3]
        eye = torch.tensor([0.95 * math.cos(angle), 0.7 * math.sin(angle), height], dtype=torch.float64)
        # Across the room, not only at its middle: else no photograph shows the corners.
        across = angle + math.pi + 0.9 * float(unrest[1])
        target = torch.tensor([1.2 * math.cos(across), 0.9 * math.sin(across), 0.0], dtype=torch.float64)
        target[2] = 0.55 * unrest[2]
        cameras.append(Pinhole(look_at(eye, target), focal, size))
    return cameras


def write_truth(folder: Path, cameras: list[Pinhole]) -> None:
    """The room's surface, and points on it that some camera sees."""
    mesh = exact_mesh(room())
    points, face = trimesh.sample.sample_surface(mesh, _TRUTH_POINTS, seed=0)[:2]
    normals = np.asarray(mesh.face_normals)[face]
    caster = RayCaster(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    seen = np.zeros(len(points), dtype=bool)
    for camera in cameras:
        eye = camera.world_from_camera[:3, 3].numpy()
        reach = np.linalg.norm(points - eye, axis=1)
        towards = (points - eye) / reach[:, None]
        pixels = camera.project(torch.from_numpy(points)).numpy()
        ahead = (towards @ -camera.world_from_camera[:3, 2].numpy()) > 0
        in_view = ahead & ((pixels > 0) & (pixels < camera.size)).all(1)
        seen |= in_view & (caster.reach_unhindered(eye[None], towards) > reach - 0.01)
    mesh.export(folder / "gt_mesh.ply")
    np.savez(folder / "gt_points.npz", points=points[seen], normals=normals[seen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--size", type=int, default=200, help="edge of the photographs in pixels")
    parser.add_argument("--method", choices=sorted(METHODS), default="neus-hash")
    parser.add_argument("--scene-type", choices=("indoor", "object", "unbounded"), default="indoor")
    parser.add_argument("--resolution", type=int, default=320, help="cells along the mesh lattice")
    parser.add_argument("--mesh", type=Path, help="where to keep the mesh")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture = folder / "room"
        cameras = walk(options.views, options.size, options.seed)
        write_photographs(
            capture, room(), cameras, walk(6, options.size, options.seed + 1), CaptureOptions(masks=False)
        )
        write_truth(capture, cameras)
        config = METHODS[options.method]()
        assert isinstance(config.pipeline, SurfacePipelineConfig)
        config.pipeline.model.scene_type = options.scene_type
        trainer = prepared(config, capture, Length(options.steps, "steps"), options.seed, folder)
        trainer.train()
        pipeline = surface_pipeline(trainer.pipeline)
        mesh = exported(pipeline, options.resolution, options.mesh or folder / "mesh.ply")
        found = against_truth(mesh, capture)
        psnr = pipeline.get_average_eval_image_metrics()["psnr"]
        end_log()
    print(f"room, {options.method}, {options.scene_type}, {options.steps} steps: {found}, PSNR {psnr:.2f}")


if __name__ == "__main__":
    main()
