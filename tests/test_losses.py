"""Laws of the losses."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from neus_ns.losses.geometric import below_bound, eikonal, normal_change, normal_variation, on_surface
from neus_ns.losses.photometric import colour_l1, even_contrast
from neus_ns.losses.silhouette import silhouette_bce


def test_eikonal_is_zero_for_distances_only():
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert eikonal(directions) < 1e-12
    torch.testing.assert_close(eikonal(3 * directions), torch.tensor(4.0))
    assert eikonal(torch.zeros(0, 3)) == 0


def facing(angle: float) -> torch.Tensor:
    return torch.tensor([[math.cos(angle), math.sin(angle), 0.0]])


def variation(own: torch.Tensor, beside: torch.Tensor, plain: float = 1.0) -> torch.Tensor:
    return normal_variation(own, beside, torch.full((len(own),), plain))


@pytest.mark.parametrize("loss", [normal_change, variation])
def test_normals_are_compared_as_directions_and_not_by_length(loss):
    assert loss(3 * facing(0.3), facing(0.3)) < 2e-4
    torch.testing.assert_close(loss(facing(0.0), 5 * facing(0.2)), loss(facing(0.0), facing(0.2)))
    assert loss(torch.zeros(0, 3), torch.zeros(0, 3)) == 0


def pull(loss, angle: float) -> float:
    """How hard the loss turns a normal back that is turned so far from its neighbour's."""
    turned = torch.tensor(angle, requires_grad=True)
    beside = torch.stack([turned.cos(), turned.sin(), torch.zeros(())])[None]
    (slope,) = torch.autograd.grad(loss(facing(0.0), beside), turned)
    return float(slope)


def test_normal_change_lets_edges_be_and_flattens_what_bends_a_little():
    assert pull(normal_change, 0.15) > 10 * pull(normal_change, math.pi / 2) > 0


def test_where_photographs_are_plain_the_smallest_turn_is_pulled_back_as_hard_as_a_large_one():
    assert pull(variation, 0.01) == pytest.approx(1.0, rel=0.01)
    assert pull(variation, 1.0) == pytest.approx(math.cos(0.5), rel=0.01)
    assert pull(partial(variation, plain=0.25), 0.3) == pytest.approx(0.25 * pull(variation, 0.3), rel=1e-5)
    assert math.isfinite(pull(variation, 0.0))


def test_bound_punishes_only_what_falls_short():
    sdf = torch.tensor([0.5, 0.1, -0.2], requires_grad=True)
    loss = below_bound(sdf, torch.tensor([0.3, 0.3, 0.3]))
    torch.testing.assert_close(loss, torch.tensor((0.2 + 0.5) / 3))
    loss.backward()
    assert sdf.grad is not None and sdf.grad[0] == 0 and (sdf.grad[1:] < 0).all()


def test_points_pull_from_both_sides():
    sdf = torch.tensor([0.2, -0.1], requires_grad=True)
    on_surface(sdf).backward()
    assert sdf.grad is not None and sdf.grad[0] > 0 > sdf.grad[1]


def test_mask_loss_wants_opacity_inside_and_emptiness_outside():
    opacity = torch.tensor([0.5, 0.5], requires_grad=True)
    silhouette_bce(opacity, torch.tensor([1.0, 0.0])).backward()
    assert opacity.grad is not None and opacity.grad[0] < 0 < opacity.grad[1]
    assert torch.isfinite(silhouette_bce(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])))
    # A NaN goes on to whoever says in a sentence that training diverged; torch's own loss would end the program.
    assert torch.isnan(silhouette_bce(torch.tensor([torch.nan, 1.0]), torch.tensor([1.0, 0.0])))
    seen, mask, weight = torch.rand(3, 50).clamp(2e-3, 1 - 2e-3).unbind()
    torch.testing.assert_close(silhouette_bce(seen, mask, weight), F.binary_cross_entropy(seen, mask, weight))


def test_unbiasing_weights_multiply_the_loss_but_not_the_error_fed_back():
    rendered, photo = torch.full((2, 3), 0.5), torch.tensor([[0.5, 0.5, 0.5], [0.2, 0.5, 0.9]])
    loss, error = colour_l1(rendered, photo, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(error, torch.tensor([0.0, 0.7]))
    torch.testing.assert_close(loss, torch.tensor(0.7))


def test_texture_of_a_dark_place_tells_as_much_as_that_of_a_bright_one():
    bright = torch.rand(64, 3, dtype=torch.float64) * 0.5 + 0.5
    photo = torch.cat([bright, 0.1 * bright])
    weight = even_contrast(photo, torch.ones(128, dtype=torch.float64), black=1e-9)
    errors = (photo - photo.flip(1)).abs().sum(-1) * weight
    torch.testing.assert_close(errors[:64], errors[64:], rtol=1e-6, atol=0)
    torch.testing.assert_close(weight.mean(), torch.tensor(1.0, dtype=torch.float64))


def test_what_is_not_foreground_counts_as_one_and_so_does_all_without_foreground():
    photo, foreground = torch.rand(64, 3), torch.rand(64).round()
    weight = even_contrast(photo, foreground, black=0.1)
    torch.testing.assert_close(weight[foreground == 0], torch.ones(int((foreground == 0).sum())))
    torch.testing.assert_close(weight[foreground == 1].mean(), torch.tensor(1.0))
    torch.testing.assert_close(even_contrast(photo, torch.zeros(64), black=0.1), torch.ones(64))
    assert even_contrast(torch.zeros(64, 3), foreground, black=0.0).isfinite().all()
