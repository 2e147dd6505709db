"""Patches of photographs as witnesses: the geometry of their warp, correlation, crossings, partners, and the whole."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from neus_ns.data.covisibility import best_sources
from neus_ns.data.grey_photos import GreyPhotos, grey_photos
from neus_ns.data.pinhole_views import lens_positions
from neus_ns.data.pixel_store import store_images
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.errors import InputError
from neus_ns.losses import patches as patch_losses
from neus_ns.losses.patches import (
    PatchCosts,
    agreement,
    disagreement,
    how_much_of_its_middle,
    how_telling,
    judged,
    loss_when_off,
    standing_refuted,
)
from neus_ns.models.patch_witness import PatchConfig, PatchWitness
from neus_ns.rays.crossing import Crossings, crossing_share, first_crossings
from neus_ns.rays.occupancy import OccupancyGrid
from neus_ns.rays.sections import Rays, SampledRays, Sections
from neus_ns.rays.sight import in_sight
from neus_ns.rendering.patch_warp import (
    PinholeCameras,
    SurfacePatches,
    image_points,
    patch_offsets,
    plane_points,
    warp_patches,
)

SIZE, FOCAL = 96, 150.0


def looking_at(centre: Float[Tensor, "3"], target: Float[Tensor, "3"], roll: float = 0.0) -> Float[Tensor, "3 4"]:
    """The pose of an OpenGL camera."""
    back = F.normalize(centre - target, dim=0)
    right = F.normalize(torch.linalg.cross(torch.tensor([roll, 1.0, 0.3]).to(back), back), dim=0)
    return torch.stack([right, torch.linalg.cross(back, right), back, centre], 1)


def texture(xy: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    """Grey levels on the plane z = 0, a mixture of waves."""
    generator = torch.Generator().manual_seed(3)
    waves = torch.randn(2, 12, generator=generator) * 12
    phase = torch.rand(12, generator=generator) * 6.3
    return 128 + 90 * torch.sin(xy @ waves + phase).mean(-1) * 12**0.5 / 2


def plane_views(count: int = 6) -> Views:
    poses = []
    for number in range(count):
        angle = torch.tensor(6.28 * number / count)
        centre = torch.stack([0.7 * angle.cos(), 0.7 * angle.sin(), torch.tensor(2.0)])
        poses.append(looking_at(centre, torch.zeros(3), roll=0.2 * number))
    size, half = torch.full((count,), float(SIZE)), torch.full((count,), SIZE / 2 + 1.5)
    focal = torch.full((count,), FOCAL)
    return Views(torch.stack(poses), focal, focal, half, half, size, size, masks=None)


def pixel_rays(views: Views, view: int, xy: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Unit directions through image points, by the words of `Views`."""
    right, down = (xy[:, 0] - views.cx[view]) / views.fx[view], (xy[:, 1] - views.cy[view]) / views.fy[view]
    along = torch.stack([right, -down, -torch.ones(len(xy))], -1)
    return F.normalize(along @ views.world_from_camera[view, :, :3].T, dim=-1)


def plane_photos(views: Views, gain: float = 1.0) -> GreyPhotos:
    """What the views see of the plane; each a little brighter than the last."""
    row, col = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    xy = torch.stack([col, row], -1).view(-1, 2)
    images = []
    for view in range(len(views.fx)):
        directions, centre = pixel_rays(views, view, xy), views.world_from_camera[view, :, 3]
        hit = centre - directions * (centre[2] / directions[:, 2:])
        images.append((gain * texture(hit[:, :2]) + view).round().clamp(1, 255).to(torch.uint8))
    number = len(images)
    side = torch.full((number,), SIZE)
    return GreyPhotos(torch.cat(images), torch.arange(number) * SIZE * SIZE, side, side)


def witness(views: Views, photos: GreyPhotos, **options: int) -> PatchWitness:
    config = PatchConfig(**({"rays": 64, "sources": 5, "every": 1} | options))
    return PatchWitness(config, photos, views, None, OccupancyGrid(16, 1), "torch")


def walled(spy: PatchWitness, lower: Tensor, upper: Tensor) -> None:
    """Put a box into the space around the patches: the grid remembers the distance to it."""
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    spy.grid.update(lambda points: ((points - middle).abs() - half).amax(-1), torch.tensor(100.0), True)


def witness_seen(spy: PatchWitness, patches: SurfacePatches, sources: int) -> Tensor:
    """Which of so many sources see the patches."""
    spy.config.sources = sources
    return spy.sources_of(patches)[1]


