"""A whole capture aligned: its photographs, training ones first, and the files that say what came of it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras, CameraType

from neus_ns.data.colmap.write import SparseLens, SparseModel, write_model
from neus_ns.data.covisibility import best_sources
from neus_ns.data.datamanager import SurfaceDataManager
from neus_ns.data.dataset import SurfaceDataset
from neus_ns.data.frame import transform_points
from neus_ns.data.matching.align import Aligned, align, matched
from neus_ns.data.matching.bundle import Prior, residuals
from neus_ns.data.matching.features import Features, find_features
from neus_ns.data.pinhole_views import pinhole_views
from neus_ns.data.ply import write_ply
from neus_ns.data.survey import Survey
from neus_ns.data.transforms_json import frame_entry, intrinsics, photographs, relative_name, write_json
from neus_ns.data.views import Views

# Photographs that each is compared with.
_SOURCES = 12
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Photo:
    """One photograph: the dataset that holds it, and its number there."""

    dataset: SurfaceDataset
    index: int

    @property
    def path(self) -> Path:
        return Path(self.dataset.image_filenames[self.index])

    @property
    def mask(self) -> Path | None:
        masks = self.dataset.mask_filenames
        return None if masks is None else Path(masks[self.index])

    @property
    def cameras(self) -> Cameras:
        return self.dataset.cameras


def photos_of(manager: SurfaceDataManager) -> tuple[list[Photo], int]:
    """All photographs, and how many of them, the first ones, are for training."""
    train = [Photo(manager.train_dataset, index) for index in range(len(manager.train_dataset))]
    known = {photo.path for photo in train}
    held_out = [Photo(manager.eval_dataset, index) for index in range(len(manager.eval_dataset))]
    return [*train, *(photo for photo in held_out if photo.path not in known)], len(train)


@dataclass(frozen=True)
class AlignedCapture:
    """What was found, in the unit frame and in the user's world."""

    photos: list[Photo]
    train_count: int
    features: list[Features]
    aligned: Aligned
    views_world: Views
    points_world: Float[np.ndarray, "points 3"]
    focal: Float[np.ndarray, " views"]


def align_capture(
    manager: SurfaceDataManager, scene: Survey, pose_error_degrees: float, shift_share: float, progress: Progress
) -> AlignedCapture:
    """Correct the poses of all photographs, `shift_share` being how far they may be off in radii of the region."""
    photos, train_count = photos_of(manager)
    views = _views_unit(photos, train_count, scene)
    features = []
    for number, photo in enumerate(photos):
        picture = photo.dataset.get_image_uint8(photo.index)
        features.append(find_features(picture, photo.cameras, photo.index))
        progress("photographs read", number + 1, len(photos))
    sources = best_sources(views, None, _SOURCES).tolist()
    pairs = sorted({(min(a, b), max(a, b)) for a, row in enumerate(sources) for b in row if a != b})
    given, focal = views.world_from_camera.double().numpy(), views.fx.double().numpy()
    prior, compared = Prior(np.radians(pose_error_degrees), shift_share), iter(range(1, len(pairs) + 1))
    seen = matched(
        features,
        given,
        pairs,
        focal,
        pose_error_degrees,
        lambda: progress("pairs compared", next(compared), len(pairs)),
    )
    aligned = align(given, seen, focal, prior)
    world_from_unit = scene.frame.world_from_unit
    moved = replace(views, world_from_camera=torch.from_numpy(aligned.bundle.poses)).moved(world_from_unit)
    points = transform_points(world_from_unit, torch.from_numpy(aligned.bundle.points)).numpy()
    return AlignedCapture(photos, train_count, features, aligned, moved, points, focal)


def _views_unit(photos: list[Photo], train_count: int, scene: Survey) -> Views:
    """The pinholes of all photographs, without masks, in the unit frame."""
    parts = [pinhole_views(photos[0].cameras, None)]
    chosen = [torch.arange(train_count)]
    if train_count < len(photos):
        parts.append(pinhole_views(photos[train_count].cameras, None))
        chosen.append(torch.tensor([photo.index for photo in photos[train_count:]]))
    numbers = {
        name: torch.cat([getattr(part, name)[rows].double() for part, rows in zip(parts, chosen, strict=True)])
        for name in ("world_from_camera", "fx", "fy", "cx", "cy", "width", "height")
    }
    return Views(**numbers, masks=None).moved(scene.frame.unit_from_parser)


