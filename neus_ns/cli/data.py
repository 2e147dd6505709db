"""`neus-data check`: the scene report of a capture without training."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from neus_ns.data.region_options import RegionOptions, SceneType
from neus_ns.errors import InputError
from neus_ns.places import require_folder_can_be_written

if TYPE_CHECKING:
    from neus_ns.data.report.write import SceneReport


@dataclass
class Check:
    """Read a capture as training would, and report what is found and what will go badly. Nothing is trained."""

    data: tyro.conf.Positional[Path]
    """Folder of the capture, or its transforms.json."""
    output_dir: Path | None = None
    """Folder outside the capture for scene_report.json and scene_report.png; without it nothing is written."""
    scene_type: SceneType = "object"
    """What is photographed, as --pipeline.model.scene-type of ns-train."""
    downscale_factor: int | None = None
    """Look at photographs this many times smaller, as the option of that name of the parsers."""
    region: RegionOptions = field(default_factory=RegionOptions)
    """Where the surface is looked for, as --pipeline.region of ns-train."""

    def main(self) -> None:
        """Check; bad input ends in one sentence and exit code 1, warnings do not."""
        try:
            self.check()
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(1)

    def check(self) -> "SceneReport":
        """Print the report, and write it if a folder is given; raises InputError."""
        if self.output_dir is not None:
            _require_outside(self.output_dir, self.data)
            require_folder_can_be_written(self.output_dir)
        # Imported here because it loads all of nerfstudio, which `--help` should not wait for.
        from nerfstudio.utils.rich_utils import CONSOLE

        from neus_ns.data.datamanager import SurfaceDataManagerConfig
        from neus_ns.data.photograph_scale import longest_side
        from neus_ns.data.report.write import scene_report
        from neus_ns.data.sources.auto import AutoDataParserConfig
        from neus_ns.data.survey import survey
        from neus_ns.kernels.resting import let_waiting_threads_sleep
        from neus_ns.models.sizes import PRESETS

        let_waiting_threads_sleep()
        dataparser = AutoDataParserConfig(downscale_factor=self.downscale_factor)
        # Every photograph is decoded, as for training: that is what finds the damaged one.
        # As large as neus-hash reads them, whose report this is.
        longest = longest_side(PRESETS["cpu"].finest)
        config = SurfaceDataManagerConfig(data=self.data, dataparser=dataparser, longest_side=longest)
        manager = config.setup(device="cpu", test_mode="val")
        report = scene_report(manager, survey(manager, self.scene_type, self.region))
        report.print(CONSOLE)
        if self.output_dir is not None:
            report.write(self.output_dir)
            CONSOLE.print(f"Written to {self.output_dir}.", markup=False, soft_wrap=True)
        return report


def _require_outside(output_dir: Path, data: Path) -> None:
    capture = (data.parent if data.suffix == ".json" else data).absolute()
    target = output_dir.absolute()
    if target == capture or capture in target.parents:
        raise InputError(f"{output_dir} lies within the capture, to which nothing is added; give another --output-dir.")


def entrypoint() -> None:
    """The command `neus-data`."""
    command = tyro.extras.subcommand_cli_from_dict({"check": Check}, description=__doc__)
    command.main()


if __name__ == "__main__":
    entrypoint()
