"""Tracks from what structure-from-motion tools leave behind: COLMAP models, Geo-NeuS files, bare point clouds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from neus_ns.data.colmap.model import ColmapModel
from neus_ns.data.focus import share_in_frame
from neus_ns.data.frame import transform_points
from neus_ns.data.pinhole_views import pinhole_views
from neus_ns.data.tracks.geo_neus import SeenPoints
from neus_ns.data.tracks.keep import agreeing
from neus_ns.data.tracks.names import match_names
from neus_ns.data.tracks.placement import (
    Observations,
    Placement,
    TracksError,
    aligned_cameras,
    errors_px,
    place_by_keypoints,
    place_by_visibility,
)
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.data.visibility import sightlines

# Fewer points in the frame of two cameras than this share, and the cloud is not what the cameras look at.
_LEAST_SHARE_LOOKED_AT = 0.2
_ENOUGH_POINTS = 20_000


@dataclass(frozen=True)
class TrainingPhotos:
    """The training photographs in nerfstudio's frame, and in which frames a model beside them might be."""

    paths: Sequence[Path]
    cameras: Cameras
    frames: Sequence[Placement]


def colmap_tracks(model: ColmapModel, photos: TrainingPhotos, image_ids: Mapping[str, int]) -> SfmTracks:
    """Tracks of a COLMAP model in nerfstudio's frame, without observations that disagree.

    `image_ids` says for photographs, by file name, which image they are where names do not tell; it may be empty.
    """
    cameras, points = photos.cameras.to("cpu"), torch.from_numpy(model.points.xyz)
    image = _image_of(photos.paths, model, image_ids)
    matched = torch.nonzero(image >= 0)[:, 0]
    if len(matched) == 0:
        raise TracksError(
            f"{model.images.path} has no image with the name of a training photograph ({model.images.names[0]} and "
            f"{photos.paths[0].name} for two), so its tracks are left out; rename the images to use them."
        )
    view_of_image = torch.full((len(model.images.ids),), -1)
    view_of_image[image[matched]] = matched
    view = view_of_image[torch.from_numpy(model.element_image)]
    ours = torch.nonzero(view >= 0)[:, 0]
    if len(ours) == 0:
        raise TracksError(f"{model.folder} has no points that training photographs see, so there are no tracks.")
    ours = ours[torch.argsort(view[ours], stable=True)]
    seen = Observations(
        view[ours], torch.from_numpy(model.element_point)[ours], _in_our_pixels(model, cameras, view, ours)
    )
    place = _place(model, points, seen, photos, cameras, image, matched)
    points_parser = transform_points(place.parser_from_model, points)
    error = errors_px(points_parser, seen, cameras)
    good = agreeing(error)
    rejected = torch.bincount(seen.point[~good], minlength=len(points))
    observed = torch.bincount(seen.point[good], minlength=len(points))
    length = torch.from_numpy(np.diff(model.points.first_element)) - rejected
    measured = good & error.isfinite()
    total = torch.bincount(seen.point[measured], weights=error[measured], minlength=len(points))
    times = torch.bincount(seen.point[measured], minlength=len(points))
    tracks = SfmTracks(
        points=points_parser.float(),
        track_length=length,
        error_px=(total / times).float(),
        view=seen.view,
        point=seen.point,
        view_count=len(photos.paths),
        source=f"{len(points)} in {model.folder} ({len(matched)} of {len(photos.paths)} photographs, {place.how})",
    )
    return tracks.subset((length >= 2) & (observed > 0), good)


def _image_of(paths: Sequence[Path], model: ColmapModel, image_ids: Mapping[str, int]) -> Int[Tensor, " photographs"]:
    image = match_names(paths, model.images.names)
    number = {int(identity): index for index, identity in enumerate(model.images.ids)}
    if bool((image < 0).all()):
        image = torch.tensor([number.get(image_ids.get(path.name, -1), -1) for path in paths])
    return image


def _in_our_pixels(
    model: ColmapModel, cameras: Cameras, view: Int[Tensor, " elements"], ours: Int[Tensor, " pairs"]
) -> Float[Tensor, "pairs 2"]:
    """Keypoints in pixels of the training photographs, which may be smaller than those that COLMAP saw."""
    camera = model.image_camera[model.element_image[ours.numpy()]]
    theirs = np.stack([model.cameras.widths[camera], model.cameras.heights[camera]], axis=1)
    sizes = torch.cat((cameras.width[view[ours]], cameras.height[view[ours]]), dim=1)
    return torch.from_numpy(model.element_xy)[ours] * sizes / torch.from_numpy(theirs)


