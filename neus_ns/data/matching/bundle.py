"""Bundle adjustment: camera poses and points that explain where photographs show the points (Triggs et al. 2000).

Levenberg-Marquardt on residuals in pixels, with the points eliminated (Schur complement) and Cauchy's weights. Poses
are held to those given by a weak prior, which also decides what no photograph tells: where the whole scene lies.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from neus_ns.data.matching.join import Sightings

_MOST_DAMPING, _LEAST_DAMPING = 1e8, 1e-8
# A step that lowers the cost by a smaller share than this is the last.
_ENOUGH = 1e-5


@dataclass(frozen=True)
class Prior:
    """How far poses may be off: standard deviations of a turn in radians and of a shift in the frame's units."""

    turn: float
    shift: float


@dataclass(frozen=True)
class Bundle:
    """Camera-to-frame poses (OpenGL axes) and points, in one frame."""

    poses: Float[np.ndarray, "views 3 4"]
    points: Float[np.ndarray, "points 3"]


@dataclass(frozen=True)
class Problem:
    """What an adjustment answers to: who shows what, focal lengths in pixels, and the given poses with their prior."""

    seen: Sightings
    focal: Float[np.ndarray, " views"]
    given: Float[np.ndarray, "views 3 4"]
    prior: Prior


@dataclass(frozen=True)
class NormalEquations:
    """Gauss-Newton blocks and slopes of cameras and points; `joined` links the two, a block for each sighting."""

    cameras: Float[np.ndarray, "views 6 6"]
    camera_slope: Float[np.ndarray, "views 6"]
    points: Float[np.ndarray, "points 3 3"]
    point_slope: Float[np.ndarray, "points 3"]
    joined: Float[np.ndarray, "n 6 3"]


def triangulated(poses: Float[np.ndarray, "views 3 4"], seen: Sightings) -> Float[np.ndarray, "points 3"]:
    """The point nearest to the lines of sight of each track, by squared distance."""
    rotation, centre = poses[seen.view, :, :3], poses[seen.view, :, 3]
    direction = np.einsum("nij,nj->ni", rotation, np.column_stack([seen.uv[:, 0], -seen.uv[:, 1], -np.ones(len(seen))]))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    across = np.eye(3) - direction[:, :, None] * direction[:, None, :]
    matrix, right = np.zeros((seen.track_count, 3, 3)), np.zeros((seen.track_count, 3))
    np.add.at(matrix, seen.track, across)
    np.add.at(right, seen.track, np.einsum("nij,nj->ni", across, centre))
    # Nearly parallel lines leave the depth open; then a point near the cameras will do to be thrown out by its error.
    return np.linalg.solve(matrix + 1e-9 * np.eye(3), right[..., None])[..., 0]


