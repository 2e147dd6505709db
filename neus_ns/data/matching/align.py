"""Poses corrected by the photographs themselves, and the points that come with it: matches, tracks, adjustment.

This needs poses to start from, good to a few degrees, as phones and turntables give them. Unlike the correction that
training learns with the surface, it looks at nothing but places that look alike in several photographs, and so finds
positions as well as orientations, where there is texture.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from neus_ns.data.matching.bundle import Bundle, Prior, Problem, adjusted, residuals, triangulated
from neus_ns.data.matching.features import Features
from neus_ns.data.matching.join import Sightings, join_matches
from neus_ns.data.matching.pairs import match_pair
from neus_ns.data.sources.photos import OPENGL_FROM_OPENCV
from neus_ns.errors import InputError

# From errors that wrong poses make to those of keypoints, in pixels: each round looks past what is much worse.
_SCALES_PX = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
# Sightings that are further off than this many of the last scale are mismatches.
_MISMATCH = 4.0
# Lines of sight that meet under less than this leave the depth of their point open.
_LEAST_DEGREES = 2.0
# A photograph with fewer sightings than this is held by little more than the pose that was given.
_ENOUGH_SIGHTINGS = 20


@dataclass(frozen=True)
class Aligned:
    """The adjusted cameras and points, who sees what, and how far off (median, pixels) before and after."""

    bundle: Bundle
    seen: Sightings
    before_px: float
    after_px: float

    @property
    def weakly_held(self) -> Int[np.ndarray, " some"]:
        """Views with too few sightings to say much about their poses."""
        return np.flatnonzero(np.bincount(self.seen.view, minlength=len(self.bundle.poses)) < _ENOUGH_SIGHTINGS)


def matched(
    features: list[Features],
    poses: Float[np.ndarray, "views 3 4"],
    pairs: Iterable[tuple[int, int]],
    focal: Float[np.ndarray, " views"],
    pose_error_degrees: float,
    done: Callable[[], None] = lambda: None,
) -> Sightings:
    """Tracks of keypoints over all given pairs of views."""
    matches = {}
    for first, second in pairs:
        motion = relative(poses[first], poses[second])
        shared_focal = float(np.sqrt(focal[first] * focal[second]))
        found = match_pair(features[first], features[second], motion, shared_focal, pose_error_degrees)
        if len(found):
            matches[first, second] = found
        done()
    return join_matches(features, matches)


def relative(first: Float[np.ndarray, "3 4"], second: Float[np.ndarray, "3 4"]) -> Float[np.ndarray, "3 4"]:
    """From the first camera to the second, OpenCV's axes, of poses with OpenGL's."""
    turn = OPENGL_FROM_OPENCV @ second[:, :3].T @ first[:, :3] @ OPENGL_FROM_OPENCV
    shift = OPENGL_FROM_OPENCV @ second[:, :3].T @ (first[:, 3] - second[:, 3])
    return np.column_stack([turn, shift])


def align(
    given: Float[np.ndarray, "views 3 4"], seen: Sightings, focal: Float[np.ndarray, " views"], prior: Prior
) -> Aligned:
    """Adjust poses to the tracks, not far from those given; raises InputError if that cannot work."""
    if len(seen) < 2 * _ENOUGH_SIGHTINGS:
        raise InputError(
            f"The photographs share only {seen.track_count} places that look alike, too few to correct poses by; this "
            "needs texture and photographs that overlap. (Training can correct poses without: "
            "--pipeline.model.cameras.optimise True.)"
        )
    bundle = Bundle(given, triangulated(given, seen))
    problem = Problem(seen, focal, given, prior)
    for scale in _SCALES_PX:
        bundle = adjusted(bundle, problem, scale, steps=15)
        # Points that were wrong with the poses of before get another chance.
        bundle = Bundle(bundle.poses, triangulated(bundle.poses, seen))
    error, local = residuals(bundle, seen, focal)
    good = (np.linalg.norm(error, axis=1) < _MISMATCH * _SCALES_PX[-1]) & (local[:, 2] < 0)
    bundle, seen = without(bundle, seen, good)
    bundle, seen = without(bundle, seen, (widest_degrees(bundle, seen) > _LEAST_DEGREES)[seen.track])
    if len(seen) < 2 * _ENOUGH_SIGHTINGS:
        raise InputError(
            "The places that look alike in the photographs contradict one another at the given poses, so these cannot "
            "be corrected by them; poses have to be right to a few degrees to begin with."
        )
    bundle = adjusted(bundle, Problem(seen, focal, given, prior), _SCALES_PX[-1])
    before = Bundle(given, triangulated(given, seen))
    return Aligned(bundle, seen, _median_px(before, seen, focal), _median_px(bundle, seen, focal))


def _median_px(bundle: Bundle, seen: Sightings, focal: Float[np.ndarray, " views"]) -> float:
    return float(np.median(np.linalg.norm(residuals(bundle, seen, focal)[0], axis=1)))


def without(bundle: Bundle, seen: Sightings, keep: Bool[np.ndarray, " n"]) -> tuple[Bundle, Sightings]:
    """Only some of the sightings, and the points that are still seen, from their lines of sight."""
    left = seen.only(keep)
    return Bundle(bundle.poses, triangulated(bundle.poses, left)), left


def widest_degrees(bundle: Bundle, seen: Sightings) -> Float[np.ndarray, " tracks"]:
    """About the largest angle under which the lines of sight of each track meet: twice that from their mean."""
    towards = bundle.poses[seen.view, :, 3] - bundle.points[seen.track]
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)
    mean = np.zeros((seen.track_count, 3))
    np.add.at(mean, seen.track, towards)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    least = np.ones(seen.track_count)
    np.minimum.at(least, seen.track, (towards * mean[seen.track]).sum(1))
    return np.degrees(2 * np.arccos(np.clip(least, -1, 1)))
