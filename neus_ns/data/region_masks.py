"""The region of interest from masks: a ball around their visual hull, and a clear word when they leave none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neus_ns.data.focus import Focus, camera_centres, focus_of_masks
from neus_ns.data.hull import (
    LEAST_WITNESSES,
    PIXEL_SLACK,
    Silhouette,
    cell_centres,
    sight,
    silhouettes,
    witness_grid,
)
from neus_ns.data.points_on_masks import Reach, object_reach
from neus_ns.data.views import Views
from neus_ns.errors import InputError

_COARSE, _FINE = 48, 64
# Longer masks are reduced to between this and twice as many pixels.
_MASK_SIDE_PX = 400
_MARGIN = 1.05
# A cell has to be in frame of this share of as many views as agree on the best cell. Behind the object the cones of a
# few neighbours overlap outside everybody else's frame, where nothing would cut. The best cell is the measure, and not
# the number of views, because each of many close-ups sees but a part.
_LEAST_SHARE = 0.4
# A hull that nowhere so many of the views agree on is chance and not an object. And where no more than so many views
# spoil a place that most others agree on, these are to blame; where more do, the whole set is at odds.
_FEW_VIEWS = 0.2
_MOST_VIEWS = 0.5
# An empty mask is believed unless so much of the others' hull lies in its frame.
_MISSED_SHARE = 0.9
# Pixels along the frame that are object in most masks: background and object may be swapped.
_INVERTED_SHARE = 0.95
# Said of a region whose masks look like that, and may yet be right.
INVERTED_REMARK = ", though most masks are white all along their edges"


@dataclass(frozen=True)
class HullBall:
    """A ball around the visual hull, and what else is to be said of it, each after a comma."""

    centre: Float[Tensor, "3"]
    radius: float
    remark: str = ""


@dataclass(frozen=True)
class _Cube:
    """Cells around a place, and how many views have each of them in frame and on their masks."""

    centre: Float[Tensor, "3"]
    half_side: float
    witnesses: Int64[Tensor, "r r r"]

    @property
    def most(self) -> int:
        return int(self.witnesses.max())

    @property
    def least(self) -> int:
        """So many witnesses make a cell one of the hull."""
        return max(LEAST_WITNESSES, math.ceil(_LEAST_SHARE * self.most))

    @property
    def is_open(self) -> bool:
        """Whether the hull is cut off by the cube's faces."""
        hull = self.witnesses >= self.least
        return any(bool(hull.select(axis, end).any()) for axis in range(3) for end in (0, -1))


def hull_ball(
    views: Views, focus: Focus, mask_names: Sequence[str], points: Float[Tensor, "points 3"] | None = None
) -> HullBall:
    """A ball around the visual hull, found coarsely around what the cameras look at and then refined.

    A hull that does not end, since it was seen from one side only, is bounded by the SfM points on the object where
    these are enough.
    """
    assert views.masks is not None
    shows_object = [bool(mask.any()) for mask in views.masks]
    chosen = [index for index, shows in enumerate(shows_object) if shows]
    if len(chosen) < 2:
        raise InputError("Fewer than two masks mark any object; paint the object white in the masks, or remove them.")
    look_inverted = _look_inverted(views.masks)
    if look_inverted:
        _refuse_inverted(views, focus, mask_names[chosen[0]])
    showing = _reduced(select_views(views, chosen))
    # Not sparing cells at the frames' edges: where several frames end together they would leave islands.
    prepared = silhouettes(showing, beyond_frame_is_object=False)
    cube = _coarse_cube(camera_centres(views), showing, prepared, focus, [mask_names[index] for index in chosen])
    cells = _refined(prepared, cube.centre, cube.half_side, cube.witnesses >= cube.least, cube.least)
    ball = _ball_around(cells, "")
    if cube.is_open:
        cells, ball = _bounded(prepared, cells, cube.least, points)
    empty = [index for index, shows in enumerate(shows_object) if not shows]
    if empty:
        _require_out_of_sight(select_views(views, empty), cells, [mask_names[index] for index in empty])
    return replace(ball, remark=ball.remark + INVERTED_REMARK) if look_inverted else ball


def _ball_around(cells: Float[Tensor, "n 3"], remark: str) -> HullBall:
    middle = (cells.amin(0) + cells.amax(0)) / 2
    return HullBall(middle, _MARGIN * float((cells - middle).norm(dim=-1).max()), remark)


