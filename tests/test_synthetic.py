"""Laws of the synthetic capture: its pictures, masks, points and mesh all tell of one and the same surface."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image

from neus_ns.data.synthetic.cameras import Pinhole, pixel_centres, train_cameras
from neus_ns.data.synthetic.capture import CaptureOptions, capture_is_complete, write_capture
from neus_ns.data.synthetic.demo import CENTRE_WORLD, RADIUS, demo_sdf, demo_shape
from neus_ns.data.synthetic.materials import Varnish
from neus_ns.data.synthetic.render import photographs
from neus_ns.data.synthetic.shading import shade
from neus_ns.data.synthetic.shapes import project_to_surface, surface_normals
from neus_ns.data.synthetic.trace import ball_interval, sphere_trace
from neus_ns.errors import InputError
from tests.scenes import tiny_capture

OPTIONS = CaptureOptions(views=12, test_views=2, size=64)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are small: on a busy machine a second thread only makes both wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_capture(folder, OPTIONS)
    return folder


def read_cameras(folder: Path) -> list[tuple[Pinhole, torch.Tensor]]:
    """Cameras and masks as a reader of the files gets them."""
    meta = json.loads((folder / "transforms.json").read_text())
    found = []
    for frame in meta["frames"]:
        pose = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
        mask = torch.from_numpy(np.array(Image.open(folder / frame["mask_path"])))
        assert set(mask.unique().tolist()) == {0, 255}
        found.append((Pinhole(pose, meta["fl_x"], meta["w"]), mask > 0))
    return found


def mask_at(mask: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Whether pixel positions lie in a mask or beside it: a point of the outline may miss the centre of its pixel."""
    grown = torch.nn.functional.max_pool2d(mask.float()[None, None], 3, stride=1, padding=1)[0, 0] > 0
    columns, rows = pixels.floor().long().clamp(0, len(mask) - 1).unbind(1)
    return grown[rows, columns]


def test_the_sdf_never_promises_more_room_than_there_is() -> None:
    generator = torch.Generator().manual_seed(0)
    a = 2.4 * RADIUS * (torch.rand(40_000, 3, generator=generator, dtype=torch.float64) - 0.5) + torch.tensor(
        CENTRE_WORLD
    )
    b = a + 4.0 * torch.randn(a.shape, generator=generator, dtype=torch.float64)
    assert bool(((demo_sdf(a) - demo_sdf(b)).abs() <= (a - b).norm(dim=1) + 1e-6).all())
    outside = (a - torch.tensor(CENTRE_WORLD)).norm(dim=1) > RADIUS
    assert bool((demo_sdf(a[outside]) > 0).all())


def test_traced_depth_agrees_with_a_dense_float64_walk() -> None:
    shape = demo_shape()
    camera = train_cameras(CENTRE_WORLD, RADIUS, 3, 32, seed=1)[0]
    origins, directions = camera.rays(pixel_centres(camera.size).double())
    origins = shape.local(origins)
    t_near, t_far = ball_interval(origins, directions, RADIUS)
    rows = (t_near < t_far).nonzero()[:, 0]
    steps = torch.linspace(0.0, 1.0, 1201, dtype=torch.float64)
    traced = sphere_trace(
        shape.sdf_local, origins.float(), directions.float(), t_near.float(), t_far.float(), 5e-5 * RADIUS
    )[rows].double()
    t = t_near[rows, None] + (t_far - t_near)[rows, None] * steps
    points = origins[rows, None] + t[..., None] * directions[rows, None]
    sdf = torch.stack([shape.sdf_local(ray) for ray in points])
    # Rays that pass the surface closer than a step of the walk may be told either way by the walk.
    surely_hit, surely_missed = (sdf < -0.1).any(dim=1), (sdf > 0.1).all(dim=1)
    assert int(surely_hit.sum()) > 200 and int(surely_missed.sum()) > 100
    assert bool(traced[surely_hit].isfinite().all()) and not bool(traced[surely_missed].isfinite().any())
    first_inside = t.gather(1, (sdf < -0.1).int().argmax(dim=1, keepdim=True))[:, 0]
    assert bool((traced[surely_hit] <= first_inside[surely_hit]).all())
    before = torch.where(t < traced[:, None] - 0.05, sdf, torch.inf).amin(dim=1)
    assert float(before[traced.isfinite()].min()) > -0.02


def test_hits_lie_on_the_surface_and_masks_are_the_hits(capture: Path) -> None:
    cameras = read_cameras(capture)[::5]
    pictures = photographs(demo_shape(), [camera for camera, _ in cameras], Varnish(0.0))
    for (camera, mask), picture in zip(cameras, pictures, strict=True):
        origins, directions = camera.rays(pixel_centres(camera.size))
        hit = picture.depth.reshape(-1).isfinite()
        points = origins[hit] + picture.depth.reshape(-1)[hit, None] * directions[hit]
        assert float(demo_sdf(points).abs().max()) < 1e-3 * RADIUS
        assert torch.equal(mask, picture.mask)


def test_ground_truth_points_lie_on_the_surface_and_inside_every_mask(capture: Path) -> None:
    truth = np.load(capture / "gt_points.npz")
    points, normals = torch.from_numpy(truth["points"]), torch.from_numpy(truth["normals"])
    assert points.dtype == normals.dtype == torch.float32 and len(points) > 20_000
    assert float(demo_sdf(points).abs().quantile(0.999)) < 1e-3
    # A little way out along the normal there is that much room (less beside fillets), a little way in there is matter.
    room = demo_sdf(points + 0.3 * normals)
    assert float((room - 0.3).abs().median()) < 1e-3 and float(room.min()) > 0.05
    assert float((demo_sdf(points - 0.3 * normals) < 0).float().mean()) > 0.999
    for camera, mask in read_cameras(capture):
        assert bool(mask_at(mask, camera.project(points)).all())


