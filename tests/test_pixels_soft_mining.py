"""Soft mining: particles that reach a known distribution, a correction that is exact, the error's gradients."""

import math
from pathlib import Path

import pytest
import torch

from neus_ns.data.datamanager import SurfaceDataManagerConfig
from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.pixels.base import PixelBatch
from neus_ns.pixels.soft_mining import SoftMiningPixelSampler, SoftMiningPixelSamplerConfig, blurred
from tests.scenes import tiny_capture


def plain_store(sizes: list[tuple[int, int]]) -> PixelStore:
    return store_images([torch.zeros(h, w, 3).byte() for w, h in sizes], None, "cpu")


def two_hills(place: torch.Tensor) -> torch.Tensor:
    """An error with two hills of different height and width; places are in 0..1."""
    first = torch.exp(-0.5 * ((place - torch.tensor([0.35, 0.4])) ** 2).sum(-1) / 0.1**2)
    second = torch.exp(-0.5 * ((place - torch.tensor([0.65, 0.6])) ** 2).sum(-1) / 0.12**2)
    return 0.003 + 2 * first + second


def step(sampler: SoftMiningPixelSampler, store: PixelStore, rays: int) -> PixelBatch:
    """One training step with a fixed error field: errors are heard, then the backward pass of the mean loss runs."""
    batch = sampler.propose(store, rays)
    assert batch.positions is not None
    view = batch.indices[:, 0]
    error = two_hills(batch.positions / torch.stack((store.width[view], store.height[view]), -1))
    sampler.observe(batch, error.detach())
    (error * batch.weight).mean().backward()
    return batch


def soft_mining(**options) -> SoftMiningPixelSampler:
    sampler = SoftMiningPixelSamplerConfig(**options).setup()
    assert isinstance(sampler, SoftMiningPixelSampler)
    sampler.set_progress(1.0)
    return sampler


def in_eighths(store: PixelStore, indices: torch.Tensor) -> torch.Tensor:
    """Counts in 8 x 8 parts of the photographs, all photographs together."""
    row = 8 * indices[:, 1] // store.height[indices[:, 0]]
    col = 8 * indices[:, 2] // store.width[indices[:, 0]]
    return torch.bincount(8 * row + col, minlength=64)


@pytest.mark.parametrize("correction", [0.0, 0.6])
def test_particles_settle_by_the_error(correction: float) -> None:
    """Without new starts and uniform rays the walk is Langevin's, and its distribution that of the error."""
    torch.manual_seed(0)
    store = plain_store([(128, 96)])
    sampler = soft_mining(correction=correction, uniform_share=0.0, restart_share=0.0, noise=0.04)
    counts = torch.zeros(64)
    for number in range(300):
        batch = step(sampler, store, 1000)
        if number >= 100:
            counts += in_eighths(store, batch.indices)
    row, col = torch.meshgrid((torch.arange(128) + 0.5) / 128, (torch.arange(128) + 0.5) / 128, indexing="ij")
    target = two_hills(torch.stack((col, row), -1)).view(8, 16, 8, 16).sum((1, 3)).flatten()
    found, target = counts / counts.sum(), target / target.sum()
    # Uniform draws are 0.57 away. What is left is the length of a step, by which the hills are blurred.
    assert 0.5 * (target - 1 / 64).abs().sum() > 0.5
    assert 0.5 * (found - target).abs().sum() < 0.04
    assert (found - target).abs().max() < 0.1 * target.max()


def test_full_correction_estimates_the_uniform_loss_at_every_step_of_the_walk() -> None:
    """The weighted mean of any function, the error among them, has the uniform mean as its expectation."""
    torch.manual_seed(0)
    store = plain_store([(50, 40), (30, 64)])
    indices = store.locate(torch.arange(store.num_pixels))
    size = torch.stack((store.width, store.height), -1)[indices[:, 0]]
    error = two_hills((indices[:, 1:].flip(-1) + 0.5) / size)
    uniform = float(error.mean())
    sampler = soft_mining(correction=1.0)
    for number in (0, 1, 2, 40):
        for _ in range(number):
            step(sampler, store, 512)
        batches = [sampler.propose(store, 512) for _ in range(200)]
        corrected = torch.tensor([float((error[each.flat] * each.weight).mean()) for each in batches])
        plain = torch.tensor([float(error[each.flat].mean()) for each in batches])
        assert abs(float(corrected.mean()) - uniform) < 4 * float(corrected.std()) / math.sqrt(200) + 1e-4
        if number == 40:
            # The law would be empty if rays were where uniform ones are.
            assert float(plain.mean()) > 1.2 * uniform


def test_the_correction_grows_from_nothing_over_its_share_of_training() -> None:
    sampler = SoftMiningPixelSamplerConfig(correction=0.8, warm_up=0.1).setup()
    assert isinstance(sampler, SoftMiningPixelSampler)
    found = []
    for progress in (0.0, 0.05, 0.1, 0.7):
        sampler.set_progress(progress)
        found.append(sampler.correction_now)
    assert found == pytest.approx([0.0, 0.4, 0.8, 0.8])