def plane_rays(views: Views, count: int = 40) -> tuple[Rays, Sections, Tensor]:
    """Rays through whole pixels near the middle of all views in turn, cut into sections around the plane."""
    generator = torch.Generator().manual_seed(1)
    view = torch.arange(count) % len(views.fx)
    xy = torch.randint(SIZE // 2 - 12, SIZE // 2 + 12, (count, 2), generator=generator) + 0.5
    directions = torch.cat([pixel_rays(views, int(v), xy[i : i + 1]) for i, v in enumerate(view)])
    rays = Rays(views.world_from_camera[view, :, 3], directions, torch.zeros(count), torch.full((count,), 4.0))
    edges = torch.linspace(1.2, 3.0, 37)
    sections = Sections(torch.arange(count).repeat_interleave(36), edges[:-1].repeat(count), edges[1:].repeat(count))
    return rays, sections, view


def plane_loss(offset: Tensor, views: Views, spy: PatchWitness) -> tuple[Tensor, Tensor]:
    """Loss and count for the field z - offset."""
    rays, sections, view = plane_rays(views)
    sdf = rays.points(sections)[:, 2] - offset
    gradient = torch.tensor([0.0, 0.0, 1.0]).expand(len(sdf), 3)
    found = spy.loss(SampledRays(rays, sections, sdf), gradient, view, None)
    return found.value, found.used


def random_cameras(count: int) -> PinholeCameras:
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.tensor([0.3, -0.2, 1.0]) + 0.2 * torch.randn(count, 3, generator=generator), dim=-1) * 2
    poses = torch.stack([looking_at(c, 0.1 * c.flip(0), 0.1) for c in centres.double()])
    focal = 100 + 50 * torch.rand(count, 2, generator=generator).double()
    return PinholeCameras(
        poses[:, :, :3], poses[:, :, 3], focal, 50 + 5 * torch.rand(count, 2, generator=generator).double()
    )


def random_patches(cameras: PinholeCameras) -> SurfacePatches:
    generator = torch.Generator().manual_seed(5)
    count = len(cameras.centre)
    target = 0.2 * torch.randn(count, 3, generator=generator).double()
    away = target - cameras.centre
    normals = F.normalize(-away + 0.4 * torch.randn(count, 3, generator=generator).double(), dim=-1)
    return SurfacePatches(torch.arange(count), F.normalize(away, dim=-1), away.norm(dim=-1), normals)


OPENCV = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


def test_the_warp_is_the_homography_of_the_textbooks_and_of_rays_that_meet_a_plane():
    cameras = random_cameras(5)
    patches = random_patches(cameras)
    offsets = patch_offsets(11, 2, torch.device("cpu")).double()
    middle = image_points(cameras, patches)
    sources = (torch.arange(5)[:, None] + torch.arange(1, 4)) % 5
    warp = warp_patches(cameras, patches, sources, middle, offsets)
    points = patches.points(cameras)
    for r in range(5):
        # World to camera in OpenCV's axes; the usual calibration matrix.
        turn, calibration = [], []
        for v in range(5):
            turn.append(OPENCV @ cameras.axes[v].T)
            (fx, fy), (cx, cy) = cameras.focal[v].tolist(), cameras.principal[v].tolist()
            calibration.append(torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64))
        normal = turn[r] @ patches.normals[r]
        distance = normal @ (turn[r] @ (points[r] - cameras.centre[r]))
        for j, s in enumerate(sources[r].tolist()):
            rotation = turn[s] @ turn[r].T
            shift = turn[s] @ (cameras.centre[r] - cameras.centre[s])
            h = calibration[s] @ (rotation + torch.outer(shift, normal) / distance) @ torch.linalg.inv(calibration[r])
            for k, offset in enumerate(offsets):
                pixel = torch.cat([middle[r] + offset[:2], torch.ones(1, dtype=torch.float64)])
                q = h @ pixel
                expected = q[:2] / q[2]
                ray = turn[r].T @ torch.linalg.inv(calibration[r]) @ pixel
                hit = cameras.centre[r] + ray * (patches.normals[r] @ (points[r] - cameras.centre[r])) / (
                    patches.normals[r] @ ray
                )
                seen = calibration[s] @ turn[s] @ (hit - cameras.centre[s])
                found = torch.stack([warp.x[r, j, k], warp.y[r, j, k]])
                torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-9)
                torch.testing.assert_close(found, seen[:2] / seen[2], rtol=1e-10, atol=1e-9)