def _refined(
    prepared: list[Silhouette],
    centre: Float[Tensor, "3"],
    half_side: float,
    hull: Bool[Tensor, "r r r"],
    least: int,
    reach: Reach | None = None,
) -> Float[Tensor, "n 3"]:
    """Centres of what is left of a cube's hull, of that within reach if given, in cubes laid ever closer around it."""
    for resolution in (_COARSE, _FINE):
        points = _kept_centres(hull, centre, half_side)
        cell = 2 * half_side / hull.shape[0]
        low, high = points.amin(0), points.amax(0)
        refined_centre, refined_half_side = (low + high) / 2, float((high - low).max()) / 2 + cell
        refined = witness_grid(prepared, refined_centre, refined_half_side, resolution, PIXEL_SLACK) >= least
        if reach is not None:
            refined &= _within(reach, refined_centre, refined_half_side, resolution)
        if not refined.any():
            # Finer cells can all vanish where poses and masks agree only just; the coarser answer then stands.
            break
        centre, half_side, hull = refined_centre, refined_half_side, refined
    return _kept_centres(hull, centre, half_side)


def _bounded(
    prepared: list[Silhouette], cells: Float[Tensor, "n 3"], least: int, points: Float[Tensor, "points 3"] | None
) -> tuple[Float[Tensor, "m 3"], HullBall]:
    """What points on the object leave of an open hull, and its ball; the hull as it is where they do not bound it."""
    ball = _ball_around(cells, ", open behind")
    if points is None:
        return cells, ball
    reach = object_reach(prepared, points[(points - ball.centre).norm(dim=-1) <= ball.radius])
    if reach is None:
        return cells, ball
    hull = witness_grid(prepared, reach.centre, reach.radius, _COARSE, PIXEL_SLACK) >= least
    hull &= _within(reach, reach.centre, reach.radius, _COARSE)
    if not hull.any():
        return cells, ball
    fewer = _refined(prepared, reach.centre, reach.radius, hull, least, reach)
    smaller = _ball_around(fewer, f"{ball.remark}, where {reach.points} SfM points on the object bound it")
    return (fewer, smaller) if smaller.radius < ball.radius else (cells, ball)


def _reduced(views: Views) -> Views:
    """The views with masks of moderate size: a small pixel is object where any of those that it stands for is.

    The cells here are far larger than the pixels of a photograph, of which the distances to outlines would cost most
    of the time.
    """
    assert views.masks is not None
    side = max(max(mask.shape) for mask in views.masks)
    factor = side // _MASK_SIDE_PX
    if factor < 2:
        return views
    masks = []
    for mask in views.masks:
        # Rows and columns that fill no small pixel lie at the frame's edge, where nothing is known beyond them.
        rows, columns = (length // factor for length in mask.shape)
        pixels = mask[: rows * factor, : columns * factor].cpu().numpy()
        # Row after row is quicker than one maximum over blocks.
        thinned = np.logical_or.reduce([pixels[start::factor] for start in range(factor)])
        small = np.logical_or.reduce([thinned[:, start::factor] for start in range(factor)])
        masks.append(torch.from_numpy(small).to(mask.device))
    size = torch.tensor([mask.shape for mask in masks]).to(views.width)
    return replace(
        views,
        fx=views.fx / factor,
        fy=views.fy / factor,
        cx=views.cx / factor,
        cy=views.cy / factor,
        width=size[:, 1],
        height=size[:, 0],
        masks=masks,
    )


def select_views(views: Views, chosen: list[int]) -> Views:
    """The record of some of the views."""
    return Views(
        world_from_camera=views.world_from_camera[chosen],
        fx=views.fx[chosen],
        fy=views.fy[chosen],
        cx=views.cx[chosen],
        cy=views.cy[chosen],
        width=views.width[chosen],
        height=views.height[chosen],
        masks=None if views.masks is None else [views.masks[index] for index in chosen],
    )


def _kept_centres(hull: Bool[Tensor, "r r r"], centre: Float[Tensor, "3"], half_side: float) -> Float[Tensor, "n 3"]:
    return cell_centres(centre, half_side, hull.shape[0], hull.flatten().nonzero()[:, 0])


def _within(reach: Reach, centre: Float[Tensor, "3"], half_side: float, resolution: int) -> Bool[Tensor, "res res res"]:
    index: Int64[Tensor, " cells"] = torch.arange(resolution**3, device=centre.device)
    return reach.holds(cell_centres(centre, half_side, resolution, index)).view(resolution, resolution, resolution)


def _coarse_cube(
    centres: Float[Tensor, "cameras 3"], showing: Views, prepared: list[Silhouette], focus: Focus, names: list[str]
) -> _Cube:
    """A cube whose hull ends inside it: around the cameras' focus if possible, else around that of the masks."""
    found = _cube_around(centres, prepared, focus.point)
    if found is None or found.is_open:
        of_masks = focus_of_masks(showing)
        other = _cube_around(centres, prepared, of_masks.point) if of_masks.is_known else None
        # Where the axes leave the distance open, the first cube is around a mere guess.
        if other is not None and (found is None or not other.is_open or not focus.is_known):
            found = other
    if found is None or found.most < _MOST_VIEWS * len(prepared):
        _blame_single_masks(centres, prepared, focus.point if found is None else found.centre, names)
    if found is None:
        raise InputError(
            f"The masks ({names[0]} first) disagree with the camera poses and leave no visual hull; check that the "
            "object is white in the masks and that masks, photographs and poses belong together."
        )
    return found


def _cube_around(
    centres: Float[Tensor, "cameras 3"], prepared: list[Silhouette], middle: Float[Tensor, "3"]
) -> _Cube | None:
    """A cube up to the nearest camera, or else the median or the farthest, whose hull ends inside it.

    The first with a hull if in none it ends; None if there is no hull in any.
    """
    distances = (centres - middle).norm(dim=-1)
    found = None
    for half_side in sorted({_near(distances), float(distances.median()), float(distances.max())}):
        cube = _Cube(middle, half_side, witness_grid(prepared, middle, half_side, _COARSE, PIXEL_SLACK))
        if cube.most < max(LEAST_WITNESSES, _FEW_VIEWS * len(prepared)):
            continue
        found = found or cube
        if not cube.is_open:
            return cube
    return found


def _near(distances: Float[Tensor, " cameras"]) -> float:
    """How near the nearest camera is, though one that nearly touches the place says nothing."""
    return max(float(distances.min()), 0.1 * float(distances.median()))


def _refuse_inverted(views: Views, focus: Focus, first: str) -> None:
    """Refuse masks that are white along their edges if what they call background is one compact object.

    Close-ups can fill their frames, and passers-by may be masked out, but neither leaves a hull of the background that
    the views agree on. A mask that is white all over says that there is no background, and counts.
    """
    assert views.masks is not None
    swapped = _reduced(replace(views, masks=[~mask for mask in views.masks]))
    cube = _cube_around(camera_centres(views), silhouettes(swapped, beyond_frame_is_object=False), focus.point)
    if cube is not None and not cube.is_open and cube.most >= _MOST_VIEWS * len(views.masks):
        raise InputError(
            f"The masks seem to mark the background instead of the object ({first} first): they are white all along "
            "the photographs' edges; invert them."
        )


def _look_inverted(masks: "Sequence[Bool[Tensor, '_h _w']]") -> bool:
    inverted = 0
    for mask in masks:
        edge = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).double().mean()
        inverted += bool(edge > _INVERTED_SHARE) and not bool(mask.all())
    return inverted > 0.5 * len(masks)


