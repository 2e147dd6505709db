"""Matches of pairs of photographs joined to tracks: all keypoints that show one place of the scene."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from neus_ns.data.matching.features import Features


@dataclass(frozen=True)
class Sightings:
    """Which view shows which track, and where: the keypoint's number there, and its place at focal length 1."""

    view: Int[np.ndarray, " n"]
    track: Int[np.ndarray, " n"]
    keypoint: Int[np.ndarray, " n"]
    uv: Float[np.ndarray, "n 2"]
    track_count: int

    def __len__(self) -> int:
        return len(self.view)

    def only(self, keep: Bool[np.ndarray, " n"], least_views: int = 2) -> "Sightings":
        """Some of the sightings, without tracks that too few views are left to see; tracks are numbered anew."""
        count = np.bincount(self.track[keep], minlength=self.track_count)
        keep = keep & (count >= least_views)[self.track]
        stays = np.bincount(self.track[keep], minlength=self.track_count) > 0
        number = np.cumsum(stays) - 1
        return replace(
            self,
            view=self.view[keep],
            track=number[self.track[keep]],
            keypoint=self.keypoint[keep],
            uv=self.uv[keep],
            track_count=int(stays.sum()),
        )


def join_matches(features: Sequence[Features], matches: Mapping[tuple[int, int], Int[np.ndarray, "n 2"]]) -> Sightings:
    """Tracks of the matches between pairs of views, sorted by view.

    A track that comes back to a photograph at another place has swallowed a wrong match, and is left out whole.
    """
    first = np.cumsum([0, *map(len, features)])
    ends = [np.zeros((0, 2), dtype=np.int64)]
    ends += [pairs + [first[a], first[b]] for (a, b), pairs in matches.items()]
    edges, total = np.concatenate(ends), int(first[-1])
    graph = coo_matrix((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(total, total))
    _, label = connected_components(graph, directed=False)
    used = np.unique(edges)
    view = np.searchsorted(first, used, side="right") - 1
    track = label[used]
    xy = np.concatenate([np.zeros((0, 2)), *(each.xy for each in features)])[used]
    uv = np.concatenate([np.zeros((0, 2)), *(each.uv for each in features)])[used]
    good, single = _consistent(view, track, xy, total)
    joined = Sightings(view, track, used - first[view], uv, total)
    return joined.only(good & single)


def _consistent(
    view: Int[np.ndarray, " n"], track: Int[np.ndarray, " n"], xy: Float[np.ndarray, "n 2"], total: int
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Sightings of tracks that are at one place in every view; and one sighting of each such place.

    SIFT reports a place with two orientations twice, which is no contradiction.
    """
    order = np.lexsort((view, track))
    same = (track[order][1:] == track[order][:-1]) & (view[order][1:] == view[order][:-1])
    apart = np.linalg.norm(xy[order][1:] - xy[order][:-1], axis=1) > 0.5
    bad = np.zeros(total, dtype=bool)
    bad[track[order][1:][same & apart]] = True
    single = np.ones(len(view), dtype=bool)
    single[order[1:][same]] = False
    return ~bad[track], single
