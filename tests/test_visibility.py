"""Points are seen by the cameras on their side of the object, and by no others."""

import torch

from neus_ns.data.views import Views
from neus_ns.data.visibility import sightlines


def two_views(masks: list[torch.Tensor] | None = None) -> Views:
    """One camera in front of the origin (+z, looking along -z), one behind it."""
    front = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3]])
    behind = torch.tensor([[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, -3]])
    size = torch.full((2,), 64.0)
    return Views(torch.stack([front, behind]), size, size, size / 2, size / 2, size, size, masks)


def ball_points() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator), dim=-1) * 0.8


def test_each_camera_sees_its_own_side():
    points = ball_points()
    view, point = sightlines(two_views(), points, tolerance=0.1)
    height = points[point, 2]
    assert (height[view == 0] > -0.2).float().mean() > 0.98
    assert (height[view == 1] < 0.2).float().mean() > 0.98
    # Slanted surfaces lose points to their nearer neighbours: the rule errs on the side of too few.
    facing = points[:, 2] > 0.4
    assert facing[point[view == 0]].sum() > 0.5 * facing.sum()


def test_what_a_mask_leaves_out_is_not_seen():
    nothing = [torch.zeros(64, 64, dtype=torch.bool), torch.ones(64, 64, dtype=torch.bool)]
    view, _ = sightlines(two_views(nothing), ball_points(), tolerance=0.1)
    assert (view == 1).all()


def test_points_out_of_the_picture_or_behind_the_camera_are_not_seen():
    view, _ = sightlines(two_views(), torch.tensor([[0.0, 0.0, 9.0], [9.0, 0.0, 2.0]]), tolerance=0.1)
    assert 0 not in view.tolist()