def write_capture(found: AlignedCapture, folder: Path) -> None:
    """transforms.json beside a cloud and a COLMAP model of the tracks; photographs and masks stay where they are."""
    frames = []
    for view, photo in enumerate(found.photos):
        pose = found.views_world.world_from_camera[view]
        frame = frame_entry(photo.path, photo.cameras, photo.index, pose, folder)
        mask = photo.mask
        frames.append(frame if mask is None else frame | {"mask_path": relative_name(mask, folder)})
    meta: dict = {"ply_file_path": "sparse_pc.ply", **photographs(frames, found.photos[0].dataset.crop_radius)}
    if found.train_count < len(frames):
        names = [frame["file_path"] for frame in frames]
        held_out = names[found.train_count :]
        meta |= {"train_filenames": names[: found.train_count], "val_filenames": held_out, "test_filenames": held_out}
    colours = point_colours(found)
    folder.mkdir(parents=True, exist_ok=True)
    write_ply(folder / "sparse_pc.ply", trimesh.PointCloud(found.points_world, colors=colours))
    write_model(sparse_model(found, colours), folder / "colmap" / "sparse" / "0")
    # Last, because it makes a capture of the folder.
    write_json(folder / "transforms.json", meta)


def point_colours(found: AlignedCapture) -> UInt8[np.ndarray, "points 3"]:
    """The mean colour of the pixels that show each point."""
    seen = found.aligned.seen
    total, times = np.zeros((seen.track_count, 3)), np.zeros((seen.track_count, 1))
    for view, photo in enumerate(found.photos):
        own = np.flatnonzero(seen.view == view)
        picture = photo.dataset.get_image_uint8(photo.index).numpy()
        column, row = np.floor(found.features[view].xy[seen.keypoint[own]]).astype(int).T
        height, width = picture.shape[:2]
        np.add.at(total, seen.track[own], picture[row.clip(0, height - 1), column.clip(0, width - 1)])
        np.add.at(times, seen.track[own], 1)
    return np.round(total / np.maximum(times, 1)).astype(np.uint8)


def sparse_model(found: AlignedCapture, colours: UInt8[np.ndarray, "points 3"]) -> SparseModel:
    """The tracks as COLMAP keeps them."""
    seen = found.aligned.seen
    error = np.linalg.norm(residuals(found.aligned.bundle, seen, found.focal)[0], axis=1)
    mean = np.bincount(seen.track, error, seen.track_count) / np.bincount(seen.track, minlength=seen.track_count)
    first = np.cumsum([0, *map(len, found.features)])
    xy = np.concatenate([each.xy for each in found.features])[first[seen.view] + seen.keypoint]
    common = os.path.commonpath([photo.path.absolute().parent for photo in found.photos])
    return SparseModel(
        names=[photo.path.absolute().relative_to(common).as_posix() for photo in found.photos],
        lenses=[colmap_lens(photo.cameras, photo.index) for photo in found.photos],
        poses=found.views_world.world_from_camera.numpy(),
        points=found.points_world,
        colours=colours,
        errors=mean,
        view=seen.view,
        point=seen.track,
        xy=xy,
    )


def colmap_lens(cameras: Cameras, view: int) -> SparseLens:
    """The lens in COLMAP's words; nerfstudio's k4 of perspective lenses has no place there."""
    lens = intrinsics(cameras, view)
    pinhole = tuple(float(lens[name]) for name in ("fl_x", "fl_y", "cx", "cy"))
    k1, k2, k3, k4, p1, p2 = (float(lens.get(name, 0.0)) for name in ("k1", "k2", "k3", "k4", "p1", "p2"))
    size = (lens["w"], lens["h"])
    if int(cameras.camera_type[view]) == CameraType.FISHEYE.value:
        return SparseLens("OPENCV_FISHEYE", *size, (*pinhole, k1, k2, k3, k4))
    if any((k1, k2, k3, p1, p2)):
        return SparseLens("FULL_OPENCV", *size, (*pinhole, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0))
    return SparseLens("PINHOLE", *size, pinhole)
