"""When colours begin to depend on the view: matt and shining things are told apart by how their errors fall."""

import pytest
import torch

from neus_ns.models.gloss import GlossWatch

# Rays of a step: two that meet the surface and two that do not.
OPACITY = torch.tensor([0.9, 1.0, 0.0, 0.4])


def heard(early: float, late: float, steps: int = 1000, behind: float = 0.0) -> GlossWatch:
    """A watch that has heard a training whose error goes from the one to the other, and stays `behind` the surface."""
    watch = GlossWatch()
    for step in range(int(0.3 * steps)):
        watch.progress = step / steps
        now = early if step < 0.2 * steps else late
        watch.hear(torch.tensor([now, now, behind, behind]), OPACITY, torch.ones(4))
        assert not watch.matt and not watch.shines
    watch.progress = 0.3
    return watch


@pytest.mark.parametrize("early, late, matt", [(0.12, 0.08, True), (0.1, 0.09, False), (0.2, 0.25, False)])
def test_errors_that_fall_are_those_of_matt_things(early: float, late: float, matt: bool):
    watch = heard(early, late)
    assert watch.matt is matt and watch.shines is not matt


@pytest.mark.parametrize("steps", [50, 300, 5000])
def test_the_length_of_a_training_does_not_matter(steps: int):
    assert heard(0.12, 0.08, steps).matt and not heard(0.1, 0.1, steps).matt


def test_what_is_behind_the_surface_has_no_say():
    watch = heard(0.12, 0.08, behind=0.1)
    assert watch.matt and watch.share_left == pytest.approx(2 / 3)
    assert heard(0.1, 0.09, behind=5.0).share_left == pytest.approx(0.9)


def test_pixels_that_were_drawn_more_often_count_less():
    watch = GlossWatch()
    for progress, often in ((0.1, 0.2), (0.28, 0.1)):
        watch.progress = progress
        # Three in four pixels are from a tenth of the photograph.
        watch.hear(torch.tensor([0.9, 0.9, 0.9, often]), torch.ones(4), torch.tensor([0.1, 0.1, 0.1, 3.7]))
    assert watch.share_left == pytest.approx((0.27 + 0.37) / (0.27 + 0.74), rel=1e-5)


def test_where_nothing_is_seen_yet_nothing_is_known():
    watch = GlossWatch()
    for watch.progress in (0.1, 0.28):
        watch.hear(torch.full((4,), 0.1), torch.zeros(4), torch.ones(4))
    assert watch.share_left == float("inf") and not watch.matt


def test_too_short_a_training_waits_for_nothing():
    watch = GlossWatch()
    watch.progress = 0.5
    assert not watch.matt


def test_a_resumed_training_decides_as_an_unbroken_one():
    whole = heard(0.12, 0.08)
    resumed = GlossWatch()
    resumed.progress = 0.5
    assert not resumed.matt
    resumed.load_state_dict(whole.state_dict())
    assert resumed.matt
