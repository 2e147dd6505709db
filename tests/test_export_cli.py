"""The commands `neus-export` and `ns-export mesh`: one implementation, one sentence for what the user can mend."""

import json
import math
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any, Union

import pytest
import torch
import trimesh
import tyro

from neus_ns.cli import export
from neus_ns.cli.align import AlignPoses
from neus_ns.cli.bench.command import Samplers
from neus_ns.cli.data import Check
from neus_ns.cli.demo import Demo
from neus_ns.cli.demo import run as run_demo
from neus_ns.cli.export import load_surface
from neus_ns.cli.finished_run import config_file, load_run, require_checkpoint
from neus_ns.cli.nerfstudio_export import register_mesh_subcommand
from neus_ns.cli.poses import ExportPoses, Lens, LocatePhoto
from neus_ns.errors import InputError
from tests.surface_shapes import source, sphere, tilted_frame
from tests.test_datamanager import capture
from tests.test_neus_hash import tiny_config, trained
from tests.training_fake import fake_config
from tests.training_fake import trained as trained_fake

REPOSITORY = Path(__file__).parents[1]
SHAPE = source(sphere((0.0, 0.0, 0.0), 0.5), frame=tilted_frame())


class _Run:
    """A stand-in for a trained run: a folder with a config and a checkpoint, and the pipeline it loads as."""

    def __init__(self, folder: Path, pipeline: Any) -> None:
        self.folder = folder
        self.pipeline = pipeline
        self.method_name = "nerfacto"
        self.relative_model_dir = Path("models")
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "step-000000010.ckpt").touch()
        (folder / "config.yml").touch()

    def get_checkpoint_dir(self) -> Path:
        return self.folder / self.relative_model_dir

    def eval_setup(self, path: Path, test_mode: str, update_config_callback: Callable[[Any], Any]) -> tuple:
        assert path == self.folder / "config.yml"
        assert test_mode == "inference"
        return update_config_callback(self), self.pipeline, None, 10


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], _Run]:
    def make(pipeline: Any) -> _Run:
        run = _Run(tmp_path / "run", pipeline)
        module = types.ModuleType("nerfstudio.utils.eval_utils")
        module.__dict__["eval_setup"] = run.eval_setup
        monkeypatch.setitem(sys.modules, "nerfstudio.utils.eval_utils", module)
        return run

    return make


def _neus_export(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["neus-export", *map(str, arguments)])
    export.entrypoint()


@pytest.mark.parametrize("config", ["config.yml", ""])
def test_a_run_becomes_a_mesh(
    make_run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, config: str
) -> None:
    run = make_run(types.SimpleNamespace(surface_source=lambda: SHAPE))
    out = tmp_path / "out"
    _neus_export(
        monkeypatch, "--load-config", run.folder / config, "--output-dir", out, "--resolution", 40, "--format", "obj"
    )
    mesh = trimesh.load(out / "mesh.obj", force="mesh", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    assert mesh.volume == pytest.approx(4 / 3 * 3.1416 * 6**3, rel=0.02)
    assert json.loads((out / "mesh.frame.json").read_text())["resolution"] == 40
    assert f"Wrote {out / 'mesh.obj'}" in capsys.readouterr().out


def _sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, folder: Path) -> str:
    """What an export that must fail says on stderr."""
    with pytest.raises(SystemExit) as stop:
        _neus_export(monkeypatch, "--load-config", folder, "--output-dir", folder / "out", "--resolution", 20)
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") == 1
    return said


def test_a_missing_run_is_a_sentence(tmp_path: Path, monkeypatch, capsys) -> None:
    assert "no such file" in _sentence(monkeypatch, capsys, tmp_path)


def test_a_save_that_was_cut_short_is_passed_over(tmp_path: Path, capsys) -> None:
    run = trained_fake(fake_config(tmp_path))
    newest = max(run.checkpoint_dir.iterdir())
    (run.checkpoint_dir / "step-000000099.ckpt").write_bytes(newest.read_bytes()[:-100])
    assert require_checkpoint(run.config).load_step == 11
    assert "step-000000099.ckpt; taking step-000000011.ckpt instead" in capsys.readouterr().err


