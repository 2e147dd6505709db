"""A ball seen from a ring of cameras, as COLMAP would have left it: for tests of its files and of tracks.

Keypoints are exact projections through each camera's lens, with others among them that belong to no point.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Name, number in binary files, parameters (for SIZE), and the same lens as fx, fy, cx, cy, k1, k2, p1, p2.
LENSES = [
    ("PINHOLE", 1, [60.0, 62.0, 31.0, 23.5], [60.0, 62.0, 31.0, 23.5, 0, 0, 0, 0]),
    ("SIMPLE_RADIAL", 2, [58.0, 32.5, 24.0, 0.05], [58.0, 58.0, 32.5, 24.0, 0.05, 0, 0, 0]),
    (
        "OPENCV",
        4,
        [59.0, 59.5, 32.0, 24.0, -0.06, 0.01, 0.001, -0.002],
        [59.0, 59.5, 32.0, 24.0, -0.06, 0.01, 0.001, -0.002],
    ),
]
SIZE = (64, 48)
CENTRE, RADIUS = np.array([2.0, -1.0, 0.5]), 0.6


@dataclass
class Scene:
    """Everything that the three files say. `tracks[p]` lists (image index, keypoint index)."""

    names: list[str]
    camera_of: list[int]
    cv_from_world: np.ndarray
    points: np.ndarray
    keypoints: list[np.ndarray]
    keypoint_points: list[np.ndarray]
    tracks: list[list[tuple[int, int]]]
    errors: np.ndarray
    lenses: list = field(default_factory=lambda: LENSES)

    @property
    def world_from_camera(self) -> np.ndarray:
        """OpenGL camera to world, as transforms.json wants it."""
        poses = []
        for pose in self.cv_from_world:
            matrix = np.eye(4)
            matrix[:3, :3] = pose[:, :3].T @ np.diag([1.0, -1.0, -1.0])
            matrix[:3, 3] = -pose[:, :3].T @ pose[:, 3]
            poses.append(matrix)
        return np.array(poses)

    def quaternion(self, image: int) -> np.ndarray:
        """COLMAP's (w, x, y, z) of an image."""
        rotation = self.cv_from_world[image, :, :3]
        values, vectors = np.linalg.eigh(
            np.array(
                [
                    [np.trace(rotation), *_vee(rotation)],
                    *np.column_stack((_vee(rotation), rotation + rotation.T - np.trace(rotation) * np.eye(3))),
                ]
            )
        )
        return vectors[:, np.argmax(values)] * (1 if vectors[0, np.argmax(values)] >= 0 else -1)


def _vee(rotation: np.ndarray) -> np.ndarray:
    skew = rotation - rotation.T
    return np.array([skew[2, 1], skew[0, 2], skew[1, 0]])


def project(lens: list[float], local: np.ndarray) -> np.ndarray:
    """COLMAP's OPENCV camera, written out."""
    fx, fy, cx, cy, k1, k2, p1, p2 = lens
    u, v = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
    r2 = u * u + v * v
    radial = 1 + k1 * r2 + k2 * r2 * r2
    du = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
    dv = v * radial + 2 * p2 * u * v + p1 * (r2 + 2 * v * v)
    return np.stack([fx * du + cx, fy * dv + cy], axis=-1)


