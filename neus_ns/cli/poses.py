"""`neus-poses`: a capture's poses corrected, those of a run written out, and that of a photograph that is new to it."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from neus_ns.cli.align import AlignPoses
from neus_ns.cli.finished_run import config_file, load_run
from neus_ns.errors import InputError
from neus_ns.pixels.interest import PixelChoice
from neus_ns.places import require_file_can_be_written

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

    from neus_ns.models.locate import Located
    from neus_ns.models.pipeline import SurfacePipeline

_NOT_TRAINED_WITH_POSES = "its poses were not refined (--pipeline.model.cameras.optimise True); they are as they came"


@dataclass
class ExportPoses:
    """Write the poses of a run's training photographs, as refined, in the frame and units of the input poses."""

    load_config: Path
    """Path to the config YAML file of the run, or to the folder that holds it."""
    data: Path | None = None
    """Where the capture is now, if it is no longer where it was trained from."""
    output_path: Path = Path("poses.json")
    """File to write, in the format of transforms.json: OpenGL axes, camera to world."""

    def main(self) -> None:
        from neus_ns.data.transforms_json import photographs, write_json

        require_file_can_be_written(self.output_path)
        pipeline = load_pipeline(self.load_config, self.data)
        frames = pose_frames(pipeline, self.output_path.parent)
        write_json(self.output_path, photographs(frames, pipeline.datamanager.train_dataset.crop_radius_of_files))
        refined = pipeline.surface_model.camera_poses is not None
        remark = "" if refined else f"; {_NOT_TRAINED_WITH_POSES}"
        print(f"Wrote {self.output_path}: the poses of {len(frames)} training photographs{remark}.")


@dataclass
class Lens:
    """Intrinsics in pixels of the photograph; what is not given comes from the run's cameras."""

    fl_x: float | None = None
    """Focal length along rows."""
    fl_y: float | None = None
    """Focal length along columns; fl_x if only that is given."""
    cx: float | None = None
    """Column of the principal point."""
    cy: float | None = None
    """Row of the principal point."""


@dataclass
class LocatePhoto:
    """Find where a new photograph was taken from, by what the run has learned."""

    load_config: Path
    """Path to the config YAML file of the run, or to the folder that holds it."""
    image: Path
    """The photograph."""
    data: Path | None = None
    """Where the capture is now, if it is no longer where it was trained from."""
    mask: Path | None = None
    """Its foreground mask, bright where the object is; an alpha channel of the photograph serves as well."""
    output_path: Path = Path("pose.json")
    """File to write, in the format of transforms.json."""
    initial: str | None = None
    """Name of the training photograph to start from; otherwise all are tried, and the best is taken."""
    pixels: PixelChoice = "random"
    """Which pixels are compared: any, or half of them corners (points) or what surrounds corners (regions)."""
    steps: int = 300
    """Steps of the search."""
    rays: int = 1024
    """Pixels compared in each step."""
    rate: float = 0.01
    """How far a step goes at first, in radii of the region of interest and in radians."""
    limit: float = 0.08
    """Mean absolute colour error (0 to 1) above which the search counts as failed."""
    seed: int = 0
    """Seed of the choice of pixels."""
    lens: Annotated[Lens, tyro.conf.arg(name="")] = field(default_factory=Lens)

    def main(self) -> None:
        from neus_ns.data.transforms_json import frame_entry, photographs, write_json

        self.check()
        pipeline = load_pipeline(self.load_config, self.data)
        located = self.located(pipeline)
        pose = pose_world(pipeline, located.pose_unit)
        camera = lens_of(pipeline, read_photo(self.image, self.mask)[0].shape[:2], self.lens)
        frame = frame_entry(self.image, camera, 0, pose, self.output_path.parent)
        write_json(self.output_path, photographs([frame | {"photometric_error": located.error}], None))
        rows = "\n".join("  ".join(f"{value: .6f}" for value in row) for row in frame["transform_matrix"])
        print(f"{rows}\nphotometric error {located.error:.4f}; wrote {self.output_path}")
        if located.error > self.limit:
            raise InputError(
                f"{self.image}: the search did not converge, because the colour error that is left, "
                f"{located.error:.3f}, exceeds --limit {self.limit:g}; start from a photograph taken nearby "
                "(--initial), give a mask, or allow more --steps."
            )

    def check(self) -> None:
        """Raise InputError for what no search can do, or could not be written."""
        numbers = {name: getattr(self, name) for name in ("steps", "rays", "rate", "limit")}
        numbers |= {"fl-x": self.lens.fl_x, "fl-y": self.lens.fl_y}
        for name, value in numbers.items():
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"--{name} is {value}: give a number above zero.")
        require_file_can_be_written(self.output_path)

    def located(self, pipeline: "SurfacePipeline") -> "Located":
        """The search itself; raises InputError for input that it cannot start from."""
        from neus_ns.models.locate import LocatePlan, Photo, locate

        rgb, mask = read_photo(self.image, self.mask)
        photo = Photo(rgb, mask, lens_of(pipeline, rgb.shape[:2], self.lens))
        plan = LocatePlan(self.pixels, self.steps, self.rays, self.rate, self.seed)
        return locate(pipeline.surface_model, photo, start_poses_unit(pipeline, self.initial), plan)


