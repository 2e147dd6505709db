"""`neus-bench ablation`: every variant is what its name says, and the command trains, tabulates, plots and resumes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from neus_ns.cli.bench import run as bench_run
from neus_ns.cli.bench.ablation import FULL, VARIANTS, ablation_table, set_options, variant_named
from neus_ns.cli.bench.command import Ablation, compare
from neus_ns.cli.bench.record import Measurement, Record, Run
from neus_ns.errors import InputError
from neus_ns.methods import neuralangelo_mask_sfm_config, neus_hash_config
from neus_ns.models.gloss import CommonErrors
from neus_ns.models.neuralangelo import NeuralangeloModel, NeuralangeloModelConfig
from neus_ns.models.pipeline import SurfacePipeline, SurfacePipelineConfig
from neus_ns.training.trainer import SurfaceTrainerConfig
from tests.scenes import tiny_capture


def shrunk(config: SurfaceTrainerConfig) -> SurfaceTrainerConfig:
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.machine.device_type = "cpu"
    model = config.pipeline.model
    model.backend = "torch"
    model.sdf_field.levels, model.sdf_field.log2_rows, model.sdf_field.finest = 6, 10, 32
    # Photographs of 24 pixels hold no patch of the usual size.
    model.patches.side = 3
    model.sampling.grid_resolution, model.sampling.steps = 16, 24
    config.pipeline.samples_per_step = 400
    return config


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ablation") / "ball"
    tiny_capture(folder, size=24, views=5)
    return folder


def pipeline_of(variant: str, capture: Path) -> SurfacePipeline:
    chosen = variant_named(variant)
    config = shrunk(neuralangelo_mask_sfm_config()).pipeline
    assert isinstance(config, SurfacePipelineConfig)
    config.datamanager.data = capture
    set_options(config, chosen.options)
    torch.manual_seed(0)
    pipeline = config.setup(device="cpu")
    pipeline.train()
    # No step has told whether it shines. Late enough for patches, early enough for SfM points.
    pipeline.surface_model.gloss._later = CommonErrors(0.0, 1.0)
    pipeline.set_progress(0.45)
    return pipeline


def test_each_variant_is_without_what_its_name_says_and_nothing_else(capture: Path) -> None:
    whole = set(pipeline_of(FULL, capture).get_train_loss_dict(1)[1])
    assert {"mask", "mask_mse", "sfm", "smooth", "free_space", "patches", "inward", "flat"} <= whole
    missing = {
        # Without masks nobody knows which points are of the object.
        "no-masks": {"mask", "mask_mse", "sfm"},
        "no-masks-pull": {"mask", "mask_mse"},
        "no-witnesses": {"mask", "mask_mse", "sfm", "patches", "free_space"},
        "no-sfm": {"sfm"},
        "no-points": {"sfm"},
        "taps-first": set(),
        "taps": set(),
        "no-curvature": set(),
        "no-patches": {"patches"},
        "no-masks-no-carving": {"mask", "mask_mse", "sfm"},
        "no-masks-no-flat": {"mask", "mask_mse", "sfm", "flat"},
        "carving": set(),
        "no-inward": {"inward"},
        "no-flat": {"flat"},
        "no-coarse-to-fine": set(),
        "slow-levels": set(),
        "whole-batches": set(),
        "plain-colours": set(),
        "views-later": set(),
    }
    # Without masks what photographs refute is carved, if they are compared.
    more = {name: {"carve"} for name in ("no-masks", "no-masks-pull", "no-masks-no-flat", "carving")}
    more["taps"] = {"curvature"}
    for name, terms in missing.items():
        found = set(pipeline_of(name, capture).get_train_loss_dict(1)[1])
        assert whole - found == terms and found - whole == more.get(name, set()), name
    for name, terms in (("no-mask-loss", {"mask", "mask_mse"}), ("no-smooth", {"smooth", "flat"})):
        factors = pipeline_of(name, capture).surface_model.term_weights()
        # Without taps nobody knows the curvature, and with masks nothing is carved.
        none = terms | {"curvature", "carve"}
        assert {term for term, factor in factors.items() if factor == 0.0} == none, name


def test_variants_change_gradients_levels_and_photographs(capture: Path) -> None:
    def model_of(name: str) -> NeuralangeloModel:
        model = pipeline_of(name, capture).surface_model
        assert isinstance(model, NeuralangeloModel)
        return model

    assert model_of(FULL).sdf_network.grid.active == 6 and model_of("slow-levels").sdf_network.grid.active == 5
    for name, in_time in ((FULL, [True, True]), ("taps-first", [False, True]), ("taps", [False, False])):
        model, found = model_of(name), []
        for progress in (0.2, 0.9):
            model.set_progress(progress)
            found.append(model.sdf_network.analytic)
        assert found == in_time
    # The fixture is at 45 % of a training, and matt.
    strength = {name: model_of(name).field.colour_network.view_strength for name in (FULL, "views-later")}
    assert strength == {FULL: pytest.approx(0.75), "views-later": 0.0}
    count = {name: model_of(name).config.weights.colour_plain for name in (FULL, "plain-colours")}
    assert count == {FULL: 0.2, "plain-colours": 1.0}
    bare = pipeline_of("no-masks", capture)
    assert not bare.datamanager.has_masks and bare.datamanager.train_store.fg is None
    assert bare.surface_model.grid.allowed.sum() > pipeline_of(FULL, capture).surface_model.grid.allowed.sum()
    for name, opened in (("no-coarse-to-fine", [16, 16, 16]), (FULL, [4, 16, 16]), ("slow-levels", [4, 10, 16])):
        config = NeuralangeloModelConfig()
        set_options(config.schedule, {key.split(".")[-1]: value for key, value in VARIANTS[name].options.items()})
        assert [config.schedule.active_levels(share, 16) for share in (0.0, 0.25, 1.0)] == opened


def test_a_name_that_is_none_and_an_option_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-nonsense.*no-curvature"):
        Ablation((tmp_path,), only=("full,no-nonsense",)).strategies()
    with pytest.raises(AttributeError):
        set_options(neus_hash_config().pipeline, {"model.weights.nonsense": 1.0})
    assert Ablation((tmp_path,), only=("neus-hash,full", "full")).strategies() == ["neus-hash", "full"]
    assert Ablation((tmp_path,)).strategies() == list(VARIANTS)
    assert Ablation((tmp_path,)).minutes_of_a_run == 5.0 and Ablation((tmp_path,), steps=9).minutes_of_a_run is None


def measured(variant: str, chamfer: float | None, seed: int = 0) -> Measurement:
    return Measurement("ball", variant, seed, 1.0, 200, 1000, 20.0, 30.0, 25.0, chamfer, chamfer, chamfer)


def test_the_table_sets_every_variant_against_the_whole() -> None:
    rows = [measured(FULL, 0.2), measured(FULL, 0.4, seed=1), measured("no-sfm", 0.6), measured("analytic", None)]
    table = ablation_table(rows, "ball")
    console = Console(width=80, record=True, quiet=False, file=open("/dev/null", "w"))
    console.print(table)
    lines = {line.split()[0]: line.split()[1:] for line in console.export_text().splitlines() if line.strip()}
    assert lines[FULL] == "0.300 0.200 to 0.400 1.00 0.300 0.300 25.00 200 100 150".split()
    assert lines["no-sfm"] == "0.600 2.00 0.600 0.600 25.00 200 100 150".split()
    assert lines["analytic"] == "25.00 200 100 150".split()
    assert "no-sfm: no SfM points" in str(table.caption)
    # The longest name and seeds of every variant still fit an ordinary terminal.
    several = [measured(name, 0.1234 + 0.001 * seed, seed) for name in VARIANTS for seed in range(2)]
    console.print(ablation_table(several, "ball"))
    assert "…" not in console.export_text()
    assert ablation_table(rows[2:], "ball").row_count == 2


def test_the_command_as_a_whole_and_again(capture: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(bench_run.METHODS, "neus-hash", lambda: shrunk(neus_hash_config()))
    monkeypatch.setitem(bench_run.METHODS, "neuralangelo-mask-sfm", lambda: shrunk(neuralangelo_mask_sfm_config()))
    # Rendering ten thousand pixels tells nothing of three steps.
    monkeypatch.setattr(bench_run, "held_out_psnr", lambda *_: 20.0)
    options = Ablation((capture,), only=("full,neus-hash",), steps=3, moments=(1.0,), resolution=24)
    options = replace(options, output_dir=tmp_path)
    options.main()
    shown = capsys.readouterr().out
    assert "neus-hash" in shown and "ablation.csv" in shown
    assert (tmp_path / "ball_ablation.png").stat().st_size > 10_000
    rows = Record(tmp_path / "ablation.csv", options.settings(), {}).rows
    assert [(row.strategy, row.step) for row in rows] == [(FULL, 3), ("neus-hash", 3)]

    made: list[Run] = []

    def instead(run: Run, *_) -> list[Measurement]:
        made.append(run)
        return [measured(run.strategy, 0.5, run.seed)]

    monkeypatch.setattr(bench_run, "train_measured", instead)
    compare(replace(options, only=("full,no-sfm",)))
    assert made == [Run("ball", "no-sfm", 0)]
