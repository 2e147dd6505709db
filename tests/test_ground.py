"""What an object stands on: the plane is found, and pixels are told apart into ground, object and nothing known."""

import copy

import pytest
import torch

from neus_ns.data.frame import similarity
from neus_ns.data.ground.atlas import Agreed
from neus_ns.data.ground.find import Ground, find_ground
from neus_ns.data.ground.labels import COVERED, GROUND, OBJECT, OPEN, covered_places, settled
from neus_ns.data.ground.plane import Plane, find_plane
from neus_ns.data.ground.room import above
from neus_ns.data.pixel_store import store_images
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.kernels.backend import choose_backend
from neus_ns.models.behind import SAMPLES, Behind
from neus_ns.models.ground_witness import GroundWitness, Outline, before_random, with_ground
from neus_ns.rays.bounds import clip_to_unit_ball
from neus_ns.rays.sections import Rays
from tests.standing import FOOT, REGION, SIZE, THICK, Standing, standing_scene


@pytest.fixture(scope="module")
def standing() -> Standing:
    return standing_scene()


@pytest.fixture(scope="module")
def ground(standing) -> Ground:
    found = find_ground(standing.store, standing.rays, standing.points, REGION, 32)
    assert found is not None
    return found


def test_the_plane_is_the_floor_with_its_normal_to_the_cameras(ground):
    assert ground.plane.normal[2] > 0.9999 and abs(ground.plane.offset) < 1e-3


def test_a_plane_keeps_its_heights_in_another_frame():
    plane = Plane(torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64), 0.3)
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[
        0
    ]
    new_from_old = similarity(2.5, torch.tensor([0.3, -1.0, 0.7])) @ turn
    points = torch.randn(20, 3, dtype=torch.float64)
    moved = points @ new_from_old[:3, :3].T + new_from_old[:3, 3]
    torch.testing.assert_close(plane.moved(new_from_old).height(moved), 2.5 * plane.height(points))


def test_no_ground_without_points_or_with_cameras_on_both_sides(standing):
    cameras = standing.rays.cameras.camera_to_worlds[:, :, 3]
    assert find_plane(standing.points, cameras, REGION) is not None
    assert find_ground(standing.store, standing.rays, None, REGION, 32) is None
    assert find_plane(standing.points[:50], cameras, REGION) is None
    assert find_plane(standing.points, torch.cat([cameras, -cameras]), REGION) is None
    assert find_plane(torch.linspace(-1, 1, 300)[:, None].expand(-1, 3), cameras, REGION) is None
    # Nothing that stands on it, and nothing to stand on.
    assert find_plane(standing.points[:-150], cameras, REGION) is None
    assert find_plane(standing.points[-150:], cameras, REGION) is None


def test_no_ground_where_the_floor_has_no_pattern():
    plain = standing_scene(pattern=0.0)
    assert find_ground(plain.store, plain.rays, plain.points, REGION, 32) is None


def test_pixels_are_told_apart(standing, ground):
    labels, is_object = ground.labels, standing.is_object
    assert len(labels) == standing.store.num_pixels
    # What is said to be object is, and what is said to be ground is not, but for a pixel here and there on an outline.
    before = labels >= OBJECT
    assert float(is_object[before].float().mean()) > 0.97
    assert float(is_object[labels == GROUND].float().mean()) < 0.01
    assert float(before[is_object].float().mean()) > 0.7
    assert ground.share == pytest.approx(float((labels == GROUND).double().mean())) and ground.share > 0.3


def test_a_plain_foot_is_object_though_photographs_agree_about_it(standing, ground):
    """A disc of one colour looks alike on any plane; it is nothing of the floor all the same."""
    dark = (standing.store.rgb == 40).all(-1)
    assert float((ground.labels[dark] == GROUND).float().mean()) < 0.06
    assert float((ground.labels[dark] >= OBJECT).float().mean()) > 0.8
    assert float((ground.labels[dark] == COVERED).float().mean()) > 0.5