def load_pipeline(load_config: Path, data: Path | None) -> "SurfacePipeline":
    """The pipeline of a run's latest checkpoint, without its photographs; `data` is where these are now."""
    from neus_ns.models.pipeline import SurfacePipeline

    path = config_file(load_config)
    config, pipeline = load_run(path, data)
    if not isinstance(pipeline, SurfacePipeline):
        raise InputError(f"Run {path} was trained with {config.method_name}; neus-poses reads runs of neus_ns methods.")
    return pipeline


def pose_frames(pipeline: "SurfacePipeline", folder: Path) -> list[dict[str, Any]]:
    """One entry a training photograph, with paths relative to `folder`, as transforms.json lists them."""
    from neus_ns.data.transforms_json import frame_entry

    manager = pipeline.datamanager
    cameras = manager.train_dataset.cameras_of_files().to("cpu")
    poses = pipeline.views_world(masks=False).world_from_camera
    return [
        frame_entry(Path(name), cameras, view, pose, folder)
        for view, (name, pose) in enumerate(zip(manager.train_photo_names, poses, strict=True))
    ]


def read_photo(image: Path, mask: Path | None) -> tuple[Tensor, Tensor | None]:
    """The photograph's colours, and where its mask or its alpha channel shows the object."""
    from neus_ns.data.decode import mask_coverage, open_picture, split_alpha

    colours, alpha = split_alpha(open_picture(image))
    if mask is not None:
        alpha = mask_coverage(mask)
        if alpha.shape != colours.shape[:2]:
            raise InputError(f"{mask} is not of the size of {image}; give the mask that belongs to the photograph.")
    shows = None if alpha is None or bool((alpha == 255).all()) else torch.from_numpy(np.array(alpha >= 128))
    if shows is not None and not bool(shows.any()):
        raise InputError(f"{mask or image}: the mask marks no object; mark it by bright pixels, or leave the mask out.")
    return torch.from_numpy(np.array(colours)), shows


def lens_of(pipeline: "SurfacePipeline", size: tuple[int, ...], given: Lens) -> "Cameras":
    """The camera of a photograph of this height and width: that of the run at this size, with what is given."""
    height, width = size
    cameras = pipeline.datamanager.train_dataset.cameras.to("cpu")
    fits = ((cameras.width[:, 0] * height - cameras.height[:, 0] * width).abs() <= cameras.width[:, 0]).nonzero()
    if len(fits) == 0 and given.fl_x is None:
        raise InputError(
            f"No camera of the run has the shape of this photograph ({width}x{height} pixels); give its focal length "
            "in pixels by --fl-x."
        )
    chosen = int(fits[0]) if len(fits) else 0
    camera = cameras[chosen : chosen + 1]
    if len(fits):
        camera.rescale_output_resolution(width / float(camera.width[0]))
    else:
        camera.cx[:], camera.cy[:], camera.distortion_params = width / 2, height / 2, None
    camera.width[:], camera.height[:] = width, height
    focal = {"fx": given.fl_x, "fy": given.fl_x if given.fl_y is None else given.fl_y, "cx": given.cx, "cy": given.cy}
    for name, value in focal.items():
        if value is not None:
            getattr(camera, name)[:] = value
    return camera


def start_poses_unit(pipeline: "SurfacePipeline", initial: str | None) -> Float[Tensor, "starts 3 4"]:
    """The refined poses of the training photographs in the unit frame, or that of the one named."""
    frame = pipeline.surface_model.field.frame
    poses = pipeline.views_world(masks=False).moved(torch.linalg.inv(frame.world_from_unit)).world_from_camera.float()
    if initial is None:
        return poses
    names = [Path(name) for name in pipeline.datamanager.train_photo_names]
    matching = [view for view, name in enumerate(names) if name.as_posix().endswith(initial) or name.stem == initial]
    if len(matching) != 1:
        found = "several training photographs" if matching else "no training photograph"
        raise InputError(f"--initial {initial} names {found}; give a name like {names[0].parent.name}/{names[0].name}.")
    return poses[matching]


def pose_world(pipeline: "SurfacePipeline", pose_unit: Float[Tensor, "3 4"]) -> Float[Tensor, "3 4"]:
    """A pose of the unit frame in the user's world."""
    frame = pipeline.surface_model.field.frame
    matrix, pose = frame.world_from_unit, pose_unit.double()
    axes = matrix[:3, :3] / frame.world_units_per_unit @ pose[:, :3]
    centre = matrix[:3, :3] @ pose[:, 3] + matrix[:3, 3]
    return torch.cat([axes, centre[:, None]], 1)


def entrypoint() -> None:
    """The command `neus-poses`; input that the user can mend ends in one sentence and exit code 1."""
    try:
        tyro.extras.subcommand_cli_from_dict({"align": AlignPoses, "export": ExportPoses, "locate": LocatePhoto}).main()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    entrypoint()
