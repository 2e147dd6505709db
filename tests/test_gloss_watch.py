"""When colours begin to depend on the view: matt and shining things are told apart by how their errors fall."""

import pytest
import torch

from neus_ns.models.gloss import GlossWatch


def heard(early: float, late: float, steps: int = 1000) -> GlossWatch:
    """A watch that has heard a training whose error goes from the one to the other."""
    watch = GlossWatch()
    for step in range(int(0.3 * steps)):
        watch.progress = step / steps
        watch.hear(torch.tensor(early if step < 0.2 * steps else late))
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
