"""Laws of carving: what nearly all patches disagree about goes, and nothing else."""

import pytest
import torch
from torch import Tensor

from neus_ns.losses.patches import Judged, PatchCosts, judged, standing_refuted
from neus_ns.models.refuted_space import RefutedSpace

# Three places that are many cells apart.
PLACES = torch.tensor([[-0.9, -0.9, -0.9], [0.0, 0.1, 0.2], [0.99, 0.99, 0.99]])
# Where all the other patches are.
ELSEWHERE = torch.tensor([[0.5, -0.5, 0.5]])


def heard(doubt: list[float], steps: int, telling: float = 1.0, others: int = 20, theirs: float = 0.0) -> RefutedSpace:
    space = RefutedSpace()
    places = torch.cat([PLACES, ELSEWHERE.expand(others, 3)])
    doubts = torch.cat([torch.tensor(doubt), torch.full((others,), theirs)])
    for _ in range(steps):
        space.hear(places, doubts, torch.full((len(places),), telling))
    return space


def of_cost(cost: list[float], apart: float = 20.0) -> Judged:
    each = torch.tensor(cost)[:, None].expand(-1, 3)
    one = torch.ones_like(each)
    return judged(PatchCosts(each, 0 * one, apart * one, one, each >= 0), best=2)


def test_only_where_nearly_all_patches_disagree_anything_is_refuted():
    assert heard([1.0, 0.4, 0.0], 100).refuted(PLACES).tolist() == [1.0, 0.0, 0.0]
    assert not RefutedSpace().refuted(PLACES).any()


def test_while_too_many_disagree_of_all_nothing_is_refuted():
    def refuted(theirs: float) -> float:
        return float(heard([1.0, 1.0, 1.0], 100, others=100, theirs=theirs).refuted(PLACES)[0])

    assert refuted(0.1) == 1.0 and refuted(0.3) == 0.0 and 0.0 < refuted(0.2) < 1.0


def test_a_few_patches_or_many_that_tell_nothing_are_not_enough():
    assert not heard([0.8, 0.8, 0.8], 1).refuted(PLACES).any()
    assert not heard([1.0, 1.0, 1.0], 100, telling=0.005).refuted(PLACES).any()


def test_places_beyond_the_box_are_those_at_its_faces():
    space = heard([0.0, 0.0, 1.0], 100)
    assert space.refuted(torch.tensor([[1.0, 1.0, 1.0], [3.0, 0.99, 1.01]])).tolist() == [1.0, 1.0]


def test_what_was_heard_long_ago_is_forgotten():
    space = heard([1.0, 1.0, 1.0], 100)
    for _ in range(600):
        space.hear(torch.cat([PLACES[:1], ELSEWHERE]), torch.zeros(2), torch.ones(2))
    assert space.refuted(PLACES[:1]) == 0
    # Where nothing more is said, it fades as well: the surface has gone on.
    assert not space.refuted(PLACES[1:]).any()


def test_a_resumed_run_carves_as_an_unbroken_one_and_old_checkpoints_have_heard_nothing():
    whole, resumed = heard([1.0, 0.55, 0.0], 50), RefutedSpace()
    resumed.load_state_dict(whole.state_dict())
    for space in (whole, resumed):
        space.hear(PLACES, torch.tensor([0.0, 1.0, 1.0]), torch.ones(3))
    assert torch.equal(whole.refuted(PLACES), resumed.refuted(PLACES))
    old = RefutedSpace()
    torch.nn.Sequential(old).load_state_dict({})
    assert not old.refuted(PLACES).any()


@pytest.mark.parametrize("cost, refuted, pushed", [(0.9, 1.0, True), (0.9, 0.0, False), (0.1, 1.0, False)])
def test_surfaces_move_away_only_where_patches_disagree_and_the_place_is_refuted(cost, refuted, pushed):
    t = torch.full((1,), 2.0, requires_grad=True)
    loss = standing_refuted(of_cost([cost]), torch.tensor([refuted]), t)
    (slope,) = torch.autograd.grad(loss, t)
    assert (slope < -0.9) if pushed else (slope.abs() < 1e-5)
    assert loss.detach() == pytest.approx(-float(slope))


def test_texture_finer_than_a_pixel_agrees_with_nothing_and_is_no_reason_to_carve():
    assert of_cost([0.9]).doubt > 0.95 and of_cost([0.9], apart=2.0).doubt < 0.02 and of_cost([0.1]).doubt < 1e-5


def test_the_push_is_a_mean_over_patches_that_can_be_judged():
    def slope(cost: list[float]) -> Tensor:
        t = torch.full((len(cost),), 2.0, requires_grad=True)
        return torch.autograd.grad(standing_refuted(of_cost(cost), torch.ones(len(cost)), t), t)[0]

    one, two = slope([0.9]), slope([0.9, 0.9])
    torch.testing.assert_close(two, torch.cat([one, one]) / 2)