def _place(
    model: ColmapModel,
    points: Float[Tensor, "points 3"],
    seen: Observations,
    photos: TrainingPhotos,
    cameras: Cameras,
    image: Int[Tensor, " photographs"],
    matched: Int[Tensor, " matched"],
) -> Placement:
    cv_from_world = torch.from_numpy(model.cv_from_world)[image[matched]]
    rotation = cv_from_world[:, :, :3].transpose(1, 2)
    centre = -(rotation @ cv_from_world[:, :, 3:])
    # OpenCV's camera axes to OpenGL's.
    poses = torch.cat([rotation * torch.tensor([1.0, -1.0, -1.0]), centre], dim=2)
    laid_over = aligned_cameras(cameras.camera_to_worlds[matched], poses)
    candidates = [*photos.frames, *([] if laid_over is None else [laid_over])]
    name = f"The COLMAP model in {model.folder}"
    measured = ~seen.xy[:, 0].isnan()
    if bool(measured.any()):
        some = Observations(seen.view[measured], seen.point[measured], seen.xy[measured])
        return place_by_keypoints(points, some, cameras, candidates, name)
    return place_by_visibility(points, seen, pinhole_views(cameras, None), candidates, name)


def listed_tracks(
    listed: SeenPoints, rows: Int[Tensor, " photographs"], photos: TrainingPhotos, unit_frames: Sequence[Placement]
) -> SfmTracks:
    """Tracks of Geo-NeuS files in nerfstudio's frame; `rows` says which list is that of each training photograph.

    Geo-NeuS normalises its points to the unit ball of the capture's cameras: `unit_frames` come before all others.
    """
    view_of_row = torch.full((int(listed.row.max()) + 1 if len(listed.row) else 0,), -1)
    known = torch.nonzero(rows < len(view_of_row))[:, 0]
    view_of_row[rows[known]] = known
    view = view_of_row[listed.row]
    ours = torch.nonzero(view >= 0)[:, 0]
    if len(ours) == 0:
        raise TracksError(f"{listed.folder} lists no points for any training photograph, so there are no tracks.")
    ours = ours[torch.argsort(view[ours], stable=True)]
    seen = Observations(view[ours], listed.point[ours], torch.full((len(ours), 2), torch.nan))
    views = pinhole_views(photos.cameras, None)
    candidates = [*unit_frames, *photos.frames]
    place = place_by_visibility(listed.points, seen, views, candidates, f"{listed.folder}")
    length = torch.bincount(listed.point, minlength=len(listed.points))
    tracks = SfmTracks(
        points=transform_points(place.parser_from_model, listed.points).float(),
        track_length=length,
        error_px=torch.full((len(length),), torch.nan),
        view=seen.view,
        point=seen.point,
        view_count=len(photos.paths),
        source=f"{len(length)} in {listed.folder} ({place.how})",
    )
    return tracks.subset((length >= 2) & (torch.bincount(seen.point, minlength=len(length)) > 0))


def cloud_tracks(points_parser: Float[Tensor, "points 3"], views_parser: Views, radius: float) -> SfmTracks:
    """A cloud without tracks: who sees what by projection and order of depth, for an object of about this radius."""
    some = points_parser[:: -(-len(points_parser) // _ENOUGH_POINTS)]
    looked_at = float((share_in_frame(views_parser, some.double()) * len(views_parser.fx) >= 1.5).double().mean())
    if looked_at < _LEAST_SHARE_LOOKED_AT:
        raise TracksError(
            f"Only {looked_at:.0%} of the capture's points are in frame of two photographs, so they belong to other "
            "poses and are left out; export poses and points together to use them."
        )
    # How much deeper than its neighbours in a picture a point may lie and still count as seen.
    view, point = sightlines(views_parser, points_parser, 0.05 * radius)
    return SfmTracks(
        points=points_parser,
        track_length=torch.zeros(len(points_parser), dtype=torch.long),
        error_px=torch.full((len(points_parser),), torch.nan),
        view=view,
        point=point,
        view_count=len(views_parser.fx),
        source=f"{len(points_parser)} without recorded tracks (who sees them is guessed from the order of depth)",
    )
