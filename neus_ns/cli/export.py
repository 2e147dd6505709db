"""`neus-export`, and `ns-export mesh`: from a finished run to a mesh file in the user's world frame and units."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from neus_ns.errors import InputError
from neus_ns.surface.export import ExportReport, MeshOptions, export_surface
from neus_ns.surface.progress import progress_bars
from neus_ns.surface.source import SurfaceSource

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import TrainerConfig


@dataclass
class ExportMesh:
    """Export the surface of a neus_ns run as a clean, coloured mesh in the units of the input poses."""

    load_config: Path
    """Path to the config YAML file of the run, or to the folder that holds it."""
    output_dir: Path
    """Path to the output directory; mesh.ply (or .obj, .glb) and mesh.frame.json go there."""
    format: Literal["ply", "obj", "glb"] = "ply"
    """File format of the mesh."""
    options: Annotated[MeshOptions, tyro.conf.arg(name="")] = field(default_factory=MeshOptions)

    def main(self) -> None:
        """Export, and say what was written; input that the user can mend ends in one sentence and exit code 1."""
        try:
            report = self.export()
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(1)
        print(describe(report))

    def export(self) -> ExportReport:
        """Load the run and write its mesh; raises InputError."""
        source = load_surface(config_file(self.load_config))
        with progress_bars() as progress:
            return export_surface(source, self.options, self.output_dir / f"mesh.{self.format}", progress)


def config_file(path: Path) -> Path:
    """The config.yml of a run, given it or its folder."""
    config = path / "config.yml" if path.is_dir() else path
    if not config.is_file():
        raise InputError(
            f"{config}: no such file; --load-config takes a run's config.yml or its folder, which ns-train names when "
            "it starts (outputs/SCENE/METHOD/TIME)."
        )
    return config


def load_surface(config_path: Path) -> SurfaceSource:
    """The surface of the run's latest checkpoint."""
    # Imported here because it loads all of nerfstudio, which `--help` should not wait for.
    from nerfstudio.utils.eval_utils import eval_setup

    # In "inference" mode no photographs are read: cameras and masks are all that the export looks at.
    config, pipeline, _, _ = eval_setup(config_path, test_mode="inference", update_config_callback=require_checkpoint)
    surface_source = getattr(pipeline, "surface_source", None)
    if surface_source is None:
        raise InputError(
            f"Run {config_path} was trained with {config.method_name}, which has no signed distance to take a surface "
            "from; train it with neus-hash, or use ns-export poisson or ns-export tsdf."
        )
    return surface_source()


def require_checkpoint(config: "TrainerConfig") -> "TrainerConfig":
    """Pass the config on, with the step of the newest checkpoint that is whole; nerfstudio would take a damaged one."""
    # Imported here because it loads torch, which `--help` should not wait for.
    from neus_ns.training.checkpoints import newest_whole_checkpoint
    from neus_ns.training.trainer import SurfaceTrainerConfig

    folder = config.get_checkpoint_dir()
    if not any(folder.glob("step-*.ckpt")):
        raise InputError(
            f"{folder.absolute()}: there is no checkpoint (step-*.ckpt) in this folder; the path is relative to where "
            "ns-train was started, so run the command there, and check that the training got as far as its first save."
        )
    if not isinstance(config, SurfaceTrainerConfig):
        return config
    path, state, damaged = newest_whole_checkpoint(folder)
    if damaged:
        names = ", ".join(each.name for each in damaged)
        print(f"Damaged in {folder}: {names}; taking {path.name} instead.", file=sys.stderr)
    config.load_step = state["step"]
    return config


def describe(report: ExportReport) -> str:
    """What the user wants to know of the file written, in two sentences."""
    parts = report.components
    dropped = f", {parts.dropped} dropped" if parts.dropped else ""
    return (
        f"Wrote {report.path}: {report.vertices} vertices, {report.faces} faces, {parts.kept} parts kept{dropped}, "
        f"cells of {report.cell_world:.4g} units. It took {report.seconds:.1f} s and looked at "
        f"{report.evaluated_share:.1%} of the lattice."
    )


def entrypoint() -> None:
    """The command `neus-export`; it takes the same arguments as `ns-export mesh`."""
    tyro.cli(tyro.conf.FlagConversionOff[ExportMesh]).main()


if __name__ == "__main__":
    entrypoint()