def test_a_photograph_of_another_day_does_not_change_the_others(standing, ground):
    images = [standing.store.photo_and_foreground(view)[0] for view in range(16)]
    images[3] = torch.full_like(images[3], 250)
    found = find_ground(store_images(images, None, "cpu"), standing.rays, standing.points, REGION, 32)
    assert found is not None
    assert bool((found.labels.view(16, -1)[3] == OPEN).all())
    others = torch.ones(16, SIZE * SIZE, dtype=torch.bool)
    others[3] = False
    same = found.labels[others.view(-1)] == ground.labels[others.view(-1)]
    assert float(same.float().mean()) > 0.97


def test_a_shadow_that_only_one_photograph_shows_is_no_object(standing, ground):
    images = [standing.store.photo_and_foreground(view)[0] for view in range(16)]
    shadow = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    shadow[150:180, 60:120] = True
    assert bool((ground.labels.view(16, SIZE, SIZE)[8][shadow] == GROUND).all())
    images[8][shadow] = images[8][shadow] // 2
    found = find_ground(store_images(images, None, "cpu"), standing.rays, standing.points, REGION, 32)
    assert found is not None
    assert float((found.labels.view(16, SIZE, SIZE)[8][shadow] == OBJECT).float().mean()) < 0.1


def test_room_holds_the_object_and_little_else(standing, ground):
    allowed = ground.allowed
    axis = REGION.radius * ((torch.arange(32) + 0.5) / 16 - 1)
    x, y, z = (each + float(REGION.centre[k]) for k, each in enumerate(torch.meshgrid(axis, axis, axis, indexing="ij")))
    inside = ((x**2 + y**2).sqrt() < FOOT) & (z > 0) & (z < THICK)
    inside |= (x**2 + y**2 + (z - THICK - 0.25) ** 2).sqrt() < 0.25
    assert bool(allowed[inside].all())
    assert not bool(allowed[z < -2 * REGION.radius / 32].any())
    assert float(allowed.float().mean()) < 0.35


def test_points_of_the_floor_are_left_out(standing, ground):
    count = len(standing.points)
    none = torch.zeros(0, dtype=torch.int64)
    tracks = SfmTracks(standing.points, torch.full((count,), 3), torch.ones(count), none, none, 16, "test")
    kept = above(ground.plane, tracks, REGION)
    assert 140 < len(kept) <= 150 and bool((kept.points[:, 2] > 0.005).all())


def test_only_large_gaps_are_feet():
    known = torch.ones(40, 40, dtype=torch.bool)
    known[10:20, 10:20] = known[25:31, 25:31] = known[5:7, 30:32] = False
    covered = covered_places(known.view(-1), torch.ones(1600, dtype=torch.bool), 40).view(40, 40)
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[10:20, 10:20] = expected[25:31, 25:31] = True
    assert torch.equal(covered, expected)
    assert not bool(covered_places(torch.ones(16, dtype=torch.bool), torch.ones(16, dtype=torch.bool), 4).any())


@pytest.mark.parametrize("foot_level", [40.0, 140.0])
def test_the_border_of_a_foot_moves_to_where_colours_change_and_stays_open_where_they_do_not(foot_level):
    side = 60
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    away = ((row - 30).square() + (column - 30).square()).sqrt().view(-1)
    foot = away < 15
    colour = torch.where(foot, foot_level, 150.0)[:, None].expand(-1, 3)
    agreed = Agreed(colour, torch.ones(side**2), torch.zeros(side**2))
    # As it is found at first, a little beside its place.
    covered = ((row - 28).square() + (column - 31).square()).sqrt().view(-1) < 16
    known, covered = settled(~covered, covered, agreed, side, 5)
    if foot_level == 40.0:
        assert torch.equal(covered, foot) and torch.equal(known, ~foot)
    else:
        assert bool(foot[covered].all()) and not bool(foot[known].any()) and bool((~known & ~covered).any())


