"""`neus-bench samplers`: what it makes of measurements, what it keeps, and that measuring does not show in a run."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from neus_ns.cli.bench import run as bench_run
from neus_ns.cli.bench.command import Samplers, compare
from neus_ns.cli.bench.compare import Spread, at_end, ratios, reached, runs_of, table_of
from neus_ns.cli.bench.plot import plot
from neus_ns.cli.bench.record import Measurement, Record, Run
from neus_ns.errors import InputError
from neus_ns.methods import neus_hash_config
from neus_ns.models.pipeline import SurfacePipelineConfig
from neus_ns.pixels.choice import SAMPLERS
from neus_ns.surface.export import MeshOptions
from neus_ns.surface.source import SurfaceSource
from neus_ns.training.trainer import SurfaceTrainerConfig
from tests.scenes import tiny_capture

SETTINGS: dict[str, object] = {"steps": 4, "minutes": None, "moments": (0.5, 1.0)}


def measurement(strategy: str, rays: int, psnr: float | None, chamfer: float | None, seed: int = 0) -> Measurement:
    spent = float(rays)
    return Measurement("scene", strategy, seed, 0.5, rays, rays, spent, 2 * spent, psnr, chamfer, chamfer, chamfer)


def line(strategy: str, *points: tuple[int, float, float], seed: int = 0) -> list[Measurement]:
    return [measurement(strategy, rays, psnr, chamfer, seed) for rays, psnr, chamfer in points]


def test_the_effort_to_get_somewhere_is_read_off_straight_lines() -> None:
    run = line("a", (100, 20.0, 0.8), (200, 24.0, 0.4), (300, 23.0, 0.5), (400, 26.0, 0.2))
    assert reached(run, "psnr", 21.0, "rays") == pytest.approx(125.0)
    assert reached(run, "psnr", 25.0, "cpu_seconds") == pytest.approx(2 * (300 + 100 * 2 / 3))
    assert reached(run, "chamfer", 0.6, "seconds") == pytest.approx(150.0)
    # At the first moment nothing is known of before; and some goals are never met.
    assert reached(run, "psnr", 19.0, "rays") == 100.0
    assert reached(run, "chamfer", 0.1, "rays") is None
    # A moment without a surface is no point of the line.
    gap = [run[0], replace(run[1], chamfer=None), run[3]]
    assert reached(gap, "chamfer", 0.3, "rays") == 400.0


def test_uniform_needs_as_much_as_it_needs() -> None:
    runs = [line("uniform", (100, 20.0, 0.8), (200, 24.0, 0.4))]
    for quality in ("psnr", "chamfer"):
        for effort in ("rays", "seconds", "cpu_seconds"):
            assert ratios(runs, runs, quality, effort) == Spread((1.0,), 1)


def test_ratios_are_of_every_seed_against_the_baselines_mean() -> None:
    baseline = [line("uniform", (100, 20.0, 0.8), (200, end, 0.4), seed=seed) for seed, end in enumerate((23.0, 25.0))]
    others = [
        line("b", (100, 24.0, 0.8), (200, 30.0, 0.5)),
        line("b", (100, 20.0, 0.8), (200, 28.0, 0.4), seed=1),
        line("b", (100, 20.0, 0.8), (200, 21.0, 0.4), seed=2),
    ]
    # The goal is 24 dB after 200 rays.
    assert ratios(others, baseline, "psnr", "rays") == Spread((0.5, 0.75), 3)
    assert ratios(others, baseline, "psnr", "rays").text("{:.2f}".format) == "0.62 (0.50 to 0.75), 2 of 3"
    assert at_end(others, "chamfer").text("{:.1f}".format) == "0.4 (0.4 to 0.5)"
    assert ratios(others[2:], baseline, "psnr", "rays").text(str) == "never"
    bare = [[replace(row, chamfer=None) for row in run] for run in others]
    assert ratios(bare, baseline, "chamfer", "rays").text(str) == ""


@pytest.mark.parametrize("with_chamfer", [True, False])
def test_tables_and_plots_show_what_was_measured(with_chamfer: bool, tmp_path: Path) -> None:
    rows = [*line("uniform", (1, 20.0, 0.8), (2, 21.0, 0.4)), *line("edges", (1, 20.0, 0.8), (2, 22.0, 0.3))]
    rows = rows if with_chamfer else [replace(row, chamfer=None) for row in rows]
    table = table_of(rows, "scene")
    assert table.row_count == 2
    headings = [str(column.header) for column in table.columns]
    assert ("Chamfer %" in headings) == with_chamfer == ("rays to Chamfer" in headings)
    assert "seconds to PSNR" in headings
    plot(rows, "scene", tmp_path / "plots" / "scene.png")
    assert (tmp_path / "plots" / "scene.png").stat().st_size > 10_000
    assert list(runs_of(rows, "elsewhere")) == []
    without = table_of([row for row in rows if row.strategy != "uniform"], "scene")
    assert not any("to PSNR" in str(column.header) for column in without.columns)


def test_a_record_is_taken_up_as_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "samplers.csv"
    record = Record(path, SETTINGS, {})
    assert record.finished == set()
    rows = [
        measurement("quadtree:threshold=0.02,interval=0.05", 7, 20.5, None, seed=2),
        measurement("uniform", 10**9, None, 0.125),
    ]
    record.add(rows[:1])
    record.add(rows[1:])
    again = Record(path, SETTINGS, {})
    assert again.rows == rows
    assert again.finished == {Run("scene", rows[0].strategy, 2), Run("scene", "uniform", 0)}
    with pytest.raises(InputError, match="measured with steps = 4"):
        Record(path, SETTINGS | {"steps": 5}, {})
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match="samplers.json"):
        Record(path, SETTINGS, {})


def test_captures_of_one_name_are_told_apart(tmp_path: Path) -> None:
    path, first, second = tmp_path / "samplers.csv", tmp_path / "a" / "ball", tmp_path / "b" / "ball"
    for folder in (first, second):
        folder.mkdir(parents=True)
    Record(path, SETTINGS, {"ball": str(first)}).add([])
    Record(path, SETTINGS, {"cube": str(tmp_path / "cube")})
    with pytest.raises(InputError, match="has the same name"):
        Record(path, SETTINGS, {"ball": str(second)})
    # A folder that was moved is the same.
    first.rmdir()
    Record(path, SETTINGS, {"ball": str(second)})


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "scene,strategy,seed\nx,y,zero\n", ""])
def test_a_table_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "samplers.csv"
    Record(path, SETTINGS, {}).add([])
    path.write_text(text)
    if not text:
        assert Record(path, SETTINGS, {}).rows == []
        return
    with pytest.raises(InputError, match="no table of this command"):
        Record(path, SETTINGS, {})


def test_bad_options_are_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good = Samplers((tmp_path,), output_dir=tmp_path / "out")
    good.check()
    for change, words in [
        ({"scenes": ()}, "at least one capture"),
        ({"scenes": (tmp_path / "nowhere",)}, "no such file"),
        ({"scenes": (tmp_path, tmp_path / ".")}, "same name"),
        ({"minutes": 1.0, "steps": 2}, "not both"),
        ({"minutes": 0.0}, "--minutes is 0.0"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"moments": (0.5,)}, "--moments"),
        ({"moments": (0.7, 0.5, 1.0)}, "--moments"),
        ({"moments": ()}, "--moments"),
    ]:
        with pytest.raises(InputError, match=words):
            replace(good, **change).check()
    with pytest.raises(SystemExit) as end:
        replace(good, only=("uniform,unknown",)).main()
    assert end.value.code == 1
    sentence = capsys.readouterr().err
    assert "'unknown'" in sentence and "soft-mining" in sentence and "Traceback" not in sentence


def test_strategies_are_named_by_commas_or_blanks_and_once(tmp_path: Path) -> None:
    scenes = (tmp_path,)
    assert Samplers(scenes, only=("edges,uniform", "edges")).strategies() == ["edges", "uniform"]
    own = "quadtree:threshold=0.02,interval=0.1"
    assert Samplers(scenes, only=(own, "uniform")).strategies() == ["quadtree:threshold=0.02", "uniform"]
    assert Samplers(scenes).strategies() == list(SAMPLERS)


def tiny_config() -> SurfaceTrainerConfig:
    config = neus_hash_config()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.machine.device_type = "cpu"
    model = config.pipeline.model
    model.backend = "torch"
    model.sdf_field.levels, model.sdf_field.log2_rows, model.sdf_field.finest = 4, 10, 32
    model.sampling.grid_resolution, model.sampling.steps = 16, 24
    config.pipeline.samples_per_step = 400
    return config


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    """A ball whose surface is known."""
    folder = tmp_path_factory.mktemp("bench") / "ball"
    ball = tiny_capture(folder, size=24, views=5)
    mesh = trimesh.creation.icosphere(3, ball.radius)
    mesh.apply_translation(ball.centre)
    mesh.export(folder / "gt_mesh.ply")
    sampled = trimesh.sample.sample_surface(mesh, 2000, seed=0)
    np.savez(folder / "gt_points.npz", points=sampled[0], normals=mesh.face_normals[sampled[1]])
    return folder


@pytest.fixture
def tiny_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_run.METHODS, "neus-hash", tiny_config)


MEASURING = bench_run.Measuring(moments=(1.0,), resolution=24, samples=500, held_out_pixels=200, on_table=False)


def measured(capture: Path, moments: tuple[float, ...], strategy: str = "uniform") -> list[Measurement]:
    return bench_run.train_measured(
        Run("ball", strategy, 3),
        capture,
        "neus-hash",
        bench_run.Length(None, 8),
        replace(MEASURING, moments=moments),
        lambda progress: None,
    )


def test_measuring_does_not_show_in_a_run(capture: Path, tiny_method: None) -> None:
    often = measured(capture, (0.25, 0.5, 0.8, 1.0), "soft-mining")
    once = measured(capture, (1.0,), "soft-mining")
    assert [row.step for row in often] == [2, 4, 7, 8]
    for name in ("rays", "psnr", "chamfer", "accuracy", "completeness"):
        assert getattr(often[-1], name) == getattr(once[0], name), name
    assert all(a.seconds < b.seconds and a.cpu_seconds < b.cpu_seconds for a, b in zip(often, often[1:], strict=False))
    assert all(row.psnr is not None and 0 < row.psnr < 60 for row in often)


def test_a_perfect_mesh_scores_nothing(capture: Path, tiny_method: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def perfect(source: SurfaceSource, options: MeshOptions, path: Path) -> None:
        assert options.resolution == MEASURING.resolution and bool(source.may_hold_surface.any())
        shutil.copy(capture / "gt_mesh.ply", path)

    monkeypatch.setattr(bench_run, "export_surface", perfect)
    (row,) = measured(capture, (1.0,))
    assert row.chamfer is not None and row.chamfer < 0.05
    assert row.accuracy is not None and row.completeness is not None
    assert row.chamfer == pytest.approx((row.accuracy + row.completeness) / 2)


def test_measuring_takes_no_time_of_the_run(capture: Path, tiny_method: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_) -> float:
        end = bench_run.time.process_time() + 0.4
        while bench_run.time.process_time() < end:
            torch.rand(1000).sum()
        return 20.0

    monkeypatch.setattr(bench_run, "held_out_psnr", slow)
    monkeypatch.setattr(bench_run.Watch, "_score", lambda *_: None)
    rows = measured(capture, (0.25, 0.5, 1.0))
    # Two measurings lie between the first moment and the last; a step takes a hundredth of one.
    assert rows[-1].cpu_seconds - rows[0].cpu_seconds < 0.6


def test_finished_runs_are_not_made_again_and_stopped_ones_are(
    capture: Path, tiny_method: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []
    stop_at = ["edges"]

    def instead(run: Run, *_) -> list[Measurement]:
        if run.strategy in stop_at:
            raise KeyboardInterrupt
        if run.strategy == "silhouette":
            raise InputError("No masks here.")
        made.append(run.strategy)
        return line(run.strategy, (1, 20.0, 0.8), (2, 21.0, 0.4), seed=run.seed)

    monkeypatch.setattr(bench_run, "train_measured", instead)
    monkeypatch.setattr("neus_ns.cli.bench.command.scene_name", lambda scene: "scene")
    options = Samplers((capture,), only=("uniform,edges,quadtree",), steps=2, output_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        compare(options)
    stop_at.clear()
    compare(options)
    assert made == ["uniform", "edges", "quadtree"]
    compare(replace(options, seeds=2))
    assert made[3:] == made[:3]
    # A strategy that cannot work here ends the comparison only if it was asked for by name.
    compare(replace(options, only=()))
    assert len(made) == 6 + len(SAMPLERS) - 4
    with pytest.raises(InputError, match="No masks"):
        compare(replace(options, only=("silhouette",)))


def test_the_command_as_a_whole(capture: Path, tiny_method: None, tmp_path: Path, capsys) -> None:
    Samplers(
        (capture,), only=("uniform,edges",), steps=3, moments=(0.5, 1.0), resolution=24, output_dir=tmp_path
    ).main()
    shown = capsys.readouterr().out
    assert "uniform" in shown and "samplers.csv" in shown
    rows = Record(tmp_path / "samplers.csv", {}, {}).rows
    assert [(row.strategy, row.step) for row in rows] == [("uniform", 2), ("uniform", 3), ("edges", 2), ("edges", 3)]
    assert (tmp_path / "ball.png").is_file()
