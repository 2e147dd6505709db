"""Laws of NeuS rendering: alpha from distances, compositing to pixels."""

import torch

from neus_ns.kernels.torch_packed import weights_from_alpha
from neus_ns.rendering.composite import composite
from neus_ns.rendering.neus import alpha_from_sdf, annealed_slope


def test_alpha_equals_the_quotient_of_sigmoids():
    generator = torch.Generator().manual_seed(0)
    sdf = torch.randn(500, generator=generator, dtype=torch.float64)
    slope = -torch.rand(500, generator=generator, dtype=torch.float64)
    length = 0.1 * torch.rand(500, generator=generator, dtype=torch.float64)
    start, end = sdf - slope * length / 2, sdf + slope * length / 2
    expected = (torch.sigmoid(9 * start) - torch.sigmoid(9 * end)) / torch.sigmoid(9 * start)
    torch.testing.assert_close(alpha_from_sdf(sdf, slope, length, 9.0), expected, rtol=1e-9, atol=1e-12)


def test_alpha_is_finite_and_in_range_far_inside_and_outside_in_float32():
    sdf = torch.tensor([-5.0, -0.1, 0.0, 0.1, 5.0], requires_grad=True)
    inv_s = torch.tensor(5000.0, requires_grad=True)
    alpha = alpha_from_sdf(sdf, torch.full((5,), -1.0), torch.full((5,), 0.01), inv_s)
    alpha.sum().backward()
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert sdf.grad is not None and inv_s.grad is not None
    assert torch.isfinite(sdf.grad).all() and torch.isfinite(inv_s.grad)
    assert alpha[0] > 0.99 and alpha[-1] == 0  # Full inside, exactly empty outside: no fog from rounding.


def test_slope_annealing_ends_with_only_what_faces_the_ray():
    slope = torch.tensor([-1.0, -0.3, 0.0, 0.3, 1.0])
    torch.testing.assert_close(annealed_slope(slope, 1.0), slope.clamp_max(0))
    assert (annealed_slope(slope, 0.0) <= 0).all()
    assert annealed_slope(slope, 0.0)[3] < 0  # At first even a surface that faces away is a little opaque.


def test_the_weight_peaks_at_the_surface_as_it_sharpens():
    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    middle, length = (t[1:] + t[:-1]) / 2, t[1:] - t[:-1]
    plane = 0.37 - 0.6 * middle  # A plane met at an angle: the crossing is where the distance is zero.
    ray_index = torch.zeros(400, dtype=torch.long)
    for inv_s in (50.0, 400.0, 3000.0):
        alpha = alpha_from_sdf(plane, torch.full_like(plane, -0.6), length, inv_s)
        weights, _ = weights_from_alpha(alpha, ray_index, 1)
        mean_depth = float((weights * middle).sum() / weights.sum())
        assert weights.sum() <= 1 + 1e-9
        assert abs(mean_depth - 0.37 / 0.6) < 3 / inv_s + 2e-3
    assert abs(float(middle[weights.argmax()]) - 0.37 / 0.6) < 0.004


def test_coarse_sections_stop_as_much_light_as_fine_ones():
    """Along a plane the product of (1 - alpha) telescopes, so opacity does not depend on how the ray is cut."""

    def opacity(cuts: int) -> float:
        t = torch.linspace(0, 1, cuts + 1, dtype=torch.float64)
        middle, length = (t[1:] + t[:-1]) / 2, t[1:] - t[:-1]
        alpha = alpha_from_sdf(0.4 - middle, torch.full_like(middle, -1.0), length, 30.0)
        return float(1 - torch.prod(1 - alpha))

    assert abs(opacity(7) - opacity(700)) < 1e-9


def test_composite_means_and_empty_rays():
    weights = torch.tensor([0.25, 0.25, 0.5])
    colour = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    gradient = torch.tensor([[0.0, 0, 2], [0, 0, 2], [0, 0, 2]])
    out = composite(weights, colour, torch.tensor([1.0, 3.0, 5.0]), gradient, torch.tensor([0, 0, 2]), 3, "torch")
    torch.testing.assert_close(out.opacity, torch.tensor([0.5, 0.0, 0.5]))
    torch.testing.assert_close(out.depth, torch.tensor([2.0, 0.0, 5.0]))
    torch.testing.assert_close(out.colour[0], torch.tensor([0.25, 0.25, 0.0]))
    torch.testing.assert_close(out.normal, torch.tensor([[0.0, 0, 1], [0, 0, 0], [0, 0, 1]]))