def some_rays() -> Rays:
    origins = torch.tensor([[0.0, 0.0, 3.0], [3.0, 0.0, 0.2], [0.0, 0.0, -3.0], [0.0, 3.0, 3.0]])
    towards = torch.tensor([[0.1, 0.0, -0.3], [0.0, 0.0, 0.2], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    return clip_to_unit_ball(origins, torch.nn.functional.normalize(towards - origins, dim=-1), 0.0)


def test_rays_end_on_the_ground_and_others_do_not():
    witness, rays = GroundWitness(), some_rays()
    assert witness.stops(rays) is None and witness.ending(rays) is rays
    witness.learn(Plane(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), -0.25))
    ended = witness.ending(rays)
    ends = ended.origins + ended.t_far[:, None] * ended.directions
    stops = witness.stops(ended)
    assert stops is not None and stops.tolist() == [True, False, False, True]
    torch.testing.assert_close(ends[[0, 3], 2], torch.tensor([-0.25, -0.25]))
    # Level with it, and from below.
    assert torch.equal(ended.t_far[1:3], rays.t_far[1:3])


def test_a_checkpoint_holds_the_ground_and_older_ones_have_none():
    witness = GroundWitness()
    witness.learn(Plane(torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64), 0.1))
    again = GroundWitness()
    again.load_state_dict(copy.deepcopy(witness.state_dict()))
    assert again.known and torch.equal(again.plane, witness.plane)
    for prefix in ("_model.", "module._model.", "_model.module."):
        older = {f"{prefix}progress": torch.tensor(0.5), "sampler.progress": torch.tensor(0.5)}
        assert set(with_ground(older)) == {*older, f"{prefix}ground.plane"}
        state = {**older, f"{prefix}ground.plane": witness.plane}
        assert torch.equal(with_ground(state)[f"{prefix}ground.plane"], witness.plane)


def test_behind_the_surface_is_the_ground_itself():
    """Rays that end at one place of it see one colour there, however much lies beyond; others see the world as ever."""
    torch.manual_seed(0)
    behind = Behind("learned", 0, choose_backend("torch", "cpu").kernels)
    assert behind.world is not None and SAMPLES > 1
    with torch.no_grad():
        behind.world.grid.table.normal_()
    rays, nothing = some_rays(), torch.zeros(4, 0)
    behind.eval()
    with torch.no_grad():
        as_ever = behind(rays, nothing)
        on_ground = behind(rays, nothing, torch.tensor([True, False, False, False]))
        place = rays.origins + rays.t_far[:, None] * rays.directions
        _, feature = behind.world(place)
        there = behind.world.shade(feature, rays.directions, nothing)
    torch.testing.assert_close(on_ground[0], there[0])
    assert torch.equal(on_ground[1:], as_ever[1:]) and not torch.allclose(on_ground[0], as_ever[0])


def test_outlines_of_labels_and_of_masks():
    labels = torch.tensor([OPEN, GROUND, OBJECT], dtype=torch.uint8)
    outline = Outline.of(labels)
    assert outline.mask.tolist() == [0, 0, 1] and outline.sure.tolist() == [0, 1, 1]
    mask = torch.tensor([[0.25], [1.0]])
    assert torch.equal(Outline.of(mask).mask, mask[:, 0]) and bool((Outline.of(mask).sure == 1).all())


def test_what_is_covered_everywhere_is_object_for_a_while():
    labels = torch.tensor([OPEN, GROUND, OBJECT, COVERED], dtype=torch.uint8)
    witness = GroundWitness()
    assert witness.told(labels).tolist() == [OPEN, GROUND, OBJECT, OBJECT]
    witness.covers = False
    told = witness.told(labels)
    assert told.tolist() == [OPEN, GROUND, OBJECT, OPEN] and told.dtype == torch.uint8


def test_only_behind_the_object_colours_are_random():
    labels = torch.tensor([OPEN, GROUND, OBJECT, OBJECT], dtype=torch.uint8)
    surface, behind = torch.rand(4, 3), torch.rand(4, 3)
    opacity = torch.tensor([0.5, 0.5, 0.5, 1.0])
    rgb = surface + (1 - opacity)[:, None] * behind
    changed = before_random(rgb, opacity, behind, labels)
    torch.testing.assert_close(changed[[0, 1, 3]], rgb[[0, 1, 3]])
    assert not torch.allclose(changed[2], rgb[2])
