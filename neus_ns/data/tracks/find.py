"""Looks for recorded tracks around a capture, best source first, and says in the log why one is left out."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from neus_ns.data.colmap.read import find_model, holds_points, read_model
from neus_ns.data.frame import similarity
from neus_ns.data.region import Region
from neus_ns.data.tracks.geo_neus import SeenPoints, find_geo_neus, read_geo_neus
from neus_ns.data.tracks.keep import near_the_rest, on_object
from neus_ns.data.tracks.placement import Placement, TracksError
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.tracks.sources import TrainingPhotos, cloud_tracks, colmap_tracks, listed_tracks
from neus_ns.data.views import Views
from neus_ns.data.world import applied_to_capture, world_from_parser

_PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".exr"}


def possible_frames(
    dataparser_transform: Float[Tensor, "3 4"], dataparser_scale: float, nerfstudio_capture: Path | None
) -> list[Placement]:
    """The frames that a model beside a capture may be in: that of the poses as they are, or as they once were.

    ns-process-data may have turned the poses (`applied_transform`) but not the model that they came from.
    """
    parser_from_world = torch.linalg.inv(world_from_parser(dataparser_transform, dataparser_scale, nerfstudio_capture))
    applied, applied_scale = applied_to_capture(nerfstudio_capture)
    applied[:3] *= applied_scale
    return [
        Placement(parser_from_world, "in the frame of the poses"),
        Placement(parser_from_world @ applied, "in the frame before applied_transform"),
    ]


def recorded_tracks(
    capture: Path, named_model: Path | None, photos: TrainingPhotos, ball: Region | None
) -> SfmTracks | None:
    """Tracks in nerfstudio's frame from around a capture (folder or json), or None.

    `named_model` is a COLMAP model known to be the capture's; `ball` that to which the capture says it normalises,
    in nerfstudio's frame. Files that are damaged raise InputError; sound ones of other poses are only left out.
    """
    folders = _folders(capture, photos.paths)
    model = find_model(folders) if named_model is None else named_model if holds_points(named_model) else None
    if model is not None:
        try:
            return colmap_tracks(read_model(model), photos, _image_ids(capture))
        except TracksError as error:
            _say(str(error), "yellow")
    listed = find_geo_neus(folders)
    if listed is not None:
        try:
            unit = [] if ball is None else [_unit_frame(ball, photos.frames[0])]
            points = read_geo_neus(listed)
            return listed_tracks(points, _rows(points, photos.paths), photos, unit)
        except TracksError as error:
            _say(str(error), "yellow")
    return None


def object_tracks(
    recorded: SfmTracks | None, points_parser: Float[Tensor, "points 3"] | None, views_parser: Views, region: Region
) -> SfmTracks | None:
    """The tracks that lie on the object, recorded ones if there are any, else guessed from bare points."""
    tracks = None
    if recorded is not None:
        tracks = near_the_rest(on_object(recorded, views_parser))
        _say(f"structure from motion: {tracks.summary()}")
    if (tracks is None or len(tracks) == 0) and points_parser is not None:
        try:
            tracks = cloud_tracks(points_parser.cpu(), views_parser, region.radius)
            _say(f"structure from motion: {tracks.summary()}")
        except TracksError as error:
            _say(str(error), "yellow")
    return tracks if tracks is not None and len(tracks) else None


def _say(line: str, style: str | None = None) -> None:
    # Paths may hold brackets, which the console would take for its own.
    CONSOLE.log(line, style=style, markup=False)


def _unit_frame(ball: Region, parser_from_world: Placement) -> Placement:
    """The unit ball's frame: the ball's centre and radius, with the axes of the world."""
    matrix = parser_from_world.parser_from_model
    world_from_parser = torch.linalg.inv(matrix)
    centre = world_from_parser[:3, :3] @ ball.centre.double() + world_from_parser[:3, 3]
    units = float(torch.linalg.det(matrix[:3, :3])) ** (1 / 3)
    return Placement(matrix @ similarity(ball.radius / units, centre), "in the capture's unit ball")


def _folders(capture: Path, photographs: Sequence[Path]) -> list[Path]:
    """Where models may lie: the capture, the folder of its point cloud, and those that hold the photographs."""
    root = capture.parent if capture.suffix == ".json" else capture
    folders = [root]
    cloud = _meta(capture).get("ply_file_path")
    if isinstance(cloud, str):
        folders.append((root / cloud).parent)
    images = photographs[0].parent
    # Never above the capture: what lies there belongs to others.
    folders += [path for path in (images, images.parent) if path not in root.parents]
    return list(dict.fromkeys(folders))


def _meta(capture: Path) -> dict:
    path = capture if capture.suffix == ".json" else capture / "transforms.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _image_ids(capture: Path) -> dict[str, int]:
    """COLMAP's number of every photograph for which transforms.json gives one, by file name."""
    frames = [frame for frame in _meta(capture).get("frames", []) if isinstance(frame.get("colmap_im_id"), int)]
    times = Counter(Path(frame["file_path"]).name for frame in frames)
    names = {Path(frame["file_path"]).name: frame["colmap_im_id"] for frame in frames}
    return {name: number for name, number in names.items() if times[name] == 1}


def _rows(listed: SeenPoints, photographs: Sequence[Path]) -> Int[Tensor, " photographs"]:
    """Which list belongs to which training photograph: both follow the order of the photographs' names."""
    folder = photographs[0].parent
    present = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in _PICTURES)
    if len(present) == listed.rows and {path.parent for path in photographs} == {folder}:
        return torch.tensor([present.index(path.name) for path in photographs])
    if len(photographs) == listed.rows:
        return torch.arange(listed.rows)
    raise TracksError(
        f"{listed.folder}/view_id.npy lists points for {listed.rows} photographs, but {folder} has {len(present)}, so "
        "its tracks are left out; write one list for each photograph to use them."
    )