def test_pixels_move_with_depth_as_the_closed_form_says():
    cameras = random_cameras(5)
    patches = random_patches(cameras)
    offsets = patch_offsets(5, 1, torch.device("cpu")).double()
    middle = image_points(cameras, patches)
    sources = (torch.arange(5)[:, None] + 1) % 5

    def at(t):
        return warp_patches(
            cameras, SurfacePatches(patches.view, patches.directions, t, patches.normals), sources, middle, offsets
        )

    warp, more, less = at(patches.t), at(patches.t + 1e-5), at(patches.t - 1e-5)
    torch.testing.assert_close(warp.x_by_t, (more.x - less.x) / 2e-5, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(warp.y_by_t, (more.y - less.y) / 2e-5, rtol=1e-6, atol=1e-6)
    # The point itself goes where the point projects.
    torch.testing.assert_close(offsets[12, :2], torch.zeros(2, dtype=torch.float64))


def test_what_a_camera_cannot_see_is_nowhere():
    cameras = random_cameras(2)
    behind = PinholeCameras(
        torch.stack([cameras.axes[0], cameras.axes[0]]), torch.stack([cameras.centre[0], cameras.centre[0] * -1]),
        cameras.focal, cameras.principal,
    )  # fmt: skip
    ahead = F.normalize(-behind.centre[:1], dim=-1)
    patch = SurfacePatches(torch.tensor([0]), ahead, torch.tensor([2.0]).double(), -ahead)
    offsets = patch_offsets(3, 1, torch.device("cpu")).double()
    warp = warp_patches(behind, patch, torch.tensor([[1]]), image_points(behind, patch), offsets)
    assert (warp.x < -1e5).all() and warp.x_by_t.isfinite().all()


def test_correlation_knows_neither_gain_nor_offset_and_a_negative_from_its_like():
    generator = torch.Generator().manual_seed(0)
    reference = 255 * torch.rand(3, 25, generator=generator).double()
    source = torch.stack([0.3 * reference + 40, 255 - reference, torch.full_like(reference, 7.0)], 1)
    counts = torch.ones(3, 3, 25, dtype=torch.bool)
    found = agreement(reference, source, counts)
    expected = torch.tensor([1.0, -1.0, 0.0]).double().expand(3, 3)
    torch.testing.assert_close(found.correlation, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.source_variance[:, 0], 0.09 * found.reference_variance[:, 0])
    assert found.by_source.isfinite().all()


def test_pixels_that_do_not_count_change_nothing_and_the_slope_is_autograds():
    generator = torch.Generator().manual_seed(0)
    reference = 255 * torch.rand(2, 25, generator=generator).double()
    source = (0.5 * reference[:, None] + 60 * torch.rand(2, 3, 25, generator=generator).double()).requires_grad_()
    counts = torch.rand(2, 3, 25, generator=generator) > 0.3
    found = agreement(reference, source, counts)
    garbage = torch.where(counts, source, 1e3)
    torch.testing.assert_close(agreement(reference, garbage, counts).correlation, found.correlation)
    (slope,) = torch.autograd.grad(found.correlation.sum(), source)
    torch.testing.assert_close(found.by_source, slope)
    for p in range(2):
        for s in range(3):
            pair = torch.stack([reference[p][counts[p, s]], source[p, s][counts[p, s]].detach()])
            torch.testing.assert_close(found.correlation[p, s].detach(), torch.corrcoef(pair)[0, 1])
            torch.testing.assert_close(found.apart[p, s].detach(), (pair[0] - pair[1]).mean().abs())


def test_only_the_best_sources_count_and_hidden_ones_do_not():
    cost = torch.tensor([[0.1, 0.2, 1.9, 0.3], [0.1, 0.1, 0.1, 0.1], [0.2, 0.0, 0.4, 0.6]])
    valid = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 1, 0]]).bool()
    t = torch.zeros(3, requires_grad=True)
    telling = torch.tensor([[1.0, 0.5, 0.0, 9.0], [1.0] * 4, [0.4, 9.0, 0.4, 9.0]])
    found = judged(PatchCosts(cost, torch.ones(3, 4), cost, telling, valid), best=2)
    loss = disagreement(found, t)
    assert found.used.tolist() == [True, False, True]

    def robust(c):
        return 0.5 * c / (c + 0.5)

    assert float(loss.detach()) == pytest.approx((0.75 * robust(0.15) + 0.4 * robust(0.3)) / 2)
    (pull,) = torch.autograd.grad(loss, t)
    assert pull.tolist() == pytest.approx([0.75 * 0.5 * (0.5 / 0.65) ** 2, 0, 0.4 * 0.5 * (0.5 / 0.8) ** 2])


