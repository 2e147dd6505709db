"""When colours begin to depend on the view: matt and shining things are told apart by what errors have in common."""

import itertools

import pytest
import torch

from neus_ns.models.gloss import AREAS_ACROSS, GlossWatch, _products_of_pairs

# Of each photograph the first areas only, so that there are many pairs.
PHOTOGRAPHS, AREAS = 10, 40


def counted_on(area: torch.Tensor) -> torch.Tensor:
    """The same areas, counted on by all that a photograph has."""
    return area // AREAS * AREAS_ACROSS**2 + area % AREAS


def heard(
    early: float,
    late: float,
    own: float = 0.1,
    exposure: float = 0.0,
    steps: int = 500,
    behind: float = 0.0,
    brightness: float = 0.5,
) -> GlossWatch:
    """A watch that has heard a training whose errors are at random, so great by area early and late, by pixel and by
    photograph, where all is equally bright; half of the rays meet no surface, and all of these are too bright by
    `behind`."""
    torch.manual_seed(0)
    watch = GlossWatch(PHOTOGRAPHS)
    of_areas, of_photographs = torch.randn(PHOTOGRAPHS * AREAS), exposure * torch.randn(PHOTOGRAPHS)
    for step in range(int(0.3 * steps) + 1):
        watch.progress = step / steps
        if watch.listening:
            area = torch.randint(PHOTOGRAPHS * AREAS, (2000,))
            photograph = area // AREAS
            error = (early if step < 0.2 * steps else late) * of_areas[area] + own * torch.randn(2000)
            opacity = (torch.arange(2000) % 2).float()
            seen = torch.where(opacity > 0.5, error + of_photographs[photograph], behind)
            photographed = torch.full((2000,), brightness)
            watch.hear(photographed + seen, photographed, opacity, torch.ones(2000), counted_on(area))
            assert not watch.matt and not watch.shines and not watch.mirrors
    watch.progress = 0.3
    return watch


@pytest.mark.parametrize(
    "early, late, shines, mirrors",
    [
        (0.0, 0.0, False, False),
        (0.03, 0.02, False, False),
        (0.3, 0.1, False, False),
        (0.1, 0.075, True, False),
        (0.1, 0.1, True, True),
        (0.05, 0.1, True, True),
        (0.2, 0.17, True, True),
    ],
)
def test_what_stays_wrong_over_whole_areas_shines(early: float, late: float, shines: bool, mirrors: bool):
    watch = heard(early, late)
    assert watch.shines is shines and watch.matt is not shines and watch.mirrors is mirrors
    assert ("mirror" if mirrors else "shine" if shines else "matt") in watch.sentence()
    if early > 0.05:
        expected = late**2 / (late**2 + 0.1**2) * (late / early) ** 4
        assert watch.common_later.of_errors == pytest.approx(expected, rel=0.25)
        expected = late**2 / 0.5**2 * (late / early) ** 4
        assert watch.common_later.of_brightness == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("steps", [50, 300, 3000])
def test_the_length_of_a_training_does_not_matter(steps: int):
    assert heard(0.1, 0.05, steps=steps).matt and not heard(0.1, 0.1, steps=steps).matt


def test_photographs_of_changing_exposure_do_not_shine():
    assert heard(0.03, 0.02, exposure=0.2).matt


def test_what_is_behind_the_surface_has_no_say():
    found, without = heard(0.1, 0.1, behind=5.0).common_later, heard(0.1, 0.1).common_later
    assert found.of_errors == pytest.approx(without.of_errors)
    assert found.of_brightness == pytest.approx(without.of_brightness)


def test_a_sheen_is_no_gloss_though_nothing_else_be_wrong():
    assert heard(0.01, 0.01, own=0.01).matt and heard(0.01, 0.01, own=0.01, brightness=0.05).shines


def test_pairs_are_all_pairs():
    torch.manual_seed(0)
    for rays, groups in ((100, 50), (100, 3), (1, 2), (0, 2)):
        group, counts, error = torch.randint(groups, (rays,)), torch.rand(rays), torch.randn(rays)
        expected = torch.zeros(2, dtype=torch.float64)
        for i, j in itertools.permutations(range(rays), 2):
            if group[i] == group[j]:
                pair = float(counts[i]) * float(counts[j])
                expected += torch.tensor([pair * float(error[i]) * float(error[j]), pair], dtype=torch.float64)
        found = _products_of_pairs(error, counts, group, groups)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_pixels_that_were_drawn_more_often_count_less():
    torch.manual_seed(0)
    watch, evenly = GlossWatch(PHOTOGRAPHS), GlossWatch(PHOTOGRAPHS)
    wrong = torch.randn(400) * (torch.arange(400) < 40)
    for _ in range(200):
        # Nine in ten rays go where a tenth of the areas is wrong as a whole.
        there = torch.rand(2000) < 0.9
        area = torch.where(there, torch.randint(40, (2000,)), torch.randint(40, 400, (2000,)))
        everywhere = torch.randint(400, (2000,))
        for listener, areas, even in (
            (watch, area, torch.where(there, 0.1 / 0.9, 9.0)),
            (evenly, everywhere, torch.ones(2000)),
        ):
            error = wrong[areas] + torch.randn(2000)
            listener.hear(error, torch.zeros(2000), torch.ones(2000), even, counted_on(areas))
    near, _, itself, _ = (watch.heard[0, :, 0] / watch.heard[0, :, 1]).tolist()
    near_evenly, _, itself_evenly, _ = (evenly.heard[0, :, 0] / evenly.heard[0, :, 1]).tolist()
    assert itself == pytest.approx(itself_evenly, rel=0.05) and near == pytest.approx(near_evenly, abs=0.02)


def test_where_nothing_is_seen_yet_nothing_is_known():
    watch = GlossWatch(PHOTOGRAPHS)
    for watch.progress in (0.1, 0.28):
        watch.hear(torch.full((4,), 0.1), torch.zeros(4), torch.zeros(4), torch.ones(4), torch.zeros(4).long())
    watch.progress = 0.3
    assert watch.common_later.of_errors == watch.common_later.of_brightness == float("inf") and not watch.matt
    assert "too little" in watch.sentence()


def test_too_short_a_training_waits_for_nothing():
    watch = GlossWatch(PHOTOGRAPHS)
    watch.progress = 0.5
    assert not watch.matt


def test_a_resumed_training_decides_as_an_unbroken_one():
    whole = heard(0.1, 0.05)
    resumed = GlossWatch(PHOTOGRAPHS)
    resumed.progress = 0.5
    assert not resumed.matt
    resumed.load_state_dict(whole.state_dict())
    assert resumed.matt


@pytest.mark.parametrize("old", [torch.tensor([[0.1, 1.0], [0.05, 1.0]]), torch.ones(2, 3, 2)])
def test_checkpoints_that_heard_less_still_load(old: torch.Tensor):
    resumed = GlossWatch(PHOTOGRAPHS)
    resumed.progress = 0.5
    resumed.load_state_dict({"heard": old})
    assert resumed.common_later.of_errors == float("inf") and resumed.shines
