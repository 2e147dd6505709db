"""Pose errors: blind to what no photograph tells, and right about the rest; and pixels worth comparing."""

import numpy as np
import torch

from neus_ns.data.se3 import rotation_matrix
from neus_ns.evaluation.poses import angles_degrees, pose_error, similarity_between
from neus_ns.pixels.interest import drawn_points, interesting_pixels


def random_poses(count: int, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    turns = rotation_matrix(torch.randn(count, 3, generator=generator, dtype=torch.float64))
    centres = torch.randn(count, 3, 1, generator=generator, dtype=torch.float64)
    return torch.cat([turns, centres], -1).numpy()


def test_a_similarity_of_all_cameras_is_no_error():
    poses = random_poses(9, 0)
    turn = random_poses(1, 1)[0, :, :3]
    moved = np.concatenate(
        [turn @ poses[:, :, :3], 2.5 * turn @ poses[:, :, 3:] + np.array([[3.0], [-1.0], [0.5]])], -1
    )
    error = pose_error(moved, poses)
    assert error.rotation_degrees.max() < 1e-5 and error.position.max() < 1e-9


def test_errors_are_in_degrees_and_in_units_of_the_truth():
    poses = random_poses(40, 2)
    wrong = poses.copy()
    turn = rotation_matrix(torch.tensor([0.0, 0.0, np.radians(7.0)], dtype=torch.float64)).numpy()
    wrong[3, :, :3] = turn @ poses[3, :, :3]
    error = pose_error(5.0 * wrong * np.array([0.2, 0.2, 0.2, 1.0]), poses)
    np.testing.assert_allclose(error.rotation_degrees, np.where(np.arange(40) == 3, 7.0, 0.0), atol=1e-5)
    shifted = poses.copy()
    shifted[5, :, 3] += np.array([0.0, 0.3, 0.0])
    assert 0.25 < pose_error(shifted, poses).position[5] < 0.3


def test_mirrored_centres_are_not_fitted_by_a_mirror():
    points = random_poses(12, 3)[:, :, 3]
    matrix = similarity_between(points, points * np.array([1.0, 1.0, -1.0]))
    assert np.linalg.det(matrix[:3, :3]) > 0


def test_small_angles_keep_their_digits():
    turn = rotation_matrix(torch.tensor([1e-7, 0.0, 0.0], dtype=torch.float64)).numpy()
    np.testing.assert_allclose(angles_degrees(turn[None], np.eye(3)[None]), np.degrees(1e-7), rtol=1e-6)


def photo_of_a_square() -> torch.Tensor:
    photo = torch.full((40, 60, 3), 30, dtype=torch.uint8)
    photo[10:25, 20:50] = 220
    return photo


def test_corners_are_rows_and_columns_and_regions_surround_them():
    photo = photo_of_a_square()
    points = interesting_pixels(photo, None, "points")
    truth = torch.tensor([[10, 20], [10, 49], [24, 20], [24, 49]])
    distance = torch.cdist(points.double(), truth.double())
    assert distance.min(0).values.max() <= 1.5 and distance.min(1).values.max() <= 1.5
    regions = {tuple(pixel) for pixel in interesting_pixels(photo, None, "regions").tolist()}
    expected = {(row + i, col + j) for row, col in points.tolist() for i in range(-2, 3) for j in range(-2, 3)}
    assert regions == expected


def test_only_allowed_pixels_are_chosen_and_points_are_pixel_centres():
    photo, allowed = photo_of_a_square(), torch.zeros(40, 60, dtype=torch.bool)
    allowed[:, :30] = True
    for choice in ("random", "points", "regions"):
        pixels = interesting_pixels(photo, allowed, choice)
        assert len(pixels) and bool(allowed[pixels[:, 0], pixels[:, 1]].all())
    pool = torch.tensor([[7, 3]])
    assert drawn_points(pool, 2, torch.Generator().manual_seed(0)).tolist() == [[3.5, 7.5], [3.5, 7.5]]


def test_an_even_photograph_has_no_corners():
    assert len(interesting_pixels(torch.full((20, 20, 3), 9, dtype=torch.uint8), None, "regions")) == 0
