"""What every pixel sampler promises: its distribution, its weights, its memory, and odd photographs."""

from dataclasses import fields

import numpy as np
import pytest
import torch
import tyro
import yaml
from scipy.stats import chisquare

from neus_ns.data.datamanager import SurfaceDataManagerConfig
from neus_ns.data.pixel_store import PixelStore, build_store, store_images
from neus_ns.errors import InputError
from neus_ns.pixels.base import PixelBatch, SurfacePixelSampler
from neus_ns.pixels.choice import SAMPLERS, options_of, sampler_config, sampler_text
from neus_ns.pixels.pool import Pool
from neus_ns.pixels.redistribute import RedistributingSampler

SIZES = [(17, 13), (40, 30), (24, 5)]
NEEDS_MASKS = {"silhouette"}
OTHERS = [name for name in SAMPLERS if name != "uniform"]


def photos(sizes: list[tuple[int, int]] = SIZES) -> list[torch.Tensor]:
    """Noise on the left, even patches on the right."""
    generator = torch.Generator().manual_seed(2)
    found = []
    for width, height in sizes:
        photo = torch.randint(256, (height, width, 3), generator=generator).to(torch.uint8)
        photo[:, width // 2 :] = 90
        photo[height // 2 :, width * 3 // 4 :] = 200
        found.append(photo)
    return found


def store_of(masks: bool, sizes: list[tuple[int, int]] = SIZES) -> PixelStore:
    found = None
    if masks:
        found = [torch.zeros((h, w), dtype=torch.uint8) for w, h in sizes]
        found[0][2:5, 6:9] = 255
        found[1][10:15, 22:30] = 255
    return store_images(photos(sizes), found, device="cpu")


def error_of(store: PixelStore, flat: torch.Tensor) -> torch.Tensor:
    """A fixed field of errors: large in the upper left of every photograph."""
    view, row, col = store.locate(flat).unbind(-1)
    return 0.01 + (1 - row / store.height[view]) * (1 - col / store.width[view])


def learn(sampler: SurfacePixelSampler, store: PixelStore, batch: PixelBatch) -> None:
    """One training step: errors are heard, then the backward pass runs."""
    error = error_of(store, batch.flat)
    if batch.positions is not None:
        view = batch.indices[:, 0]
        size = torch.stack((store.width[view], store.height[view]), -1)
        share = 1 - (batch.positions - 0.5) / size
        ((0.01 + share.prod(-1)) * batch.weight).mean().backward()
    sampler.observe(batch, error)


def trained(name: str, store: PixelStore, **options) -> SurfacePixelSampler:
    sampler = SAMPLERS[name](**options).setup(num_rays_per_batch=256)
    for step in range(30):
        sampler.set_progress(step / 40)
        learn(sampler, store, sampler.propose(store, 256))
    return sampler


def stated_chances(sampler: RedistributingSampler, store: PixelStore) -> tuple[torch.Tensor, torch.Tensor]:
    """The chance of every pixel that the sampler states, and that of the base distribution."""
    pool, everything = sampler.pool_of(store), torch.arange(store.num_pixels)
    inside = pool.numbers(everything)[1].double()
    share = sampler.config.outside_share if store.fg is not None else 0.0
    outside = torch.full((store.num_pixels,), share / store.num_pixels, dtype=torch.float64)
    ratio = torch.where(inside > 0, sampler.ratio(pool, everything).double(), 0.0)
    base = outside + (1 - share) * inside / pool.size
    return outside + (1 - share) * ratio / pool.size, base


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_draws_follow_the_stated_distribution_and_full_correction_is_unbiased(name: str, masks: bool) -> None:
    if name in NEEDS_MASKS and not masks:
        return
    torch.manual_seed(5)
    store = store_of(masks)
    sampler = trained(name, store, correction=1.0)
    assert isinstance(sampler, RedistributingSampler)
    counts = torch.zeros(store.num_pixels)
    field = torch.rand(store.num_pixels, dtype=torch.float64)
    means, batches = [], 150
    for batch_number in range(batches):
        batch = sampler.propose(store, 1024)
        if batch_number == 0:
            chances, base = stated_chances(sampler, store)
        assert torch.equal(store.flatten(batch.indices), batch.flat)
        counts += torch.bincount(batch.flat, minlength=store.num_pixels)
        means.append(float((field[batch.flat] * batch.weight).mean()))
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-5)
    assert chisquare(counts[chances > 0], (chances / chances.sum() * counts.sum())[chances > 0]).pvalue > 1e-3
    assert counts[chances == 0].sum() == 0
    torch.testing.assert_close((batch.weight * chances[batch.flat]).double(), base[batch.flat], rtol=1e-3, atol=0)
    spread = np.std(means) / np.sqrt(batches)
    assert abs(np.mean(means) - float((field * base).sum())) < 4 * spread + 1e-4


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_a_proposal_remembers_where_in_the_pool_its_pixels_are(name: str, masks: bool) -> None:
    if name == "silhouette" and not masks:
        return
    store = store_of(masks)
    batch = trained(name, store, outside_share=0.4).propose(store, 500)
    found, inside = Pool(store).numbers(batch.flat)
    assert batch.number is not None and bool(inside.any()) and bool((~inside).any()) == masks
    assert torch.equal(batch.number, torch.where(inside, found, -1))


@pytest.mark.parametrize("name", OTHERS)
def test_no_correction_gives_every_pixel_the_same_weight(name: str) -> None:
    store = store_of(masks=True)
    sampler = trained(name, store, correction=0.0)
    batch = sampler.propose(store, 64)
    assert torch.equal(batch.weight, torch.ones(64))
    # A mean over the base distribution can be had all the same.
    assert isinstance(sampler, RedistributingSampler)
    chances, base = stated_chances(sampler, store)
    even = sampler.even_weight(batch).double()
    torch.testing.assert_close(even * chances[batch.flat], base[batch.flat], rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", OTHERS)
def test_every_strategy_draws_evenly_in_its_closing_phase_and_goes_on_learning(name: str) -> None:
    torch.manual_seed(6)
    store = store_of(masks=True)
    sampler = trained(name, store, closing=0.25, correction=1.0, outside_share=0.0)
    assert isinstance(sampler, RedistributingSampler) and not sampler.closing_now
    sampler.set_progress(0.75)
    pool = sampler.pool_of(store)
    assert torch.equal(sampler.ratio(pool, pool.flat(torch.arange(pool.size))), torch.ones(pool.size))
    counts = torch.zeros(pool.size)
    for _ in range(40):
        batch = sampler.propose(store, 1024)
        number, inside = pool.numbers(batch.flat)
        assert bool(inside.all())
        torch.testing.assert_close(batch.weight, torch.ones(1024))
        counts += torch.bincount(number, minlength=pool.size)
        learn(sampler, store, batch)
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_resumed_sampler_draws_what_an_unpaused_one_draws(name: str) -> None:
    store = store_of(masks=True)
    torch.manual_seed(1)
    sampler = trained(name, store)
    state, random = sampler.state_dict(), torch.get_rng_state()
    resumed = SAMPLERS[name]().setup(num_rays_per_batch=256)
    resumed.set_progress(0.0)
    if name != "uniform":
        # nerfstudio builds the pipeline, which draws a batch, before it loads the checkpoint.
        learn(resumed, store, resumed.propose(store, 8))
    resumed.load_state_dict(state)
    for each in (sampler, resumed):
        torch.set_rng_state(random)
        drawn = []
        for step in range(30, 38):
            each.set_progress(step / 40)
            batch = each.propose(store, 200 + step)
            learn(each, store, batch)
            drawn.append(batch)
        if each is sampler:
            first = drawn
    assert all(torch.equal(a.flat, b.flat) for a, b in zip(first, drawn, strict=True))
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(first, drawn, strict=True))
    again = resumed.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in sampler.state_dict().items())


