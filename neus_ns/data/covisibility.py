"""Which other photographs to compare each photograph with: those that see the same points from a little to the side.

The score of a pair is the sum, over the points that both see, of how useful the angle between their lines of sight is
(after Yao et al. 2018, MVSNet): too little says nothing of depth, too much and the points look different or are hidden.
Points with recorded tracks come first; pairs that share none are ranked by random points of the region of interest, as
far as both have them in their frame.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views

# The best angle, and by how much less or more halves the use of a point.
_BEST_DEGREES, _LESS_DEGREES, _MORE_DEGREES = 10.0, 5.0, 15.0
# Points looked at for a photograph, and points of the region that stand in for tracks.
_MOST_POINTS, _STAND_INS = 512, 256
# How far out the stand-ins lie, in radii of the region of interest: where objects mostly are.
_STAND_IN_REACH = 0.6
# A pair that shares a tracked point always comes before one that shares none.
_STAND_IN_SCORE = 1e-3


def best_sources(views: Views, tracks: SfmTracks | None, count: int) -> Int64[Tensor, "views sources"]:
    """For each view the `count` others (all, if there are fewer) that are best compared with it, the best first.

    Views and tracks in the unit frame. A view stands in for a partner that has nothing in common with it.
    """
    number = len(views.world_from_camera)
    count = min(count, number - 1)
    if count == 0:
        return torch.zeros(number, 0, dtype=torch.int64)
    centres = views.world_from_camera[:, :, 3].float()
    generator = torch.Generator().manual_seed(0)
    stand_ins = torch.randn(_STAND_INS, 3, generator=generator)
    stand_ins *= (
        _STAND_IN_REACH
        * torch.rand(_STAND_INS, 1, generator=generator) ** (1 / 3)
        / stand_ins.norm(dim=1, keepdim=True)
    )
    framed = in_frame(views, stand_ins)
    chosen = []
    for view in range(number):
        score = _STAND_IN_SCORE * _usefulness(centres, view, stand_ins, framed) / _STAND_INS
        if tracks is not None:
            seen = tracks.point[tracks.first_pair[view] : tracks.first_pair[view + 1]].cpu()
            seen = seen[torch.randperm(len(seen), generator=generator)[:_MOST_POINTS]]
            score = score + _usefulness(centres, view, tracks.points[seen].cpu().float(), seen_by(tracks, seen))
        score[view] = 0
        best = score.topk(count)
        chosen.append(torch.where(best.values > 0, best.indices, view))
    return torch.stack(chosen)


def in_frame(views: Views, points: Float[Tensor, "points 3"]) -> Bool[Tensor, "views points"]:
    """Which points each photograph has before it and within its border."""
    poses = views.world_from_camera.to(points)
    local = torch.einsum("vpi,vij->vpj", points - poses[:, None, :, 3], poses[:, :, :3])
    depth = -local[..., 2]
    safe = torch.where(depth > 0, depth, 1.0)
    column = views.fx[:, None] * local[..., 0] / safe + views.cx[:, None]
    row = -views.fy[:, None] * local[..., 1] / safe + views.cy[:, None]
    within = (column >= 0) & (column < views.width[:, None]) & (row >= 0) & (row < views.height[:, None])
    return (depth > 0) & within


def seen_by(tracks: SfmTracks, points: Int64[Tensor, " some"]) -> Bool[Tensor, "views some"]:
    """Which of some points each view sees."""
    place = torch.full((len(tracks),), -1)
    place[points] = torch.arange(len(points))
    at = place[tracks.point.cpu()]
    seen = torch.zeros(tracks.view_count, len(points), dtype=torch.bool)
    seen[tracks.view.cpu()[at >= 0], at[at >= 0]] = True
    return seen


def _usefulness(
    centres: Float[Tensor, "views 3"], view: int, points: Float[Tensor, "points 3"], seen: Bool[Tensor, "views points"]
) -> Float[Tensor, " views"]:
    """Sum over the points that a view and another both see of how useful the angle there is, for each other view."""
    towards = torch.nn.functional.normalize(centres[:, None] - points, dim=-1)
    cosine = (towards * towards[view]).sum(-1).clamp(-1, 1)
    off = torch.rad2deg(torch.acos(cosine)) - _BEST_DEGREES
    use = 1 / (1 + (off / torch.where(off < 0, _LESS_DEGREES, _MORE_DEGREES)) ** 2)
    return (use * (seen & seen[view])).sum(1)