def test_what_a_shift_costs_is_the_second_order_of_correlation():
    generator = torch.Generator().manual_seed(4)
    source = 255 * torch.rand(2, 3, 25, generator=generator).double()
    change = torch.randn(2, 3, 25, generator=generator).double()
    counts = torch.rand(2, 3, 25, generator=generator) > 0.2
    expected = loss_when_off(source, change, counts)
    for p in range(2):
        for s in range(3):
            at = counts[p, s]
            before, step = source[p, s][at], 1e-2 * change[p, s][at]
            pairs = [torch.stack([before, before + sign * step]) for sign in (-1, 1)]
            lost = 1 - sum(float(torch.corrcoef(pair)[0, 1]) for pair in pairs) / 2
            assert 1e4 * lost == pytest.approx(float(expected[p, s]), rel=1e-3)


def test_gain_offset_and_little_texture_tell_nothing():
    generator = torch.Generator().manual_seed(4)
    source = 255 * torch.rand(1, 1, 25, generator=generator)
    counts = torch.ones(1, 1, 25, dtype=torch.bool)
    assert float(loss_when_off(source, 0.3 * source + 5, counts)) < 1e-5
    assert not loss_when_off(torch.full_like(source, 80.0), torch.zeros_like(source), counts).any()
    told = how_telling(torch.tensor([[0.0, 0.002, 0.02, 0.2]]))[0]
    assert told[0] == 0 and told[1] < 0.011 and told[2] == 0.5 and told[3] > 0.98