@pytest.mark.parametrize("name", OTHERS)
def test_memory_of_another_sampler_or_of_other_photographs_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="another pixel sampler"):
        SAMPLERS[name]().setup().load_state_dict({"nothing": torch.zeros(3)})
    state = trained(name, store_of(masks=True)).state_dict()
    if state:
        other = SAMPLERS[name]().setup()
        other.load_state_dict(state)
        with pytest.raises(InputError, match="resume with"):
            other.propose(store_images(photos([(9, 9)]), None, "cpu"), 8)


def odd_stores() -> dict[str, PixelStore]:
    even = [torch.full((6, 9, 3), 77, dtype=torch.uint8), torch.zeros((1, 12, 3), dtype=torch.uint8)]
    dots = [torch.full((1, 1, 3), value, dtype=torch.uint8) for value in (3, 200)]
    images = photos()
    full = [torch.full(image.shape[:2], 255, dtype=torch.uint8) for image in images]
    disc = build_store(SIZES, False, lambda view: (images[view], None), "cpu", crop_radius=9.0)
    return {
        "constant": store_images(
            even, [torch.full((6, 9), 255, dtype=torch.uint8), torch.zeros((1, 12)).byte()], "cpu"
        ),
        "one pixel": store_images(dots, [torch.full((1, 1), 255, dtype=torch.uint8)] * 2, "cpu"),
        "all object": store_images(images, full, "cpu"),
        "no object": store_images(images, [torch.zeros_like(mask) for mask in full], "cpu"),
        "image circle": disc,
    }


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_odd_photographs_and_errors_that_are_no_numbers(name: str) -> None:
    for kind, store in odd_stores().items():
        if name in NEEDS_MASKS and store.fg is None:
            continue
        sampler = SAMPLERS[name]().setup(num_rays_per_batch=64)
        for step, value in enumerate((0.0, torch.nan, torch.inf, 1.0, 0.5, torch.nan)):
            sampler.set_progress(step / 6)
            batch = sampler.propose(store, 64 if step else 1)
            assert len(batch.flat) == (64 if step else 1), kind
            assert bool(torch.isfinite(batch.weight).all()) and float(batch.weight.min()) > 0, kind
            assert bool(((batch.flat >= 0) & (batch.flat < store.num_pixels)).all()), kind
            if store.lit is not None:
                assert bool(torch.isin(batch.flat, store.lit.long()).all()), kind
            if batch.positions is not None:
                (batch.positions * value).sum().backward()
            sampler.observe(batch, torch.full((len(batch.flat),), value))
        assert all(bool(torch.isfinite(each).all()) for each in sampler.state_dict().values()), kind