def test_ground_truth_mesh_has_a_handle_and_a_loose_part(capture: Path) -> None:
    mesh = trimesh.load(capture / "gt_mesh.ply", process=False)
    assert isinstance(mesh, trimesh.Trimesh) and mesh.is_watertight
    bodies = sorted(mesh.split(), key=lambda body: -body.volume)
    # Euler numbers 2 - 2 * genus: the pot has one hole, the ball has none.
    assert [body.euler_number for body in bodies] == [0, 2]
    assert bodies[1].volume > 0
    # A dodecahedron of inradius r has the volume 5.55 r^3.
    assert bodies[1].volume == pytest.approx(5.5503 * 9.0**3, rel=1e-2)
    assert float(demo_sdf(torch.from_numpy(np.array(mesh.vertices)).float()).abs().quantile(0.999)) < 2e-3
    box = torch.tensor(json.loads((capture / "meta.json").read_text())["object_bbox"])
    assert np.allclose(box, mesh.bounds, atol=1e-3)


def test_no_outline_shows_the_bowl(capture: Path) -> None:
    in_bowl = torch.tensor([CENTRE_WORLD]) + torch.tensor([[0.0, 0.0, 17.0], [6.0, 0.0, 19.0], [0.0, -7.0, 20.0]])
    assert float(demo_sdf(in_bowl).min()) > 8.0
    for camera, mask in read_cameras(capture):
        columns, rows = camera.project(in_bowl).floor().long().unbind(1)
        for shift in (-2, 0, 2):
            assert bool(mask[rows + shift, columns].all()) and bool(mask[rows, columns + shift].all())


def test_colour_without_gloss_is_the_same_from_every_side() -> None:
    """A point seen along two directions has one colour when it is matt, and two when it is varnished."""
    shape = demo_shape()
    start = 40.0 * torch.randn(300, 3, generator=torch.Generator().manual_seed(3))
    points = project_to_surface(shape.sdf_local, start, steps=30)
    normals = surface_normals(shape.sdf_local, points)
    tilted = torch.nn.functional.normalize(-normals + 0.4 * torch.tensor([0.6, 0.0, 0.8]), dim=1)
    assert torch.equal(shade(shape, points, normals, -normals, 0.0), shade(shape, points, normals, tilted, 0.0))
    change = (shade(shape, points, normals, -normals, 1.0) - shade(shape, points, normals, tilted, 1.0)).abs()
    assert float(change.amax()) > 0.05


def test_writing_twice_gives_identical_bytes_and_the_second_time_may_be_skipped(tmp_path: Path, capture: Path) -> None:
    again = tmp_path / "again"
    write_capture(again, OPTIONS)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert len(files) == 2 * 14 + 6
    for name in files:
        assert (again / name).read_bytes() == (capture / name).read_bytes(), name
    stamp = (again / "transforms.json").stat().st_mtime_ns
    write_capture(again, OPTIONS)
    assert (again / "transforms.json").stat().st_mtime_ns == stamp


def test_other_options_replace_the_capture_and_foreign_files_stop_it(tmp_path: Path) -> None:
    small = CaptureOptions(views=4, test_views=1, size=16)
    smaller = CaptureOptions(views=3, test_views=1, size=16, masks=False)
    write_capture(tmp_path / "own", small)
    write_capture(tmp_path / "own", smaller)
    assert capture_is_complete(tmp_path / "own", smaller) and not capture_is_complete(tmp_path / "own", small)
    assert len(list((tmp_path / "own").rglob("*.png"))) == 4
    (tmp_path / "own" / "images" / "holiday.png").write_bytes(b"")
    with pytest.raises(InputError, match="holiday.png"):
        write_capture(tmp_path / "own", small)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "transforms.json").write_text("{}")
    with pytest.raises(InputError, match="transforms.json"):
        write_capture(tmp_path / "other", small)
    assert (tmp_path / "other" / "transforms.json").read_text() == "{}"


@pytest.mark.parametrize("wrong", [{"views": 2}, {"test_views": 0}, {"size": 8}, {"gloss": 1.5}])
def test_options_out_of_range_are_refused(wrong: dict[str, int | float]) -> None:
    with pytest.raises(InputError):
        CaptureOptions(**wrong)  # pyright: ignore[reportArgumentType]


def test_nerfstudio_reads_the_tiny_capture_and_its_points_are_on_the_ball(tmp_path: Path) -> None:
    ball = tiny_capture(tmp_path)
    outputs = NerfstudioDataParserConfig(data=tmp_path, load_3D_points=True).setup().get_dataparser_outputs("train")
    assert len(outputs.image_filenames) == 8 and outputs.mask_filenames is not None and len(outputs.mask_filenames) == 8
    transform, scale = outputs.dataparser_transform.double(), outputs.dataparser_scale
    points = outputs.metadata["points3D_xyz"].double()
    colours = outputs.metadata["points3D_rgb"]
    assert len(points) > 500 and colours.float().std(dim=0).min() > 10.0
    centre = scale * (transform[:, :3] @ torch.tensor(ball.centre, dtype=torch.float64) + transform[:, 3])
    distance = (points - centre).norm(dim=1) / scale
    assert float((distance - ball.radius).abs().max()) < 0.02 * ball.radius
    # The parsed cameras look at the ball: the ray of the middle of the picture passes through it.
    rays = outputs.cameras.generate_rays(torch.arange(8)[:, None], coords=torch.full((8, 2), 16.0))
    offset = centre - rays.origins.double()
    sideways = torch.linalg.cross(offset, rays.directions.double()).norm(dim=1) / scale
    assert float(sideways.max()) < 0.2 * ball.radius