def test_drift_is_half_the_squared_noise_times_the_gradient_of_the_errors_logarithm() -> None:
    torch.manual_seed(0)
    store = plain_store([(128, 64)])
    sampler = soft_mining(correction=1.0, restart_share=0.0)
    batch = step(sampler, store, 300)
    assert batch.positions is not None
    start = (batch.positions.detach() / torch.tensor([128.0, 64.0])).requires_grad_()
    (slope,) = torch.autograd.grad(two_hills(start).log().sum(), start)
    moved = sampler.state_dict()["place"] - start.detach()
    torch.testing.assert_close(moved, 0.5 * 0.02**2 * slope, rtol=1e-3, atol=1e-6)


def test_the_least_errors_start_anew_and_so_do_particles_that_leave() -> None:
    torch.manual_seed(0)
    store = plain_store([(64, 64)])
    sampler = soft_mining(restart_share=0.25, drift=1e9)
    batch = sampler.propose(store, 400)
    assert batch.positions is not None
    error = torch.rand(400) + 0.1
    sampler.observe(batch, error)
    # A drift of any length is cut to two standard deviations of the noise: here to the right, by 2.56 pixels.
    (batch.positions[:, 0] * error).sum().backward()
    state = sampler.state_dict()
    low, leaves = error < error.kthvalue(100).values, batch.indices[:, 2] + 0.5 + 2.56 >= 64
    assert torch.equal(state["alive"], ~low & ~leaves)
    torch.testing.assert_close(state["place"][:, 0], (batch.indices[:, 2] + 0.5 + 2.56) / 64)


def test_a_step_without_a_backward_pass_moves_nothing() -> None:
    store = plain_store([(64, 64)])
    sampler = soft_mining()
    step(sampler, store, 64)
    before = sampler.state_dict()
    sampler.observe(sampler.propose(store, 64), torch.ones(64))
    assert all(torch.equal(value, before[name]) for name, value in sampler.state_dict().items())


def test_new_starts_prefer_edges_in_their_share() -> None:
    photo = torch.full((64, 64, 3), 30, dtype=torch.uint8)
    photo[:, 32:] = 230
    store = store_images([photo], None, "cpu")
    torch.manual_seed(0)
    sampler = soft_mining(edge_share=0.5, uniform_share=0.0)
    col = sampler.propose(store, 20_000).indices[:, 2]
    near = float(((col >= 31) & (col <= 32)).float().mean())
    assert near == pytest.approx(0.5 + 0.5 * 2 / 64, abs=0.02)


def test_blur_is_a_gaussian_step_less_the_spread_of_two_cells() -> None:
    counts = torch.zeros(1, 64, 64)
    counts[0, 30, 20] = 5.0
    after = blurred(counts, 3.0 / 64)
    assert float(after.sum()) == pytest.approx(5.0, rel=1e-5)
    axis = torch.arange(64.0)
    rows, cols = after[0].sum(1) / 5, after[0].sum(0) / 5
    for share, middle in ((rows, 30.0), (cols, 20.0)):
        assert float((share * axis).sum()) == pytest.approx(middle, abs=1e-4)
        assert float((share * (axis - middle) ** 2).sum()) == pytest.approx(9.0 - 1 / 6, rel=0.01)
    torch.testing.assert_close(blurred(counts, 0.001), counts)


def test_positions_carry_the_gradient_of_rays_and_photographs(tmp_path: Path) -> None:
    tiny_capture(tmp_path, size=24, views=6)
    config = SurfaceDataManagerConfig(data=tmp_path, pixel_sampler=SoftMiningPixelSamplerConfig())
    manager = config.setup(device="cpu")
    rays, batch = manager.next_train(0)
    positions = manager.last_pixels.positions
    centres = manager.train_ray_generator(batch["indices"])
    torch.testing.assert_close(rays.directions, centres.directions)
    torch.testing.assert_close(batch["image"], manager.train_store.gather(manager.last_pixels.flat)[0])
    (by_ray,) = torch.autograd.grad(rays.directions[:, 0].sum(), positions, retain_graph=True)
    beside = manager.train_ray_generator.rays_at(batch["indices"][:, 0], positions.detach() + torch.tensor([0.5, 0.0]))
    before = manager.train_ray_generator.rays_at(batch["indices"][:, 0], positions.detach() - torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(by_ray[:, 0], (beside.directions - before.directions)[:, 0], rtol=2e-2, atol=1e-4)
    (by_photo,) = torch.autograd.grad(batch["image"][:, 1].sum(), positions)
    store = manager.train_store
    view, row, col = batch["indices"].unbind(-1)
    middle = (col > 0) & (col < 23) & (row > 0) & (row < 23)
    for axis, (rows, cols) in enumerate(((0, 1), (1, 0))):
        around = [store.flatten(torch.stack((view, row + k * rows, col + k * cols), -1)[middle]) for k in (1, -1)]
        slope = (store.gather(around[0])[0] - store.gather(around[1])[0])[:, 1] / 2
        torch.testing.assert_close(by_photo[middle, axis], slope)