def test_a_patch_with_a_plain_middle_tells_nothing_whatever_is_beside_it():
    views = plane_views(4)
    photos = plane_photos(views)
    spy = witness(views, photos, side=7, sources=3)
    rays, _, view = plane_rays(views, 8)
    patches = SurfacePatches(
        view, rays.directions, -rays.origins[:, 2] / rays.directions[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(8, 3)
    )
    assert torch.equal(spy.middle, torch.arange(49).view(7, 7)[2:5, 2:5].flatten())
    before = spy.costs(patches).telling
    assert (before > 0).all()
    grey = photos.grey.view(4, SIZE, SIZE).clone()
    column, row = image_points(spy.cameras, patches).floor().long().unbind(1)
    for v, r, c in zip(view.tolist(), row.tolist(), column.tolist(), strict=True):
        grey[v, r - 2 : r + 3, c - 2 : c + 3] = 120
    plain = GreyPhotos(grey.flatten(), photos.offset, photos.width, photos.height)
    after = witness(views, plain, side=7, sources=3).costs(patches)
    assert after.valid.any(1).all() and (after.telling < 1e-6 * before.max()).all()
    assert how_much_of_its_middle(torch.tensor([[96.0, 104.0], [100.0, 100.0]])).tolist() == [0.5, 0.0]


@pytest.mark.parametrize("patches, sources", [(0, 3), (2, 0), (2, 3)])
def test_nothing_to_compare_costs_nothing(patches, sources):
    one = torch.ones(patches, sources)
    costs = PatchCosts(one, one, one, one, one < 0)
    t = torch.ones(patches, requires_grad=True)
    found = judged(costs, best=4)
    loss = disagreement(found, t) + standing_refuted(found, torch.ones(patches), t)
    loss.backward()
    assert loss == 0 and found.used.sum() == 0 and (t.grad is None or not t.grad.any())


def test_rays_enter_a_sphere_where_they_do_and_follow_its_radius():
    generator = torch.Generator().manual_seed(2)
    count, parts = 50, 400
    origins = 2 * F.normalize(torch.randn(count, 3, generator=generator), dim=-1).double()
    directions = F.normalize(0.3 * torch.randn(count, 3, generator=generator).double() - origins, dim=-1)
    edges = torch.linspace(0.5, 3.0, parts + 1).double()
    rays = Rays(origins, directions, torch.zeros(count).double(), torch.ones(count).double())
    sections = Sections(torch.arange(count).repeat_interleave(parts), edges[:-1].repeat(count), edges[1:].repeat(count))
    radius = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    sdf = rays.points(sections).norm(dim=-1) - radius
    found = first_crossings(sections, sdf.detach(), count)
    entering = torch.nonzero(found.enters)[:, 0]
    assert found.some(20).enters.all() and len(found.some(99)) == count
    found = Crossings(found.ray_index[entering], found.enters[entering], found.before[entering])
    middle = -(origins * directions).sum(-1)
    inside = radius**2 - (2.0**2 - middle**2)
    hits = torch.nonzero(inside.detach() > 0)[:, 0]
    # Rays that graze the sphere between two samples may be missed.
    assert set(found.ray_index.tolist()) <= set(hits.tolist()) and len(found) >= 0.9 * len(hits) > 10
    before, behind = sdf[found.before], sdf[found.before + 1]
    t_before, t_behind = sections.t_middle[found.before], sections.t_middle[found.before + 1]
    t = t_before + crossing_share(before, behind) * (t_behind - t_before)
    exact = (middle - inside.clamp_min(1e-9).sqrt())[found.ray_index]
    steep = inside.detach()[found.ray_index] > 0.05
    torch.testing.assert_close(t[steep], exact[steep], rtol=0, atol=1e-4)
    (slope,) = torch.autograd.grad(t[steep].sum(), radius, retain_graph=True)
    (expected,) = torch.autograd.grad(exact[steep].sum(), radius)
    torch.testing.assert_close(slope, expected, rtol=2e-3, atol=0)


def test_only_a_first_entry_that_somebody_saw_counts():
    # One ray each: enters; starts inside and enters again; enters where a section was skipped; never; enters twice.
    per_ray = [[2, 1, -1, -2], [-1, 1, -1, -1], [2, 1, -1, -2], [3, 2, 1, 2], [1, -1, 1, -1]]
    sdf = torch.tensor(per_ray, dtype=torch.float32).flatten()
    start = torch.arange(4.0).repeat(5)
    sections = Sections(torch.arange(5).repeat_interleave(4), start, start + 1)
    sections.t_end[9] -= 0.5
    found = first_crossings(sections, sdf, 6)
    assert found.enters.tolist() == [True, False, False, False, True, False]
    assert found.before[found.enters].tolist() == [1, 16] and not found.before[~found.enters].any()
    assert set(found.some(2).ray_index.tolist()) == {0, 4} and len(found.some(9)) == 6
    for few in (0, 1):
        parts = (part[:few] for part in (sections.ray_index, start, start))
        assert len(first_crossings(Sections(*parts), sdf[:few], 6).some(4)) == 0


def ring(count: int) -> Views:
    centres = [torch.tensor([2 * torch.cos(a), 2 * torch.sin(a), 0.5]) for a in torch.arange(count) * 6.2832 / count]
    size = torch.full((count,), 100.0)
    poses = torch.stack([looking_at(c, torch.zeros(3)) for c in centres])
    return Views(poses, 1.5 * size, 1.5 * size, size / 2, size / 2, size, size, masks=None)


def test_photographs_are_compared_with_their_neighbours():
    chosen = best_sources(ring(24), None, 4)
    for view in range(24):
        away = [min((view - other) % 24, (other - view) % 24) for other in chosen[view].tolist()]
        assert 0 not in away and max(away) <= 3
    assert best_sources(ring(3), None, 8).shape == (3, 2)
    assert best_sources(ring(1), None, 8).shape == (1, 0)


def test_shared_tracks_go_before_angles_and_strangers_are_no_partners():
    points = torch.zeros(3, 3)
    pairs = [(0, 0), (0, 1), (5, 0), (5, 1), (9, 0)]
    view, point = torch.tensor(pairs).unbind(-1)
    tracks = SfmTracks(points, torch.full((3,), 3), torch.zeros(3), view, point, view_count=24, source="a test")
    assert best_sources(ring(24), tracks, 2)[0].tolist() == [5, 9]
    views = ring(4)
    # This one looks away from everything.
    views.world_from_camera[2] = looking_at(torch.tensor([5.0, 0.0, 0.0]), torch.tensor([9.0, 0.0, 0.0]))
    chosen = best_sources(views, None, 3)
    assert 2 not in chosen[[0, 1, 3]].tolist() and chosen[2].tolist() == [2, 2, 2]


def test_grey_samples_are_bilinear_and_know_what_they_do_not_know():
    row, col = torch.meshgrid(torch.arange(7), torch.arange(9), indexing="ij")
    levels = (20 + 3 * col + 5 * row).to(torch.uint8)
    small = torch.full((4, 5), 90, dtype=torch.uint8)
    masks = [torch.full((7, 9), 255, dtype=torch.uint8), torch.full((4, 5), 255, dtype=torch.uint8)]
    masks[0][0, 0] = 0
    store = store_images([levels[..., None].expand(-1, -1, 3), small[..., None].expand(-1, -1, 3)], masks, "cpu")
    photos = grey_photos(store, pinholes([(9, 7), (5, 4)]))
    x, y = torch.tensor([[3.5, 4.2, 0.9, 8.4, 8.6, -1e6]]), torch.tensor([[2.5, 3.3, 0.9, 1.7, 1.7, 2.0]])
    found = photos.sample(torch.tensor([0]), x, y)
    assert found.seen.tolist() == [[True, True, False, True, False, False]]
    known = found.seen
    torch.testing.assert_close(found.value[known], (20 + 3 * (x - 0.5) + 5 * (y - 0.5))[known])
    torch.testing.assert_close(found.right[known], torch.full((3,), 3.0))
    torch.testing.assert_close(found.down[known], torch.full((3,), 5.0))
    assert photos.sample(torch.tensor([1]), torch.tensor([[2.0]]), torch.tensor([[2.0]])).value.item() == 90


def pinholes(sizes: list[tuple[int, int]], distortion: list[float] | None = None) -> Cameras:
    width, height = torch.tensor(sizes).unbind(-1)
    count = len(sizes)
    poses, focal = torch.eye(3, 4).repeat(count, 1, 1), torch.full((count,), 80.0)
    lens = None if distortion is None else torch.tensor(distortion).repeat(count, 1)
    return Cameras(poses, focal, focal, width / 2, height / 2, width, height, lens, CameraType.PERSPECTIVE)


def test_photographs_of_bent_lenses_are_straightened():
    cameras = pinholes([(100, 80)], [-0.2, 0.05, 0.0, 0.0, 0.01, -0.01])

    def wave(xy):
        return 128 + 100 * torch.sin(xy[..., 0] / 9) * torch.cos(xy[..., 1] / 7)

    row, col = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(100) + 0.5, indexing="ij")
    photo = wave(torch.stack([col, row], -1)).round().to(torch.uint8)
    store = store_images([photo[..., None].expand(-1, -1, 3)], None, "cpu")
    straight = grey_photos(store, cameras).grey.view(80, 100)
    at = lens_positions(cameras, 0, 80, 100)
    seen = straight > 0
    assert seen.float().mean() > 0.9
    torch.testing.assert_close(straight[seen].float(), wave(at)[seen], rtol=0, atol=4.0)
    outside = lens_positions(pinholes([(100, 80)], [0.3, 0.0, 0.0, 0.0, 0.0, 0.0]), 0, 80, 100)[0, 0]
    assert (outside < 0).all()
    assert grey_photos(store, pinholes([(100, 80)], [0.3, 0.0, 0.0, 0.0, 0.0, 0.0])).grey[0] == 0


