"""What changes while training does so by shares of training, and what is known of space is kept apart rightly."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from neus_ns.fields.sharpness import Sharpness
from neus_ns.models.gloss import DECIDED_AT
from neus_ns.models.known_space import KnownSpace
from neus_ns.models.numerical_schedule import NumericalSchedule
from neus_ns.models.schedule import SurfaceSchedule
from neus_ns.rays.occupancy import OccupancyGrid
from tests.scenes import one_view, seen_tracks


def test_levels_open_one_after_another_and_all_in_the_end():
    schedule = SurfaceSchedule(first_levels=4, levels_until=0.5)
    levels = [schedule.active_levels(step / 100, 14) for step in range(101)]
    assert levels[0] == 4 and levels[50] == levels[-1] == 14
    assert all(0 <= after - before <= 1 for before, after in zip(levels[:-1], levels[1:], strict=True))


def test_sharpness_keeps_below_its_ceiling_until_that_is_lifted():
    schedule, sharpness = SurfaceSchedule(), Sharpness(20.0)
    with torch.no_grad():
        sharpness.v.fill_(1.0)
    seen = []
    for step in range(101):
        sharpness.ceiling = schedule.sharpness_ceiling(step / 100, 20.0)
        seen.append(float(sharpness()))
    assert seen[0] == 40.0 and all(after >= before for before, after in zip(seen[:-1], seen[1:], strict=True))
    assert abs(seen[-1] / float(torch.exp(torch.tensor(10.0))) - 1) < 1e-4


def test_view_and_points_take_turns():
    schedule = SurfaceSchedule()
    for matt in (False, True):
        assert schedule.view_strength(0.0, matt, True) == 0 and schedule.view_strength(1.0, matt, True) == 1
    assert schedule.view_strength(0.5, False, True) == 1 and schedule.view_strength(0.5, True, True) == 0
    assert schedule.points_strength(0.0) == 1 and schedule.points_strength(1.0) == 0


def test_plain_times_are_the_users_where_one_is_given():
    assert SurfaceSchedule().plain_limit(0.3, 0.2, 0.4) == pytest.approx(2.0)
    assert SurfaceSchedule(plain_until=0.6).plain_limit(0.4, 0.2, 0.4) == pytest.approx(2.0)
    assert SurfaceSchedule(plain_from=0.3).plain_limit(0.3, 0.2, 0.4) == 0
    assert SurfaceSchedule(plain_from=0.0, plain_until=0.0).plain_limit(0.0, 0.2, 0.4) == 4.0
    late = SurfaceSchedule(plain_from=0.5)
    assert late.plain_limit(0.45, 0.2, 0.4) == 0 and late.plain_limit(0.55, 0.2, 0.4) == 4.0


@pytest.mark.parametrize("first", [0.0, 0.1, 0.3, 0.5])
def test_what_has_been_heard_of_the_view_is_not_taken_back_when_a_thing_proves_matt(first: float):
    schedule = SurfaceSchedule(view_from=first, view_until=first + 0.2)
    seen = [schedule.view_strength(step / 100, step / 100 >= DECIDED_AT, False) for step in range(101)]
    assert seen == sorted(seen) and seen[-1] == 1


def test_a_smooth_sheen_need_not_wait_where_masks_have_carved():
    schedule = NumericalSchedule()
    assert schedule.view_strength(0.5, True, True) == 1 and schedule.view_strength(0.5, True, False) == 0
    for asked in (0.0, 0.2):
        schedule.view_later = asked
        for has_masks in (True, False):
            assert schedule.view_strength(0.5, True, has_masks) == (0 if asked else 1)


def cube(resolution: int) -> torch.Tensor:
    allowed = torch.zeros(resolution, resolution, resolution, dtype=torch.bool)
    middle = slice(resolution // 4, -resolution // 4)
    allowed[middle, middle, middle] = True
    return allowed


def test_free_points_lie_outside_the_hull_and_their_bound_holds():
    known = KnownSpace(16)
    known.learn_hull(OccupancyGrid(16, 1).restrict(cube(16)))
    torch.manual_seed(0)
    drawn = known.draw(2000, 50, 50)
    # The hull is the cube [-0.5, 0.5]^3; its distance is the length of what sticks out.
    true_distance = (drawn.free.abs() - 0.5).clamp_min(0).norm(dim=-1)
    assert (drawn.bound <= true_distance + 1e-6).all() and (drawn.bound > 0).all()
    assert len(drawn.surface) == 0


def test_points_outside_the_hull_are_not_taken_in():
    known = KnownSpace(16)
    points = torch.tensor([[0.0, 0.0, 0.4], [0.9, 0.0, 0.0], [5.0, 0.0, 0.0]])
    known.learn_points(seen_tracks(points), one_view(), cube(16))
    torch.testing.assert_close(known.points, points[:1])
    assert known.draw(10, 7, 7).surface.shape == (7, 3) and len(known.draw(10, 0, 0).free) == 0


def test_input_errors_end_any_command_in_one_sentence():
    code = (
        "from neus_ns.errors import InputError, print_input_errors_plainly\n"
        "print_input_errors_plainly()\nraise InputError('The file x.json is empty; write it again.')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "The file x.json is empty; write it again.\n"
    bug = code.replace("raise InputError", "raise KeyError")
    assert "Traceback" in subprocess.run([sys.executable, "-c", bug], capture_output=True, text=True).stderr


def test_patches_come_when_the_shape_has_begun_and_stay():
    schedule = SurfaceSchedule(patches_from=0.2, patches_rise=0.2)
    strength = [schedule.patches_strength(progress) for progress in (0.0, 0.2, 0.3, 0.4, 0.6, 1.0)]
    assert strength == pytest.approx([0, 0, 0.5, 1, 1, 1])


def test_points_are_drawn_by_how_well_they_are_known():
    known = KnownSpace(16)
    points = torch.tensor([[0.0, 0.0, 0.4], [0.0, 0.2, 0.0], [0.3, 0.0, 0.0]])
    tracks = replace(seen_tracks(points), track_length=torch.tensor([2, 4, 0]), error_px=torch.tensor([0.5, 0.5, 4.0]))
    known.learn_points(tracks, one_view(), cube(16))
    torch.manual_seed(0)
    drawn = known.draw(0, 30_000, 30_000).surface
    share = torch.stack([(drawn == point).all(-1).float().mean() for point in points])
    torch.testing.assert_close(share, tracks.weight / tracks.weight.sum(), atol=0.01, rtol=0)


def test_sightline_points_lie_between_eye_and_surface():
    known = KnownSpace(16)
    seen = torch.tensor([[0.0, 0.0, 0.2]])
    known.learn_points(seen_tracks(seen), one_view(), cube(16))
    torch.testing.assert_close(known.eyes, torch.tensor([[0.0, 0.0, 3.0]]))
    torch.manual_seed(0)
    drawn = known.draw(100, 200, 200)
    assert len(drawn.free) > 50
    assert (drawn.free[:, :2] == 0).all() and (drawn.free[:, 2] > 0.2).all() and (drawn.free[:, 2] < 1).all()
    assert (drawn.bound <= drawn.free[:, 2] - 0.2 + 1e-6).all()
    assert len(known.draw(100, 0, 0).free) == 0
    alone = known.draw(0, 200, 0)
    assert len(alone.free) > 50 and len(alone.surface) == 0


def test_sightline_points_are_even_over_what_is_believed_of_all_sightlines():
    """As if drawn from the whole reach of sightlines chosen evenly, and kept if before the camera and in the ball."""
    known = KnownSpace(16)
    seen = torch.tensor([[0.0, 0.0, 0.45], [0.0, 0.0, -0.4], [0.4, 0.4, -0.4]])
    known.learn_points(seen_tracks(seen), one_view(), cube(16))
    generator = torch.Generator().manual_seed(0)
    pair = torch.randint(len(known.eyes), (200_000,), generator=generator)
    back = 0.03 + 0.97 * torch.rand(200_000, generator=generator)
    towards = known.eyes[pair] - known.seen[pair]
    points = known.seen[pair] + towards * (back / towards.norm(dim=-1))[:, None]
    kept = points[(back < towards.norm(dim=-1)) & (points.norm(dim=-1) < 1)]
    torch.manual_seed(1)
    drawn = known.draw(0, 200_000, 200_000).free
    assert 0.4 < len(kept) / 200_000 < 0.95
    assert len(drawn) == pytest.approx(len(kept), rel=0.01)
    torch.testing.assert_close(drawn.mean(0), kept.mean(0), atol=5e-3, rtol=0)
    torch.testing.assert_close(drawn.std(0), kept.std(0), atol=5e-3, rtol=0)
    assert ((drawn.norm(dim=-1) <= 1 + 1e-6) & (drawn[:, 2] > -0.4)).all()


def test_steps_are_small_at_first():
    schedule = SurfaceSchedule()
    assert [schedule.batch_share(share) for share in (0.0, 0.25, 0.5, 1.0)] == [0.5, 0.75, 1.0, 1.0]
    assert SurfaceSchedule(batch_first=1.0).batch_share(0.0) == SurfaceSchedule(batch_until=0.0).batch_share(0.0) == 1.0
