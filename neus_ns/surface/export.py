"""The way from a trained surface to a file: extract, clean, simplify, colour, write."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from neus_ns.surface.clean import CleanReport, Keep, clean_mesh
from neus_ns.surface.colour import vertex_colours
from neus_ns.surface.extract import extract
from neus_ns.surface.grid import require_resolution
from neus_ns.surface.progress import ProgressFn, silent
from neus_ns.surface.simplify import check_target, simplify_mesh
from neus_ns.surface.source import SurfaceSource
from neus_ns.surface.write import check_mesh_path, write_mesh


@dataclass(frozen=True)
class MeshOptions:
    """What the mesh should be like."""

    resolution: int = 512
    """Cells along the longest side of the box that holds the object; any number."""
    colour: bool = True
    """Whether vertices get the trained colour, seen from straight in front of the surface."""
    keep: Keep = "supported"
    """Which connected parts stay: those that masks and cameras support, the largest one, or all."""
    target_faces: int | None = None
    """Simplify to about this many triangles; None keeps all of them."""


@dataclass(frozen=True)
class ExportReport:
    """What was written, and what it took."""

    path: Path
    vertices: int
    faces: int
    components: CleanReport
    evaluated: int
    """Points at which the signed distance was evaluated for the extraction."""
    evaluated_share: float
    """The same per corner of the full lattice."""
    cell_world: float
    """Edge of a lattice cell in the user's units: details below it are not in the mesh."""
    seconds: float


def export_surface(
    source: SurfaceSource, options: MeshOptions, path: Path, progress: ProgressFn = silent
) -> ExportReport:
    """Write the surface to `path` (.ply, .obj or .glb) in the user's world frame and units."""
    start = time.perf_counter()
    check_mesh_path(path)
    require_resolution(options.resolution)
    if options.target_faces is not None:
        check_target(options.target_faces)
    extraction = extract(source, options.resolution, progress)
    progress("Judging the parts", 0.0)
    mesh, components = clean_mesh(extraction.mesh, options.keep, source.views, source.frame.world_from_unit)
    progress("Judging the parts", 1.0)
    if options.target_faces is not None:
        progress("Simplifying", 0.0)
        mesh = simplify_mesh(mesh, options.target_faces)
        progress("Simplifying", 1.0)
    # Colours come last, so that a simplified mesh is coloured at the vertices it ends with.
    colours = None
    if options.colour:
        colours = vertex_colours(mesh, source.colour_fn, source.may_hold_surface.device, progress)
    cell_world = extraction.grid.cell * source.frame.world_units_per_unit
    facts = {
        "resolution": options.resolution,
        "cell_world": cell_world,
        "components": {**asdict(components), "dropped": components.dropped},
    }
    write_mesh(mesh, colours, source.frame, path, facts)
    return ExportReport(
        path=path,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        components=components,
        evaluated=extraction.evaluated,
        evaluated_share=extraction.evaluated_share,
        cell_world=cell_world,
        seconds=time.perf_counter() - start,
    )
