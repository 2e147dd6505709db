"""`neus-export`, and `ns-export mesh`: from a finished run to a mesh file in the user's world frame and units."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from neus_ns.cli.finished_run import config_file, load_run
from neus_ns.errors import InputError
from neus_ns.surface.export import ExportReport, MeshOptions, export_surface
from neus_ns.surface.progress import progress_bars
from neus_ns.surface.source import SurfaceSource


@dataclass
class ExportMesh:
    """Export the surface of a neus_ns run as a clean, coloured mesh in the units of the input poses."""

    load_config: Path
    """Path to the config YAML file of the run, or to the folder that holds it."""
    output_dir: Path
    """Path to the output directory; mesh.ply (or .obj, .glb) and mesh.frame.json go there."""
    data: Path | None = None
    """Where the capture is now, if it is no longer where it was trained from; its poses are read again."""
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
        source = load_surface(config_file(self.load_config), self.data)
        with progress_bars() as progress:
            return export_surface(source, self.options, self.output_dir / f"mesh.{self.format}", progress)


def load_surface(config_path: Path, data: Path | None = None) -> SurfaceSource:
    """The surface of the run's latest checkpoint; `data` is where its photographs are now."""
    config, pipeline = load_run(config_path, data)
    surface_source = getattr(pipeline, "surface_source", None)
    if surface_source is None:
        raise InputError(
            f"Run {config_path} was trained with {config.method_name}, which has no signed distance to take a surface "
            "from; train it with neus-hash, or use ns-export poisson or ns-export tsdf."
        )
    return surface_source()


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