def test_the_true_plane_agrees_best_and_a_displaced_one_is_pulled_back():
    torch.manual_seed(0)
    views = plane_views()
    spy = witness(views, plane_photos(views))
    at_truth, used = plane_loss(torch.tensor(0.0), views, spy)
    assert used > 30 and at_truth < 0.02
    for offset in (-0.03, -0.01, 0.01, 0.03):
        place = torch.tensor(offset, requires_grad=True)
        loss, _ = plane_loss(place, views, spy)
        (slope,) = torch.autograd.grad(loss, place)
        assert loss > at_truth and float(slope) * offset > 0
    place = torch.tensor(0.03, requires_grad=True)
    optimiser = torch.optim.Adam([place], lr=2e-3)
    for _ in range(40):
        optimiser.zero_grad()
        plane_loss(place, views, spy)[0].backward()
        optimiser.step()
    assert abs(float(place)) < 2e-3


@pytest.mark.parametrize("side, every", [(5, 2), (9, 2), (8, 2), (7, 3), (4, 3), (11, 3), (6, 5), (2, 1)])
def test_whatever_pixels_of_a_patch_are_taken_it_tells_where_the_plane_is(side: int, every: int):
    views = plane_views()
    offset = torch.tensor(0.01, requires_grad=True)
    loss, used = plane_loss(offset, views, witness(views, plane_photos(views), side=side, every=every))
    loss.backward()
    assert used > 0 and 0 < float(loss) < 1 and offset.grad is not None and float(offset.grad) > 0


@pytest.mark.parametrize("side, every", [(7, 0), (7, -1), (3, 3), (1, 1)])
def test_patches_without_pixels_are_refused(side: int, every: int):
    views = plane_views()
    with pytest.raises(InputError, match=r"patches\.every"):
        witness(views, plane_photos(views), side=side, every=every)


def test_the_loss_falls_as_its_gradient_says(monkeypatch):
    # How telling a patch is changes as it moves, and is taken as it is; here all tell alike.
    monkeypatch.setattr(patch_losses, "_LEAST_LOSS", 0.0)
    torch.manual_seed(0)
    views = plane_views()
    spy = witness(views, plane_photos(views))
    place = torch.tensor(0.02, requires_grad=True)
    loss, _ = plane_loss(place, views, spy)
    (slope,) = torch.autograd.grad(loss, place)
    change = (plane_loss(torch.tensor(0.021), views, spy)[0] - plane_loss(torch.tensor(0.019), views, spy)[0]) / 2e-3
    assert float(slope) == pytest.approx(float(change), rel=0.1)