def test_a_run_and_its_capture_may_have_moved(tmp_path: Path, monkeypatch, capsys) -> None:
    config = tiny_config(capture(tmp_path / "capture", masks=False), tmp_path / "runs", 3)
    config.save_config()
    trained(config)
    before = load_surface(config_file(config.get_base_dir())).frame.world_from_unit
    # Its log is still being written, so only what is read goes elsewhere.
    (tmp_path / "kept").mkdir()
    for name in ("config.yml", "nerfstudio_models"):
        (config.get_base_dir() / name).rename(tmp_path / "kept" / name)
    (tmp_path / "capture").rename(tmp_path / "photographs")
    capsys.readouterr()
    assert "--data" in _sentence(monkeypatch, capsys, tmp_path / "kept")
    after = load_surface(config_file(tmp_path / "kept"), tmp_path / "photographs").frame.world_from_unit
    assert torch.equal(before, after)
    rmtree(tmp_path / "photographs" / "images")
    gone = load_surface(config_file(tmp_path / "kept"), tmp_path / "photographs").frame.world_from_unit
    assert torch.equal(before, gone)
    poses = ExportPoses(tmp_path / "kept", tmp_path / "photographs", tmp_path / "poses.json")
    poses.main()
    assert "photographs/images" in (tmp_path / "poses.json").read_text()


def test_a_folder_that_nothing_can_be_written_to_is_a_sentence_before_any_work(
    make_run: Callable, tmp_path: Path, monkeypatch, capsys
) -> None:
    def never() -> None:
        raise AssertionError("the surface was looked at")

    run = make_run(types.SimpleNamespace(surface_source=lambda: replace(SHAPE, sdf_fn=never)))
    (tmp_path / "afile").touch()
    for target in (tmp_path / "afile", tmp_path / "afile" / "below"):
        with pytest.raises(SystemExit):
            _neus_export(monkeypatch, "--load-config", run.folder, "--output-dir", target)
        assert "nothing can be written there" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        _neus_export(monkeypatch, "--load-config", run.folder, "--output-dir", tmp_path, "--target-faces", 2)
    assert "simplest closed mesh has 4" in capsys.readouterr().err


def test_a_run_of_another_method_is_a_sentence(make_run: Callable, monkeypatch, capsys) -> None:
    run = make_run(types.SimpleNamespace())
    said = _sentence(monkeypatch, capsys, run.folder)
    assert "trained with nerfacto, which has no signed distance" in said


def test_a_run_without_checkpoint_is_a_sentence(make_run: Callable, monkeypatch, capsys) -> None:
    run = make_run(types.SimpleNamespace())
    next(run.get_checkpoint_dir().iterdir()).unlink()
    assert "there is no checkpoint" in _sentence(monkeypatch, capsys, run.folder)


def test_a_run_without_surface_is_a_sentence(make_run: Callable, monkeypatch, capsys) -> None:
    empty = source(sphere((0.0, 0.0, 0.0), -1.0))
    run = make_run(types.SimpleNamespace(surface_source=lambda: empty))
    assert "There is no surface" in _sentence(monkeypatch, capsys, run.folder)


_PROBE = """
import contextlib, io, json, sys
import nerfstudio.scripts.exporter as exporter

def help_of(*arguments):
    sys.argv = ["ns-export", *arguments, "--help"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        exporter.entrypoint()
    return out.getvalue()

names = ["pointcloud", "tsdf", "poisson", "marching-cubes", "cameras", "gaussian-splat"]
ours = {name: help_of(name) for name in names}
top, mesh = help_of(), help_of("mesh")
import tyro
exporter.tyro = tyro
answer = {"top": top, "mesh": mesh, "theirs_top": help_of(), "changed": [n for n in names if help_of(n) != ours[n]]}
print("ANSWER" + json.dumps(answer))
"""


def test_ns_export_gains_mesh_and_keeps_the_rest() -> None:
    """In a process of its own, where nerfstudio discovers a method module just as it discovers an installed one."""
    variables = {**os.environ, "NERFSTUDIO_METHOD_CONFIGS": "exporter-test=tests.exporter_method:method"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROBE], cwd=REPOSITORY, env=variables, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.split("ANSWER")[1])
    for name in ("pointcloud", "tsdf", "poisson", "marching-cubes", "cameras", "gaussian-splat", "mesh"):
        assert f"• {name} " in answer["top"]
    assert "• mesh " not in answer["theirs_top"]
    assert answer["changed"] == []
    for option in ("--load-config", "--output-dir", "--resolution", "--keep", "--target-faces", "--colour"):
        assert option in answer["mesh"]


