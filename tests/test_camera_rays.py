"""Fast rays equal nerfstudio's, for every lens, and carry gradients to where the pixel was touched."""

from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.model_components.ray_generators import RayGenerator

from neus_ns.data.camera_rays import CameraRays, pinhole_rays, pinhole_table
from neus_ns.data.checks_distortion import check_distortion_undoes
from neus_ns.data.pinhole_views import distort, pinhole_views
from neus_ns.errors import InputError


def random_cameras(views: int = 7, dtype: torch.dtype = torch.float32, **changes) -> Cameras:
    """Cameras with random poses, unequal focal lengths and principal points off the centre, of differing sizes."""
    generator = torch.Generator().manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(views, 3, 3, generator=generator, dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation).sign()[:, None, None]
    centre = torch.randn(views, 3, 1, generator=generator, dtype=torch.float64)

    def between(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(views, 1, generator=generator, dtype=torch.float64)).to(dtype)

    values = dict(
        camera_to_worlds=torch.cat((rotation, centre), dim=-1).to(dtype),
        fx=between(40.0, 900.0),
        fy=between(40.0, 900.0),
        cx=between(20.0, 40.0),
        cy=between(10.0, 30.0),
        width=torch.randint(50, 70, (views, 1), generator=generator),
        height=torch.randint(30, 50, (views, 1), generator=generator),
        distortion_params=torch.zeros(views, 6, dtype=dtype),
        metadata={},
    )
    return Cameras(**{**values, **changes})


def random_pixels(cameras: Cameras, num: int = 500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    view = torch.randint(len(cameras), (num,), generator=generator)
    share = torch.rand(num, 2, generator=generator)
    row = (share[:, 0] * cameras.height[view, 0]).long()
    return torch.stack((view, row, (share[:, 1] * cameras.width[view, 0]).long()), dim=-1)


CASES = {
    "plain": ({}, True),
    "no distortion entry": ({"distortion_params": None}, True),
    "no metadata entry": ({"metadata": None}, True),
    "distorted": ({"distortion_params": torch.tensor([-0.05, 0.01, 0.0, 0.0, 1e-3, -2e-3]).expand(7, 6)}, True),
    "distorted in part": ({"distortion_params": torch.eye(7, 6) * 0.02}, True),
    "fisheye": ({"camera_type": CameraType.FISHEYE}, False),
    "mixed": ({"camera_type": torch.tensor([[1], [2], [1], [1], [2], [1], [1]])}, False),
    "equirectangular": ({"camera_type": CameraType.EQUIRECTANGULAR}, False),
    "timed": ({"times": torch.linspace(0, 1, 7)}, False),
}


@pytest.mark.parametrize("case", CASES)
def test_rays_equal_those_of_nerfstudio(case: str) -> None:
    changes, is_fast = CASES[case]
    cameras = random_cameras(**changes)
    pixels = random_pixels(cameras)
    ours, theirs = CameraRays(cameras), RayGenerator(cameras)(pixels)
    assert ours.is_fast == is_fast
    found = ours(pixels)
    torch.testing.assert_close(found.origins, theirs.origins, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.directions, theirs.directions, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.camera_indices, theirs.camera_indices)
    torch.testing.assert_close(found.metadata["directions_norm"], theirs.metadata["directions_norm"], atol=1e-6, rtol=0)
    # nerfstudio subtracts nearly equal unit vectors in float32, which leaves three digits of the area.
    torch.testing.assert_close(found.pixel_area, theirs.pixel_area, atol=1e-6, rtol=1e-2)


def test_pixel_area_keeps_its_digits_where_pixels_are_small() -> None:
    cameras = random_cameras(fx=torch.full((7, 1), 30000.0))
    pixels = random_pixels(cameras)
    xy = pixels[:, 1:].flip(-1).double() + 0.5
    table = pinhole_table(cameras).double()
    here, right, down = (
        pinhole_rays(table, pixels[:, 0], xy + torch.tensor(step)).directions for step in ((0, 0), (1, 0), (0, 1))
    )
    expected = (here - right).norm(dim=-1) * (here - down).norm(dim=-1)
    torch.testing.assert_close(CameraRays(cameras)(pixels).pixel_area[:, 0], expected.float(), atol=0, rtol=1e-5)


@pytest.mark.parametrize("quantity", ["directions", "pixel_area"])
def test_gradients_reach_pixel_coordinates(quantity: str) -> None:
    cameras = random_cameras(dtype=torch.float64)
    pixels = random_pixels(cameras, num=6)
    xy = (pixels[:, 1:].flip(-1).double() + torch.rand(6, 2, dtype=torch.float64)).requires_grad_()
    rays = CameraRays(cameras)
    assert torch.autograd.gradcheck(lambda at: getattr(rays.rays_at(pixels[:, 0], at), quantity), (xy,))


@pytest.mark.parametrize("case", ["plain", "distorted"])
def test_float_coordinates_meet_the_integer_pixels_at_halves(case: str) -> None:
    cameras = random_cameras(**CASES[case][0])
    pixels = random_pixels(cameras)
    rays = CameraRays(cameras)
    touched = rays.rays_at(pixels[:, 0], pixels[:, 1:].flip(-1) + 0.5)
    torch.testing.assert_close(touched.directions, rays(pixels).directions)


@pytest.mark.parametrize("lens", ["perspective", "fisheye"])
def test_straightened_masks_agree_with_the_rays_of_the_bent_lens(lens: str) -> None:
    """A half-plane seen through the lens: the straightened mask must be what a pinhole sees of the same half-plane."""
    params = torch.tensor([[-0.12, 0.03, 0.0, 0.0, 2e-3, -1e-3]])
    kind = CameraType.FISHEYE if lens == "fisheye" else CameraType.PERSPECTIVE
    numbers = dict(fx=60.0, fy=66.0, cx=33.0, cy=24.0, width=64, height=48)
    shape: dict = {key: torch.tensor([[value]]) for key, value in numbers.items()}
    bent = random_cameras(1, **shape, distortion_params=params, camera_type=kind)
    straight = random_cameras(1, **shape)
    row, col = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    pixels = torch.stack((torch.zeros_like(row), row, col), dim=-1).view(-1, 3)
    side = bent.camera_to_worlds[0, :, :3] @ torch.tensor([0.8, -0.5, 0.1])

    def half_plane(cameras: Cameras) -> torch.Tensor:
        return (CameraRays(cameras)(pixels).directions @ side).view(48, 64)

    mask = pinhole_views(bent, [half_plane(bent) > 0]).masks
    assert mask is not None
    disagree = mask[0] != (half_plane(straight) > 0)
    # Sampling the bent mask at whole pixels moves the border by less than one of them.
    assert disagree.sum() < 48
    assert half_plane(straight).abs()[disagree].max() < 2.0 / 60.0


def test_distortion_inverts_nerfstudios_undistortion() -> None:
    from nerfstudio.cameras.camera_utils import radial_and_tangential_undistort

    params = torch.tensor([-0.08, 0.02, 0.01, 0.0, 3e-3, -2e-3])
    uv = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)) - 0.5
    back = radial_and_tangential_undistort(distort(uv, params)[None], params.expand(200, 6))[0]
    torch.testing.assert_close(back, uv, atol=1e-5, rtol=0)


