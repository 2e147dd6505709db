"""Laws of the schedules: ends, continuity, order, and no surprise outside [0, 1]."""

import math

import pytest

from neus_ns.training.schedules import exponential, ramp, warmup_cosine, warmup_exponential

SHARES = [share / 200 for share in range(201)]
RISE_AND_FALL = [warmup_cosine, warmup_exponential]


def test_ramp_is_zero_then_straight_then_one():
    assert [ramp(share, 0.2, 0.6) for share in (0.0, 0.2, 0.3, 0.5, 0.6, 1.0)] == pytest.approx(
        [0.0, 0.0, 0.25, 0.75, 1.0, 1.0]
    )


def test_ramp_without_width_is_a_step():
    assert [ramp(share, 0.5, 0.5) for share in (0.0, 0.499, 0.5, 1.0)] == [0.0, 0.0, 1.0, 1.0]


def test_ramp_from_the_very_start_is_on_at_once():
    assert ramp(0.0, 0.0, 0.0) == 1.0


def test_exponential_has_equal_ratios_in_equal_shares():
    values = [exponential(share, 4.0, 0.25) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert values[0] == 4.0 and values[-1] == pytest.approx(0.25)
    assert [b / a for a, b in zip(values, values[1:], strict=False)] == pytest.approx([0.5] * 4)


@pytest.mark.parametrize("schedule", RISE_AND_FALL)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_warmup_rises_to_one_then_falls_to_its_end(schedule, warmup):
    values = [schedule(share, warmup, 0.1) for share in SHARES]
    rising = [value for share, value in zip(SHARES, values, strict=True) if share < warmup]
    falling = [value for share, value in zip(SHARES, values, strict=True) if share >= warmup]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)
    assert schedule(warmup, warmup, 0.1) == pytest.approx(1.0 if warmup < 1.0 else 0.1)
    assert values[-1] == pytest.approx(0.1)
    assert all(0.0 <= value <= 1.0 for value in values)


@pytest.mark.parametrize("schedule", RISE_AND_FALL)
def test_no_jump_where_the_warmup_ends(schedule):
    assert abs(schedule(0.3 - 1e-9, 0.3, 0.1) - schedule(0.3, 0.3, 0.1)) < 1e-6


def test_cosine_is_halfway_at_half_time():
    assert warmup_cosine(0.6, 0.2, 0.0) == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", [ramp, exponential, *RISE_AND_FALL])
def test_progress_outside_the_run_counts_as_its_nearer_end(schedule):
    assert schedule(-3.0, 0.25, 0.5) == schedule(0.0, 0.25, 0.5)
    assert schedule(7, 0.25, 0.5) == schedule(1, 0.25, 0.5)
    assert math.isfinite(schedule(1.0, 0.25, 0.5))
