"""Chamfer of a method on glossy captures made here, beside that of the visual hull of the same masks.

    python -m tests.benchmarks.gloss [--material mirror lacquer satin varnish] [--steps 1500] [--size 200]
        [--method neus-hash] [--colour view|reflected|both] [--no-masks] [--smooth-plain W] [--seed 0]
    python -m tests.benchmarks.gloss --photographs CAPTURE --points POINTS.npz [--steps 1500]

varnish is the demo's capture, without gloss. Prints one line for the hull and one for the trained surface, in percent
of the truth's diagonal. Real photographs have no truth; there, POINTS.npz holds structure-from-motion points of the
capture's world (`xyz`, the photographs that see each in `track`, its reprojection error in pixels in `err_px`), and
what is printed is how far those that four photographs agree on to within a pixel lie from the mesh, in percent of their
box's diagonal.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

from neus_ns.cli.bench.run import end_log
from neus_ns.cli.demo_picture import hull_of, scored
from neus_ns.data.synthetic.capture import CaptureOptions, write_capture
from neus_ns.evaluation.raycast import RayCaster
from neus_ns.models.pipeline import SurfacePipelineConfig, surface_pipeline
from tests.benchmarks.quality import METHODS, Length, exported, prepared


def against_truth(mesh: trimesh.Trimesh, capture: Path) -> str:
    """Distances to the exact surface of a generated capture."""
    score = scored(mesh, capture)
    return (
        f"chamfer {score.chamfer_percent:.3f} % (accuracy {score.accuracy_percent:.3f}, "
        f"completeness {score.completeness_percent:.3f}), F@0.5 {score.f_05:.3f}, normals {score.normals:.3f}"
    )


def against_points(mesh: trimesh.Trimesh, points_file: Path) -> str:
    """Distances of sure structure-from-motion points to the mesh; beyond 10 % of the diagonal all are alike."""
    with np.load(points_file) as arrays:
        sure = (arrays["track"] >= 4) & (arrays["err_px"] < 1)
        points = arrays["xyz"][sure].astype(np.float64)
    # Without the farthest hundredth: a single stray point would set the scale.
    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    centre, diagonal = (low + high) / 2, np.linalg.norm(high - low)
    surface = RayCaster((np.asarray(mesh.vertices) - centre) / diagonal, np.asarray(mesh.faces))
    distance, _ = surface.nearest((points - centre) / diagonal)
    percent = 100 * np.minimum(distance, 0.1)
    return f"{len(points)} points: mean {percent.mean():.3f} %, median {np.median(percent):.3f}"


def run(name: str, capture: Path, rate: Callable[[trimesh.Trimesh], str], options: argparse.Namespace) -> None:
    """Train on a capture; print how good the hull of its masks and the trained surface are."""
    config = METHODS[options.method]()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.model.sdf_field.colour = options.colour
    config.pipeline.datamanager.masks = not options.no_masks
    if options.smooth_plain is not None:
        config.pipeline.model.weights.smooth_plain = options.smooth_plain
    with tempfile.TemporaryDirectory() as folder:
        trainer = prepared(config, capture, Length(options.steps, "steps"), options.seed, Path(folder))
        pipeline = surface_pipeline(trainer.pipeline)
        if not options.no_masks:
            print(f"{name}, visual hull: {rate(hull_of(pipeline))}", flush=True)
        trainer.train()
        mesh = exported(pipeline, options.resolution, Path(folder) / "mesh.ply")
        common = pipeline.surface_model.gloss.common_later
        print(
            f"{name} {'without' if options.no_masks else 'with'} masks, {options.method}, colour {options.colour}, "
            f"{options.steps} steps: {rate(mesh)}; "
            f"common to areas later: {common.of_errors:.2f} of errors, {common.of_brightness:.4f} of brightness",
            flush=True,
        )
        end_log()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    materials = ("mirror", "lacquer", "satin", "varnish")
    parser.add_argument("--material", choices=materials, nargs="+", default=materials)
    parser.add_argument("--photographs", type=Path, help="a real capture instead of generated ones")
    parser.add_argument("--points", type=Path, help="sure points of the real capture")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--size", type=int, default=200, help="edge of the generated photographs in pixels")
    parser.add_argument("--method", choices=sorted(METHODS), default="neus-hash")
    parser.add_argument("--colour", choices=("view", "reflected", "both"), default="both")
    parser.add_argument("--no-masks", action="store_true", help="leave the masks out of the training, and the hull")
    parser.add_argument("--smooth-plain", type=float, help="--pipeline.model.weights.smooth-plain, if not the default")
    parser.add_argument("--resolution", type=int, default=320, help="cells along the mesh lattice")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.photographs is not None:
        if options.points is None:
            parser.error("real photographs are judged by points: name them with --points")
        run(
            options.photographs.name,
            options.photographs,
            lambda mesh: against_points(mesh, options.points),
            options,
        )
        return
    for material in options.material:
        with tempfile.TemporaryDirectory() as folder:
            capture = Path(folder) / "capture"
            write_capture(capture, CaptureOptions(size=options.size, material=material))
            run(material, capture, lambda mesh, capture=capture: against_truth(mesh, capture), options)


if __name__ == "__main__":
    main()