def test_costs_agree_with_a_slow_loop():
    views = plane_views(4)
    photos = plane_photos(views)
    spy = witness(views, photos, side=5, sources=3)
    rays, _, view = plane_rays(views, 8)
    t = -rays.origins[:, 2] / rays.directions[:, 2] + 0.02
    normals = F.normalize(torch.tensor([0.1, -0.2, 1.0]), dim=0).expand(8, 3)
    costs = spy.costs(SurfacePatches(view, rays.directions, t, normals))
    assert costs.valid.all()
    images = photos.grey.view(4, SIZE, SIZE).double()

    def grey(v: int, xy: Tensor) -> Tensor:
        x, y = xy.double() - 0.5
        c, r = int(x.floor()), int(y.floor())
        a, b = x - c, y - r
        im = images[v]
        return (1 - b) * ((1 - a) * im[r, c] + a * im[r, c + 1]) + b * ((1 - a) * im[r + 1, c] + a * im[r + 1, c + 1])

    def seen_from(v: int, point: Tensor) -> Tensor:
        pose = views.world_from_camera[v].double()
        local = pose[:, :3].T @ (point - pose[:, 3])
        x = FOCAL * local[0] / -local[2] + views.cx[v]
        return torch.stack([x, -FOCAL * local[1] / -local[2] + views.cy[v]])

    for p in range(8):
        v, normal = int(view[p]), normals[p].double()
        eye = views.world_from_camera[v, :, 3].double()
        touch = eye + rays.directions[p].double() * t[p].double()
        middle = seen_from(v, touch)
        own, others = [], [[] for _ in range(3)]
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                pixel = middle + torch.tensor([dx, dy])
                ray = pixel_rays(views, v, pixel[None].float())[0].double()
                hit = eye + ray * (normal @ (touch - eye)) / (normal @ ray)
                own.append(grey(v, pixel))
                for j, s in enumerate(spy.candidates[v].tolist()):
                    others[j].append(grey(s, seen_from(s, hit)))
        for j in range(3):
            correlation = torch.corrcoef(torch.stack([torch.stack(own), torch.stack(others[j])]))[0, 1]
            assert float(costs.cost[p, j]) == pytest.approx(1 - float(correlation), abs=2e-3)


def test_borders_flat_angles_bare_patches_and_masks_are_no_evidence():
    views = plane_views(4)
    photos = plane_photos(views)
    spy = witness(views, photos, sources=3)
    rays, _, view = plane_rays(views, 8)
    t = -rays.origins[:, 2] / rays.directions[:, 2]
    up = torch.tensor([0.0, 0.0, 1.0]).expand(8, 3)

    def at(other, normals):
        return other.costs(SurfacePatches(view, rays.directions, t, normals)).valid

    assert at(spy, up).all()
    flat = F.normalize(torch.tensor([1.0, 0.0, 0.05]), dim=0).expand(8, 3)
    assert at(spy, flat).float().mean() < 0.6
    corner = torch.cat([pixel_rays(views, int(v), torch.tensor([[1.5, 1.5]])) for v in view])
    edge = SurfacePatches(view, corner, -rays.origins[:, 2] / corner[:, 2], up)
    assert not spy.costs(edge).valid.any()
    bare = GreyPhotos(torch.full_like(photos.grey, 99), photos.offset, photos.width, photos.height)
    assert not at(witness(views, bare, sources=3), up).any()
    cut = photos.grey.clone()
    cut[: SIZE * SIZE] = 0
    masked = at(witness(views, GreyPhotos(cut, photos.offset, photos.width, photos.height), sources=3), up)
    assert torch.equal(masked, (spy.candidates[view] != 0) & (view != 0)[:, None])


