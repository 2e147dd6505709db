"""A ball on a plain dark disc on a patterned floor, photographed from all around."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import trimesh
from jaxtyping import Bool, Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from PIL import Image
from torch import Tensor

from neus_ns.data.camera_rays import CameraRays
from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.data.ply import write_ply
from neus_ns.data.region import Region
from neus_ns.data.synthetic.cameras import look_at

REGION = Region(torch.tensor([0.0, 0.0, 0.3], dtype=torch.float64), 0.9, "test")
SIZE, FOCAL = 200, 230.0
FOOT, THICK = 0.5, 0.06


@dataclass(frozen=True)
class Standing:
    """Photographs of a ball on a plain dark disc, on a floor: what they show, and which pixels show ball or disc."""

    store: PixelStore
    rays: CameraRays
    points: Float[Tensor, "points 3"]
    is_object: Bool[Tensor, " pixels"]


def floor_colour(x: Float[Tensor, " n"], y: Float[Tensor, " n"], pattern: float) -> Float[Tensor, "n 3"]:
    turns = (7.0, 1), (11.0, -1), (17.0, 1), (23.0, -1)
    waves = torch.stack([torch.sin(k * x + 1.7 * k * y * sign + k) for k, sign in turns]).sum(0)
    return 150 + pattern * waves[:, None] * torch.tensor([1.0, 0.9, 0.8])


def photograph(origins: Tensor, directions: Tensor, pattern: float) -> tuple[UInt8[Tensor, "n 3"], Bool[Tensor, " n"]]:
    """Colours along rays, and whether they met the object."""
    colour = torch.full((len(origins), 3), 90.0)
    down = directions[:, 2] < 0
    t = -origins[:, 2] / directions[:, 2].where(down, -1.0)
    at = origins + t[:, None] * directions
    floor = down & (at[:, :2].norm(dim=-1) < 4)
    colour[floor] = floor_colour(at[floor, 0], at[floor, 1], pattern)
    heights = torch.linspace(0, THICK, 12)
    crossing = origins[:, None] + ((heights - origins[:, 2:]) / directions[:, 2:])[..., None] * directions[:, None]
    disc = down & (crossing[..., :2].norm(dim=-1) < FOOT).any(-1)
    centre = torch.tensor([0.0, 0.0, THICK + 0.25])
    ball = torch.linalg.cross(centre - origins, directions).norm(dim=-1) < 0.25
    colour[disc], colour[ball] = 40.0, torch.tensor([180.0, 60.0, 50.0])
    return colour.round().clamp(0, 255).to(torch.uint8), disc | ball


def standing_scene(pattern: float = 14.0, lowest: float = 0.7) -> Standing:
    turns = torch.arange(16) * 2.4
    poses = []
    for k, turn in enumerate(turns):
        eye = torch.stack([2.5 * turn.cos(), 2.5 * turn.sin(), torch.tensor(lowest + 0.12 * k)])
        poses.append(look_at(eye, torch.tensor([0.0, 0.0, 0.2]))[:3])
    cameras = Cameras(torch.stack(poses).float(), FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE)
    rays = CameraRays(cameras)
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images, objects = [], []
    for view in range(len(poses)):
        bundle = rays(torch.stack([torch.full_like(row, view), row, column], -1).view(-1, 3))
        colour, is_object = photograph(bundle.origins, bundle.directions, pattern)
        images.append(colour.view(SIZE, SIZE, 3))
        objects.append(is_object)
    generator = torch.Generator().manual_seed(0)
    floor = torch.cat([4 * torch.rand(400, 2, generator=generator) - 2, torch.zeros(400, 1)], 1)
    floor = floor[floor[:, :2].norm(dim=-1) > FOOT]
    ball = torch.nn.functional.normalize(torch.randn(150, 3, generator=generator), dim=-1) * 0.25
    points = torch.cat([floor, ball + torch.tensor([0.0, 0.0, 0.31])])
    return Standing(store_images(images, None, "cpu"), rays, points, torch.cat(objects))


def write_standing(folder: Path) -> None:
    """The same as nerfstudio would have it, without masks."""
    shown = standing_scene()
    (folder / "images").mkdir(parents=True)
    frames = []
    for view, pose in enumerate(shown.rays.cameras.camera_to_worlds):
        name = f"images/{view:02d}.png"
        Image.fromarray(shown.store.photo_and_foreground(view)[0].numpy()).save(folder / name)
        frames.append({"file_path": name, "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]})
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE}
    capture = {"camera_model": "OPENCV", **lens, "frames": frames, "ply_file_path": "sparse_pc.ply"}
    (folder / "transforms.json").write_text(json.dumps(capture), encoding="utf-8")
    write_ply(folder / "sparse_pc.ply", trimesh.PointCloud(shown.points.numpy()))