def _blame_single_masks(
    centres: Float[Tensor, "cameras 3"], prepared: list[Silhouette], focus: Float[Tensor, "3"], names: list[str]
) -> None:
    """Refuse a few masks that cut away a place which most of the others agree on."""
    half_side = _near((centres - focus).norm(dim=-1))
    index: Int64[Tensor, " cells"] = torch.arange(_COARSE**3, device=focus.device)
    points = cell_centres(focus, half_side, _COARSE, index).to(prepared[0].camera_from_world)
    cell_radius = math.sqrt(3.0) * half_side / _COARSE
    sightings = [sight(silhouette, points, cell_radius, PIXEL_SLACK) for silhouette in prepared]
    cuts = torch.stack([sighting.is_background for sighting in sightings])
    agreeing = torch.stack([sighting.in_frame for sighting in sightings]).sum(0) - cuts.sum(0)
    cuts = cuts[:, agreeing > _MOST_VIEWS * len(prepared)]
    if cuts.shape[1] == 0:
        return
    votes = cuts.sum(0)
    fewest = int(votes.min())
    if 0 < fewest <= max(1, _FEW_VIEWS * len(prepared)):
        blame = cuts[:, votes == fewest].sum(1)
        others = f" and {fewest - 1} more" if fewest > 1 else ""
        raise InputError(
            f"The mask {names[int(blame.argmax())]}{others} contradicts the others, which leaves no visual hull; "
            "correct it or its camera pose, or remove that frame."
        )


def _require_out_of_sight(views: Views, hull_points: Float[Tensor, "n 3"], names: list[str]) -> None:
    """Refuse an empty mask of a photograph that should show the object: it would cut all of it away."""
    for name, silhouette in zip(names, silhouettes(views, beyond_frame_is_object=False), strict=True):
        in_frame = sight(silhouette, hull_points.to(silhouette.camera_from_world), 0.0, 0.0).in_frame
        if float(in_frame.double().mean()) > _MISSED_SHARE:
            raise InputError(
                f"The mask {name} is empty, though by its pose the photograph should show the object; make that mask "
                "again or remove its frame."
            )
