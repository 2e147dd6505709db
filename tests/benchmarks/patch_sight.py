"""How well a half-trained surface knows from which photographs its patches are hidden, beside the true surface.

    python -m tests.benchmarks.patch_sight CAPTURE [--steps 1500] [--from 0.4 --until 0.6]

CAPTURE holds gt_mesh.ply. neus-hash is trained with patches of photographs; for every patch and candidate between two
moments of the training, `rays.sight` is compared with rays cast at the true mesh, from a little off the patch to the
candidate's camera.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from neus_ns.data.frame import transform_points
from neus_ns.evaluation.raycast import RayCaster
from neus_ns.kernels.backend import Backend
from neus_ns.models import patch_witness
from neus_ns.models.neus_hash import NeusHashModel
from neus_ns.models.pipeline import SurfacePipelineConfig, surface_pipeline
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.sight import in_sight
from tests.benchmarks.quality import METHODS, Length, prepared

# Cast rays set out this far from the patch, in units of the region: a patch that lies a little within the true surface
# is not hidden by it.
SETS_OUT = 0.03


class Compared:
    """Stands in for `in_sight`, and counts how often it is right."""

    def __init__(self, model: NeusHashModel, mesh: trimesh.Trimesh, first: float, last: float) -> None:
        vertices = torch.from_numpy(np.asarray(mesh.vertices, dtype=np.float64))
        unit = transform_points(torch.linalg.inv(model.field.frame.world_from_unit), vertices)
        self.caster = RayCaster(unit.numpy(), np.asarray(mesh.faces))
        self.model, self.first, self.last = model, first, last
        self.lines = torch.zeros(2, 2, dtype=torch.int64)
        self.seconds, self.steps = 0.0, 0

    def __call__(self, grid: OccupancyGrid, points: Tensor, eyes: Tensor, asked: Tensor, backend: Backend) -> Tensor:
        began = time.process_time()
        found = in_sight(grid, points, eyes, asked, backend)
        if self.first <= float(self.model.progress) < self.last:
            self.seconds += time.process_time() - began
            self.steps += 1
            seen = self.truly_seen(points[asked], eyes[asked])
            self.lines += torch.bincount(2 * seen + found[asked], minlength=4).view(2, 2)
        return found

    def truly_seen(self, points: Tensor, eyes: Tensor) -> Tensor:
        """Whether the true surface leaves the lines free."""
        length = (eyes - points).norm(dim=-1, keepdim=True)
        directions = (eyes - points) / length
        reach = self.caster.reach_unhindered((points + SETS_OUT * directions).numpy(), directions.numpy())
        return torch.from_numpy(reach) > length[:, 0] - SETS_OUT

    def report(self) -> str:
        """One line."""
        (hidden_found, hidden_missed), (free_lost, free_kept) = self.lines.tolist()
        hidden, free = hidden_found + hidden_missed, free_lost + free_kept
        return (
            f"{hidden + free} lines of sight, {100 * hidden / (hidden + free):.1f} % of them truly hidden; of these "
            f"{100 * hidden_found / hidden:.1f} % found, of the free ones {100 * free_kept / free:.1f} % kept; "
            f"{1e3 * self.seconds / self.steps:.1f} CPU-ms a step"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--from", type=float, default=0.4, dest="first")
    parser.add_argument("--until", type=float, default=0.6, dest="last")
    options = parser.parse_args()
    config = METHODS["neus-hash"]()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.model.weights.patches = 0.5
    mesh = trimesh.load(options.capture / "gt_mesh.ply", force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    with tempfile.TemporaryDirectory() as folder:
        trainer = prepared(config, options.capture, Length(options.steps, "steps"), 0, Path(folder))
        compared = Compared(surface_pipeline(trainer.pipeline).surface_model, mesh, options.first, options.last)
        patch_witness.in_sight = compared
        trainer.train()
    print(compared.report())


if __name__ == "__main__":
    main()
