"""Which photographs see which structure-from-motion points, when nobody recorded it: by projection and order of depth.

A point counts as seen by a view if it falls inside the picture (and its mask) and no other point near it in that
picture is clearly nearer. This errs where points are sparse, so whoever uses it must be able to unlearn what it says.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neus_ns.data.views import Views

# Side of a picture cell in typical distances between projected points: nearly every cell of a surface then holds one.
_SPACINGS_A_CELL = 2.0


def sightlines(
    views: Views, points: Float[Tensor, "points 3"], tolerance: float
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Pairs (view, point) of points that are seen, in the frame of the views; `tolerance` is a length there."""
    view_numbers, point_numbers = [], []
    for view in range(len(views.world_from_camera)):
        seen = _seen_by(views, view, points.to(views.world_from_camera), tolerance)
        view_numbers.append(torch.full_like(seen, view))
        point_numbers.append(seen)
    return torch.cat(view_numbers), torch.cat(point_numbers)


def _seen_by(views: Views, view: int, points: Float[Tensor, "points 3"], tolerance: float) -> Int[Tensor, " seen"]:
    at = views.project(view, points)
    column, row, depth, inside = at.column, at.row, at.depth, at.in_frame
    width, height = int(views.width[view]), int(views.height[view])
    if views.masks is not None:
        mask = views.masks[view].to(points.device)
        inside &= mask[row.long().clamp(0, height - 1), column.long().clamp(0, width - 1)]
    index = torch.nonzero(inside)[:, 0]
    if len(index) < 2:
        return index
    column, row, depth = column[index], row[index], depth[index]
    area = (column.max() - column.min()) * (row.max() - row.min())
    cell = float((area / len(index)).sqrt().clamp_min(1.0)) * _SPACINGS_A_CELL
    across, down = (column / cell).long(), (row / cell).long()
    grid = depth.new_full((int(down.max()) + 1, int(across.max()) + 1), torch.inf)
    grid.view(-1).scatter_reduce_(0, down * grid.shape[1] + across, depth, "amin")
    # A point is hidden by its neighbours' cells as well; the minimum is a maximum of what lies deepest.
    nearest = -F.max_pool2d(-grid[None, None], 3, stride=1, padding=1)[0, 0]
    return index[depth <= nearest[down, across] + tolerance]