def ball_scene(views: int = 9, points: int = 150, seed: int = 0) -> Scene:
    """The scene: images in two folders that share file names, three lenses, points seen where they face the camera."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(points, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    xyz = CENTRE + RADIUS * normals
    names, poses, keypoints, owners = [], [], [], []
    tracks: list[list[tuple[int, int]]] = [[] for _ in range(points)]
    for view in range(views):
        angle = 2 * np.pi * view / views
        eye = CENTRE + 2.2 * np.array([np.cos(angle), np.sin(angle), 0.3 + 0.2 * np.sin(3 * angle)])
        forward = (CENTRE - eye) / np.linalg.norm(CENTRE - eye)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        pose = np.concatenate([rotation, (-rotation @ eye)[:, None]], axis=1)
        facing = ((eye - xyz) * normals).sum(1) > 0.3 * np.linalg.norm(eye - xyz, axis=1)
        seen = np.flatnonzero(facing & (rng.random(points) < 0.8))
        own = np.concatenate([seen, np.full(7, -1)])
        rng.shuffle(own)
        at = rng.uniform(0, 40, size=(len(own), 2))
        at[own >= 0] = project(LENSES[view % 3][3], xyz[own[own >= 0]] @ rotation.T + pose[:, 3])
        for place in np.flatnonzero(own >= 0):
            tracks[own[place]].append((view, int(place)))
        names.append(f"cam{view % 2}/shot {view // 2:03d}.png")
        poses.append(pose)
        keypoints.append(at)
        owners.append(own)
    cameras = [view % 3 for view in range(views)]
    return Scene(names, cameras, np.array(poses), xyz, keypoints, owners, tracks, rng.uniform(0.1, 1.0, points))


def image_id(image: int) -> int:
    """COLMAP's ids are neither contiguous nor from zero."""
    return 3 * image + 5


def point_id(point: int) -> int:
    return 7 * point + 1


def write_binary(scene: Scene, folder: Path) -> Path:
    """cameras.bin, images.bin, points3D.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    out = struct.pack("<Q", len(scene.lenses))
    for index, (_, number, params, _) in enumerate(scene.lenses):
        out += struct.pack("<iiQQ", index + 1, number, *SIZE) + struct.pack(f"<{len(params)}d", *params)
    (folder / "cameras.bin").write_bytes(out)
    out = struct.pack("<Q", len(scene.names))
    for index, name in enumerate(scene.names):
        out += struct.pack("<i", image_id(index)) + struct.pack("<4d", *scene.quaternion(index))
        out += struct.pack("<3d", *scene.cv_from_world[index, :, 3]) + struct.pack("<i", scene.camera_of[index] + 1)
        out += name.encode() + b"\0" + struct.pack("<Q", len(scene.keypoints[index]))
        for (x, y), owner in zip(scene.keypoints[index], scene.keypoint_points[index], strict=True):
            out += struct.pack("<ddq", x, y, point_id(owner) if owner >= 0 else -1)
    (folder / "images.bin").write_bytes(out)
    out = struct.pack("<Q", len(scene.points))
    for index, xyz in enumerate(scene.points):
        out += struct.pack("<Qddd3Bd", point_id(index), *xyz, 1, 2, 255, scene.errors[index])
        out += struct.pack("<Q", len(scene.tracks[index]))
        for image, keypoint in scene.tracks[index]:
            out += struct.pack("<ii", image_id(image), keypoint)
    (folder / "points3D.bin").write_bytes(out)
    return folder


def write_text(scene: Scene, folder: Path) -> Path:
    """cameras.txt, images.txt, points3D.txt, with COLMAP's comments on top."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Camera list with one line of data per camera:"]
    for index, (name, _, params, _) in enumerate(scene.lenses):
        lines.append(" ".join(map(str, [index + 1, name, *SIZE, *params])))
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list with two lines of data per image:"]
    for index, name in enumerate(scene.names):
        pose = [float(value) for value in (*scene.quaternion(index), *scene.cv_from_world[index, :, 3])]
        lines.append(" ".join(map(str, [image_id(index), *pose, scene.camera_of[index] + 1, name])))
        seen = zip(scene.keypoints[index], scene.keypoint_points[index], strict=True)
        lines.append(" ".join(f"{float(x)!r} {float(y)!r} {point_id(o) if o >= 0 else -1}" for (x, y), o in seen))
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    lines = ["# 3D point list with one line of data per point:"]
    for index, xyz in enumerate(scene.points):
        head = [point_id(index), *map(float, xyz), 1, 2, 255, float(scene.errors[index])]
        track = [number for image, keypoint in scene.tracks[index] for number in (image_id(image), keypoint)]
        lines.append(" ".join(map(str, [*head, *track])))
    (folder / "points3D.txt").write_text("\n".join(lines) + "\n")
    return folder