def test_one_bad_ray_does_not_change_what_is_learnt_from_the_others() -> None:
    store = store_of(masks=False)
    for name in ("block-error", "error-map", "multinomial", "quadtree"):
        states = []
        for bad in (False, True):
            torch.manual_seed(3)
            sampler = SAMPLERS[name]().setup()
            batch = sampler.propose(store, 128)
            keep = batch.flat != batch.flat[0]
            error = error_of(store, batch.flat)
            if bad:
                sampler.observe(batch, torch.where(keep, error, torch.nan))
            else:
                rest = PixelBatch(batch.indices[keep], batch.flat[keep], batch.weight[keep])
                sampler.observe(rest, error[keep])
            states.append(sampler.state_dict())
        assert all(torch.allclose(states[0][key], states[1][key]) for key in states[0]), name


def test_silhouette_says_what_it_lacks() -> None:
    with pytest.raises(InputError, match="masks"):
        SAMPLERS["silhouette"]().setup().propose(store_of(masks=False), 8)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_name_on_the_command_line_gives_that_sampler_and_the_config_file_gives_it_back(name: str) -> None:
    found = tyro.cli(SurfaceDataManagerConfig, args=["--pixel-sampler", name]).pixel_sampler
    assert type(found) is SAMPLERS[name] and found == SAMPLERS[name]()
    assert type(found.setup()).__name__ == SAMPLERS[name].__name__.removesuffix("Config")
    assert yaml.load(yaml.dump(found), Loader=yaml.Loader) == found
    for option, default in options_of(SAMPLERS[name]).items():
        value = type(default)(default / 2 + 1)
        text = f"{name}:{option.replace('_', '-')}={value}"
        changed = tyro.cli(SurfaceDataManagerConfig, args=["--pixel-sampler", text]).pixel_sampler
        assert getattr(changed, option) == value
        assert sampler_config(sampler_text(changed)) == changed
        others = [each.name for each in fields(found) if each.name != option]
        assert all(getattr(changed, each) == getattr(found, each) for each in others)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("quad-tree", ["uniform", "latin-hypercube", "quadtree", "silhouette"]),
        ("quadtree:treshold=1", ["treshold", "threshold=0.05", "initial-depth=2"]),
        ("quadtree:threshold=high", ["threshold", "high", "number"]),
    ],
)
def test_what_is_not_known_is_answered_by_what_is(text: str, told: list[str], capsys) -> None:
    with pytest.raises(InputError) as raised:
        sampler_config(text)
    assert all(word in str(raised.value) for word in told)
    with pytest.raises(SystemExit):
        tyro.cli(SurfaceDataManagerConfig, args=["--pixel-sampler", text])
    # The message may be broken into lines inside a frame.
    printed = "".join(capsys.readouterr().err.replace("│", " ").split())
    assert all(word in printed for word in told)


@pytest.mark.parametrize("text", ["quadtree:context-share=2", "uniform:outside-share=-1", "quadtree:interval=0"])
def test_options_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        sampler_config(text).setup()