@dataclass
class _Theirs:
    """An exporter of theirs."""

    size: int = 3


def _fake_exporter(monkeypatch: pytest.MonkeyPatch, commands: Any, tyro_module: Any = tyro) -> Any:
    exporter = types.ModuleType("nerfstudio.scripts.exporter")
    exporter.__dict__["tyro"] = tyro_module
    monkeypatch.setitem(sys.modules, "nerfstudio.scripts.exporter", exporter)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register_mesh_subcommand()
        register_mesh_subcommand()
    exporter.__dict__["Commands"] = commands
    return exporter


def _theirs_union() -> Any:
    one = Annotated[_Theirs, tyro.conf.subcommand(name="one")]
    two = Annotated[_Theirs, tyro.conf.subcommand(name="two")]
    return tyro.conf.FlagConversionOff[Union[one, two]]  # noqa: UP007


def test_only_the_exporters_own_call_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = _fake_exporter(monkeypatch, _theirs_union())
    assert exporter.tyro.conf is tyro.conf
    assert exporter.tyro.cli(_Theirs, args=["--size", "7"]) == _Theirs(7)
    assert exporter.tyro.cli(exporter.Commands, args=["two", "--size", "5"]) == _Theirs(5)
    arguments = ["mesh", "--load-config", "a", "--output-dir", "b", "--keep", "all", "--colour", "False"]
    command = exporter.tyro.cli(exporter.Commands, args=arguments)
    assert isinstance(command, export.ExportMesh)
    assert (command.options.keep, command.options.colour) == ("all", False)


def test_a_changed_nerfstudio_costs_a_warning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = _fake_exporter(monkeypatch, _Theirs)
    with pytest.warns(UserWarning, match="use `neus-export` instead"):
        assert exporter.tyro.cli(exporter.Commands, args=[]) == _Theirs(3)
    exporter = _fake_exporter(monkeypatch, _theirs_union())
    monkeypatch.setitem(sys.modules, "neus_ns.cli.export", None)
    with pytest.warns(UserWarning, match="use `neus-export` instead"):
        assert exporter.tyro.cli(exporter.Commands, args=["one"]) == _Theirs(3)
    with pytest.raises(UserWarning, match="does not hold tyro"):
        _fake_exporter(monkeypatch, _theirs_union(), tyro_module=None)


def test_without_the_exporter_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nerfstudio.scripts.exporter", raising=False)
    register_mesh_subcommand()
    assert "nerfstudio.scripts.exporter" not in sys.modules


def test_places_and_numbers_are_looked_at_before_any_work(tmp_path: Path) -> None:
    """Nothing here needs a run, a capture or nerfstudio: it is refused before these are read."""
    (tmp_path / "afile").touch()
    below, folder = tmp_path / "afile" / "below", tmp_path / "capture"
    folder.mkdir()
    missing = tmp_path / "config.yml"
    refused = {
        "nothing can be written": [
            lambda: AlignPoses(folder, below).main(),
            lambda: ExportPoses(missing, output_path=below).main(),
            lambda: Check(folder, below).check(),
            lambda: Samplers((folder,), output_dir=below).check(),
            lambda: run_demo(Demo(below)),
        ],
        "is a folder, but a file": [
            lambda: ExportPoses(missing, output_path=folder).main(),
            lambda: LocatePhoto(missing, missing, output_path=folder).main(),
        ],
        "give a number above zero": [
            lambda: run_demo(Demo(tmp_path, minutes=-1.0)),
            lambda: Samplers((folder,), minutes=math.nan).check(),
            lambda: LocatePhoto(missing, missing, rate=math.nan).main(),
            lambda: LocatePhoto(missing, missing, lens=Lens(fl_x=-5.0)).main(),
        ],
        "must be 2 or more": [lambda: run_demo(Demo(tmp_path, resolution=1))],
    }
    for reason, attempts in refused.items():
        for attempt in attempts:
            with pytest.raises(InputError, match=reason):
                attempt()


def test_a_run_of_another_operating_system_is_told_apart(tmp_path: Path) -> None:
    elsewhere = "WindowsPath" if os.name == "posix" else "PosixPath"
    config = tmp_path / "config.yml"
    config.write_text(f"!!python/object/apply:pathlib.{elsewhere}\n- data\n")
    with pytest.raises(InputError, match="config.yml holds paths of another operating system"):
        load_run(config, None)
