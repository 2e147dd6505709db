"""`neus-poses align`: correct the poses of a capture by what its photographs have in common, before any training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro

from neus_ns.data.region_options import RegionOptions, SceneType
from neus_ns.errors import InputError
from neus_ns.places import require_folder_can_be_written

if TYPE_CHECKING:
    from neus_ns.data.matching.capture import AlignedCapture


@dataclass
class AlignPoses:
    """Correct a capture's poses by places that several of its photographs show. Writes a transforms.json with the
    corrected poses and the places as a cloud and as a COLMAP model with tracks; the capture itself stays as it is."""

    data: tyro.conf.Positional[Path]
    """Folder of the capture, or its transforms.json."""
    output_dir: Path = Path("aligned")
    """New folder for transforms.json, sparse_pc.ply and colmap/sparse/0; train with it as --data."""
    pose_error: float = 2.5
    """How far off, in degrees as seen from a camera, the given poses may be."""
    shift_error: float = 3.0
    """How far off, in percent of the radius of the region of interest, the given positions may be."""
    scene_type: SceneType = "object"
    """What is photographed, as --pipeline.model.scene-type of ns-train."""
    region: RegionOptions = field(default_factory=RegionOptions)
    """Where the surface is looked for, as --pipeline.region of ns-train."""

    def main(self) -> None:
        """Align, write, and say what changed; raises InputError."""
        for name in ("pose_error", "shift_error"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}: give a number above zero.")
        if self.output_dir.is_file() or (self.output_dir.is_dir() and any(self.output_dir.iterdir())):
            raise InputError(f"{self.output_dir} is there already and not empty; give a new --output-dir.")
        require_folder_can_be_written(self.output_dir)
        # Imported here because it loads all of nerfstudio, which `--help` should not wait for.
        from neus_ns.data.matching.capture import write_capture

        found = self.aligned()
        write_capture(found, self.output_dir)
        print(summary(found))
        print(f"Wrote {self.output_dir}; train with --data {self.output_dir}")

    def aligned(self) -> "AlignedCapture":
        """The capture with its poses corrected; raises InputError where it cannot be."""
        from rich.progress import Progress

        from neus_ns.data.datamanager import SurfaceDataManagerConfig
        from neus_ns.data.matching.capture import align_capture
        from neus_ns.data.sources.auto import AutoDataParserConfig
        from neus_ns.data.survey import survey
        from neus_ns.kernels.resting import let_waiting_threads_sleep

        let_waiting_threads_sleep()
        # Photographs as they are, because the poses are written for these files.
        config = SurfaceDataManagerConfig(
            data=self.data, dataparser=AutoDataParserConfig(downscale_factor=1), camera_res_scale_factor=1.0
        )
        manager = config.setup(device="cpu", test_mode="val")
        scene = survey(manager, self.scene_type, self.region, self.pose_error)
        with Progress() as bars:
            tasks: dict[str, object] = {}

            def show(what: str, done: int, of: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=of)
                bars.update(tasks[what], completed=done)  # type: ignore[arg-type]

            return align_capture(manager, scene, self.pose_error, self.shift_error / 100, show)


def summary(found: "AlignedCapture") -> str:
    """What was found, and which photographs are not held by it, in a few lines."""
    aligned, names = found.aligned, [photo.path.name for photo in found.photos]
    seen = np.bincount(aligned.seen.view, minlength=len(names))
    lines = [
        f"{aligned.seen.track_count} points with {len(aligned.seen)} sightings, "
        f"{int(np.median(seen))} of them in a photograph (median)",
        f"points project {aligned.before_px:.2f} px (median) from where they are seen at the poses as given, "
        f"{aligned.after_px:.2f} px at the corrected ones",
    ]
    weak = aligned.weakly_held
    if len(weak):
        some = ", ".join(names[view] for view in weak[:5])
        lines.append(
            f"{len(weak)} photographs share too little with others for their poses to be corrected ({some}"
            f"{', ...' if len(weak) > 5 else ''}): they stay nearly as given"
        )
    return "\n".join(lines)