def test_a_fisheye_looks_along_its_axis() -> None:
    cameras = Cameras(torch.eye(4)[None, :3], 100.0, 100.0, 4.5, 3.5, 9, 7, camera_type=CameraType.FISHEYE)
    rays = CameraRays(cameras)(torch.tensor([[0, 3, 4], [0, 0, 0]]))
    assert bool(torch.isfinite(rays.directions).all())
    torch.testing.assert_close(rays.directions[0], torch.tensor([0.0, 0.0, -1.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [CameraType.PERSPECTIVE, CameraType.FISHEYE])
@pytest.mark.parametrize(
    ("k1", "k2", "folds"),
    [(-0.3, 0.0, True), (-0.4, 0.0, True), (-0.26, 0.08, False), (-0.25, 0.05, False), (0.3, 0.1, False)],
)
def test_distortion_that_cannot_be_undone_is_refused(kind: CameraType, k1: float, k2: float, folds: bool):
    """As of a wide lens with too few terms; the second camera has it, the first is plain."""
    params = torch.tensor([[0.0] * 6, [k1, k2, 0.0, 0.0, 0.0005, -0.0005]])
    poses = torch.eye(4)[None, :3].repeat(2, 1, 1)
    cameras = Cameras(poses, 300.0, 300.0, 320.0, 240.0, 640, 480, params, camera_type=kind)
    names = [Path("a.png"), Path("b.png")]
    if not folds:
        check_distortion_undoes(cameras, names, Path("capture"))
        return
    with pytest.raises(InputError, match=rf"capture: the lens distortion of b.png \(k1 {k1:g}.* of its pixels"):
        check_distortion_undoes(cameras, names, Path("capture"))