def residuals(
    bundle: Bundle, seen: Sightings, focal: Float[np.ndarray, " views"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 3"]]:
    """How many pixels off each sighting its point projects, and the point in the camera's axes (z < 0: before it)."""
    pose = bundle.poses[seen.view]
    local = np.einsum("nji,nj->ni", pose[:, :, :3], bundle.points[seen.track] - pose[:, :, 3])
    depth = _depth(local)
    projected = np.stack([-local[:, 0] / depth, local[:, 1] / depth], 1)
    return focal[seen.view, None] * (projected - seen.uv), local


def _depth(local: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """The last coordinate, never zero: what is divided by it is of no use there, but must stay finite."""
    return np.where(np.abs(local[:, 2]) < 1e-9, 1e-9, local[:, 2])


def adjusted(bundle: Bundle, problem: Problem, scale_px: float, steps: int = 50) -> Bundle:
    """The bundle after Levenberg-Marquardt, held to the given poses; errors much beyond `scale_px` hardly count."""
    damping = 1e-3
    cost = _cost(bundle, problem, scale_px)
    for _ in range(steps):
        normal = _normal_equations(bundle, problem, scale_px)
        while True:
            moved = _moved(bundle, *_solved(normal, problem.seen, damping))
            new = _cost(moved, problem, scale_px)
            if new < cost:
                break
            damping *= 8
            if damping > _MOST_DAMPING:
                return bundle
        bundle, gain, cost = moved, 1 - new / cost, new
        damping = max(damping / 4, _LEAST_DAMPING)
        if gain < _ENOUGH:
            break
    return bundle


def _cost(bundle: Bundle, problem: Problem, scale_px: float) -> float:
    square = np.square(residuals(bundle, problem.seen, problem.focal)[0] / scale_px).sum(1)
    turn, shift = _off(bundle.poses, problem.given)
    held = np.square(turn / problem.prior.turn).sum() + np.square(shift / problem.prior.shift).sum()
    return float(np.log1p(square).sum() * scale_px**2 + held)


def _off(
    poses: Float[np.ndarray, "views 3 4"], given: Float[np.ndarray, "views 3 4"]
) -> tuple[Float[np.ndarray, "views 3"], Float[np.ndarray, "views 3"]]:
    """Rotation vectors and shifts that lead from the given poses to these."""
    turn = Rotation.from_matrix(poses[:, :, :3] @ given[:, :, :3].transpose(0, 2, 1)).as_rotvec()
    return turn, poses[:, :, 3] - given[:, :, 3]


def _normal_equations(bundle: Bundle, problem: Problem, scale_px: float) -> NormalEquations:
    """A camera moves by R <- exp(w) R and c <- c + t, so a point x is at R^T exp(-w) (x - c - t) in its axes."""
    seen, focal, prior = problem.seen, problem.focal, problem.prior
    error, local = residuals(bundle, seen, focal)
    weight = 1 / (1 + np.square(error / scale_px).sum(1))
    rotation = bundle.poses[seen.view, :, :3]
    away = bundle.points[seen.track] - bundle.poses[seen.view, :, 3]
    z = _depth(local)
    zero = np.zeros_like(z)
    by_local = np.stack(
        [np.stack([-1 / z, zero, local[:, 0] / z**2], 1), np.stack([zero, 1 / z, -local[:, 1] / z**2], 1)], 1
    )
    by_point = focal[seen.view, None, None] * by_local @ rotation.transpose(0, 2, 1)
    # y -> exp(-w) y changes by y x w.
    x, y, w = away.T
    turn = np.stack([np.stack([zero, -w, y], 1), np.stack([w, zero, -x], 1), np.stack([-y, x, zero], 1)], 1)
    by_camera = np.concatenate([by_point @ turn, -by_point], 2)
    weighted = weight[:, None, None] * by_camera
    views = len(bundle.poses)
    cameras, camera_slope = np.zeros((views, 6, 6)), np.zeros((views, 6))
    np.add.at(cameras, seen.view, weighted.transpose(0, 2, 1) @ by_camera)
    np.add.at(camera_slope, seen.view, np.einsum("nij,ni->nj", weighted, error))
    points, point_slope = np.zeros((seen.track_count, 3, 3)), np.zeros((seen.track_count, 3))
    np.add.at(points, seen.track, weight[:, None, None] * by_point.transpose(0, 2, 1) @ by_point)
    np.add.at(point_slope, seen.track, np.einsum("nij,ni->nj", weight[:, None, None] * by_point, error))
    turned, shifted = _off(bundle.poses, problem.given)
    firmness = np.repeat([prior.turn**-2, prior.shift**-2], 3)
    cameras += np.diag(firmness)
    camera_slope += firmness * np.concatenate([turned, shifted], 1)
    return NormalEquations(cameras, camera_slope, points, point_slope, weighted.transpose(0, 2, 1) @ by_point)


def _solved(
    normal: NormalEquations, seen: Sightings, damping: float
) -> tuple[Float[np.ndarray, "views 6"], Float[np.ndarray, "points 3"]]:
    """The step of cameras and points that the damped equations ask for."""
    cameras, points, joined = normal.cameras, normal.points, normal.joined
    views = len(cameras)
    diagonal = np.einsum("pii->pi", points)
    damped = points + np.eye(3) * (damping * diagonal + 1e-12)[:, None, :]
    inverse = np.linalg.inv(damped)
    half = joined @ inverse[seen.track]
    rows = (6 * seen.view[:, None, None] + np.arange(6)[:, None] + 0 * np.arange(3)).ravel()
    columns = (3 * seen.track[:, None, None] + 0 * np.arange(6)[:, None] + np.arange(3)).ravel()
    shape = (6 * views, 3 * len(points))
    left, right = (csr_matrix((block.ravel(), (rows, columns)), shape=shape) for block in (half, joined))
    whole = -(left @ right.T).toarray()
    for view, block in enumerate(cameras):
        at = slice(6 * view, 6 * view + 6)
        whole[at, at] += block + damping * np.diag(np.diag(block))
    step = np.linalg.solve(whole, left @ normal.point_slope.ravel() - normal.camera_slope.ravel())
    of_points = -np.einsum("pij,pj->pi", inverse, normal.point_slope + (right.T @ step).reshape(-1, 3))
    return step.reshape(-1, 6), of_points


def _moved(
    bundle: Bundle, of_cameras: Float[np.ndarray, "views 6"], of_points: Float[np.ndarray, "points 3"]
) -> Bundle:
    turned = Rotation.from_rotvec(of_cameras[:, :3]).as_matrix() @ bundle.poses[:, :, :3]
    centres = bundle.poses[:, :, 3] + of_cameras[:, 3:]
    return Bundle(np.concatenate([turned, centres[..., None]], 2), bundle.points + of_points)