def test_sources_behind_another_surface_are_no_evidence():
    views = plane_views(4)
    spy = witness(views, plane_photos(views), sources=3)
    rays, _, view = plane_rays(views, 8)
    t, up = -rays.origins[:, 2] / rays.directions[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(8, 3)
    patches = SurfacePatches(view, rays.directions, t, up)
    assert spy.costs(patches).valid.all()
    # A box on the way to the third camera, across all lines of sight to it and to no other.
    hidden = 2
    walled(spy, torch.tensor([-0.6, -0.3, 0.7]), torch.tensor([-0.12, 0.3, 0.9]))
    sources, seen = spy.sources_of(patches)
    assert torch.equal(seen, sources != hidden) and torch.equal(spy.costs(patches).valid, seen)
    # With fewer to be compared with, those that see the patch come first.
    assert witness_seen(spy, patches, 2).all()


def test_the_points_of_a_patch_are_where_rays_through_its_pixels_meet_the_plane():
    cameras = random_cameras(3)
    patches = random_patches(cameras)
    middle = image_points(cameras, patches)
    offsets = patch_offsets(5, 2, torch.device("cpu")).to(middle)
    points, shown = plane_points(cameras, patches, middle, offsets)
    assert shown.all()
    on_plane = ((points - patches.points(cameras)[:, None]) * patches.normals[:, None]).sum(-1)
    torch.testing.assert_close(on_plane, torch.zeros_like(on_plane), rtol=0, atol=1e-4)
    towards = points - cameras.centre[patches.view][:, None]
    local = torch.einsum("npi,nij->npj", towards, cameras.axes[patches.view])
    along = local[..., :2] / -local[..., 2:] * torch.tensor([1.0, -1.0]).to(local)
    pixels = along * cameras.focal[patches.view][:, None] + cameras.principal[patches.view][:, None]
    torch.testing.assert_close(pixels, middle[:, None] + offsets[:, :2], rtol=1e-4, atol=1e-2)


def test_a_patch_that_something_nearer_reaches_into_is_no_evidence():
    views = plane_views(4)
    photos = plane_photos(views)
    spy = PatchWitness(PatchConfig(rays=64, side=11, sources=3), photos, views, None, OccupancyGrid(64, 1), "torch")
    # The eye is at (0.7, 0, 2): from there the box hides what of the plane has x < 0.
    eye = views.world_from_camera[0, :, 3]
    walled(spy, torch.tensor([-0.5, -0.4, 0.5]), torch.tensor([0.175, 0.4, 0.6]))
    places = torch.tensor([[-0.2, 0.0, 0.0], [-0.03, 0.0, 0.0], [0.035, 0.0, 0.0], [0.2, 0.0, 0.0]])
    towards = places - eye
    view, up = torch.zeros(4, dtype=torch.int64), torch.tensor([0.0, 0.0, 1.0]).expand(4, 3)
    patches = SurfacePatches(view, F.normalize(towards, dim=-1), towards.norm(dim=-1), up)
    # The third one's middle is seen, but not its corners.
    assert in_sight(spy.grid, places, eye.expand(4, 3), torch.ones(4).bool(), "torch").tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert spy.seen_whole(patches).tolist() == [False, False, False, True]
    # A plane so steep that the lower corners look past its horizon.
    steep = F.normalize(torch.linalg.cross(towards[3], torch.tensor([0.0, 1.0, 0.0])), dim=0)
    steep = F.normalize(steep - 0.01 * F.normalize(towards[3], dim=0), dim=0).expand(4, 3)
    assert not spy.seen_whole(SurfacePatches(patches.view, patches.directions, patches.t, steep))[3]


def test_rays_that_meet_nothing_and_lone_photographs_cost_nothing():
    for count, offset in ((6, 9.0), (1, 0.0)):
        views = plane_views(count)
        place = torch.tensor(offset, requires_grad=True)
        loss, used = plane_loss(place, views, witness(views, plane_photos(views)))
        loss.backward()
        assert loss == 0 and used == 0


def test_gradients_go_through_the_given_field_alone_if_rays_move():
    torch.manual_seed(0)
    views = plane_views()
    spy = witness(views, plane_photos(views))
    rays, sections, view = plane_rays(views)
    origins = rays.origins.clone().requires_grad_()
    moving = Rays(origins, rays.directions, rays.t_near, rays.t_far)
    place = torch.tensor(0.02, requires_grad=True)
    sdf = moving.points(sections)[:, 2] - 0.02
    gradient = torch.tensor([0.0, 0.0, 1.0]).expand(len(sdf), 3)
    found = spy.loss(SampledRays(moving, sections, sdf), gradient, view, lambda points: points[:, 2] - place)
    slope, to_rays = torch.autograd.grad(found.value, [place, origins], allow_unused=True)
    assert slope > 0 and to_rays is None


def test_two_photographs_compare_nothing_and_say_so(capsys: pytest.CaptureFixture[str]):
    for count in (2, 3):
        views = plane_views(count)
        witness(views, plane_photos(views))
        assert ("which takes 3 training photographs" in " ".join(capsys.readouterr().out.split())) == (count == 2)
