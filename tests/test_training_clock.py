"""Laws of the training clock, with a hand that the test moves."""

import pytest

from neus_ns.training.clock import TrainingClock


class Hand:
    """A clock hand in seconds, far from zero as the monotonic clock's is."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def clock_and_hand(max_iterations: int | None, max_minutes: float | None) -> tuple[TrainingClock, Hand]:
    hand = Hand()
    return TrainingClock(max_iterations, max_minutes, hand), hand


def test_iterations_give_the_share_of_steps_done():
    clock, hand = clock_and_hand(200, None)
    clock.start()
    hand.at += 1e6
    assert [clock.progress(step) for step in (0, 50, 200, 300)] == [0.0, 0.25, 1.0, 1.0]
    assert clock.finished(200) and not clock.finished(199)


def test_minutes_start_with_the_first_step_and_ignore_the_count():
    clock, hand = clock_and_hand(None, 2.0)
    hand.at += 500.0
    assert clock.progress(10**6) == 0.0
    clock.start()
    hand.at += 30.0
    clock.start()
    assert clock.progress(0) == pytest.approx(0.25)
    hand.at += 90.0
    assert clock.finished(0)


def test_of_two_limits_the_one_further_along_rules():
    clock, hand = clock_and_hand(100, 1.0)
    clock.start()
    hand.at += 6.0
    assert clock.progress(50) == pytest.approx(0.5)
    assert clock.progress(5) == pytest.approx(0.1)


def test_pauses_are_not_counted():
    clock, hand = clock_and_hand(None, 1.0)
    clock.start()
    hand.at += 10.0
    clock.pause()
    clock.pause()
    hand.at += 1000.0
    clock.start()
    assert clock.seconds == pytest.approx(10.0)
    clock.resume()
    clock.resume()
    hand.at += 5.0
    assert clock.seconds == pytest.approx(15.0)


def test_resuming_before_the_first_step_does_not_start_the_clock():
    clock, hand = clock_and_hand(None, 1.0)
    clock.pause()
    clock.resume()
    hand.at += 100.0
    assert clock.seconds == 0.0


def test_progress_never_falls():
    clock, hand = clock_and_hand(None, 1.0)
    seen = []
    for step in range(40):
        [clock.start, clock.pause, clock.resume][step % 3]()
        hand.at += 1.0 + step % 2
        seen.append(clock.progress(step))
    assert seen == sorted(seen)


def test_a_stored_clock_goes_on_where_it_was():
    clock, hand = clock_and_hand(None, 1.0)
    clock.start()
    hand.at += 12.0
    again, hand_again = clock_and_hand(None, 1.0)
    again.load_state_dict(clock.state_dict())
    hand_again.at += 400.0
    again.start()
    hand_again.at += 3.0
    assert again.progress(0) == pytest.approx(15.0 / 60.0)


def test_a_clock_needs_a_limit():
    with pytest.raises(ValueError, match="needs a number"):
        TrainingClock(None, None)
