"""Sizes by the memory that is free: which are chosen, what goes before them, what a run keeps, what is refused."""

import subprocess
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
import yaml

from neus_ns.data import free_memory
from neus_ns.data.free_memory import free_ram, require_room_for_photographs
from neus_ns.errors import InputError
from neus_ns.methods import neuralangelo_mask_sfm_config, neus_hash_config
from neus_ns.models import preset_choice
from neus_ns.models.memory_need import Photographs, memory_need
from neus_ns.models.neuralangelo import NeuralangeloModelConfig
from neus_ns.models.pipeline import SurfacePipelineConfig, surface_pipeline
from neus_ns.models.preset_choice import choose_sizes, finest_known, fitting
from neus_ns.models.preset_names import Preset
from neus_ns.models.sizes import PRESETS, Sizes, refuse_other_meaning, set_sizes, sizes_of, what_tensors_mean, with_own
from neus_ns.training.trainer import SurfaceTrainer, SurfaceTrainerConfig
from tests.scenes import tiny_capture

GB = 10**9
CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)
PHOTOS = Photographs(6 * 32 * 32, True)
TINY = Sizes(6, 2, 10, 64, 16, 7, 16, 1, 24, 800, 1024)


def pipeline_config(config: SurfaceTrainerConfig) -> SurfacePipelineConfig:
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    return config.pipeline


def flagship() -> SurfacePipelineConfig:
    return pipeline_config(neuralangelo_mask_sfm_config())


def with_free(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr(preset_choice, "free_memory", lambda device: free)


@pytest.mark.parametrize("method", [neus_hash_config, neuralangelo_mask_sfm_config])
def test_the_preset_for_processors_is_what_options_are_by_default(method) -> None:
    config = pipeline_config(method())
    before = sizes_of(config)
    assert before == PRESETS["cpu"]
    choose_sizes(config, PHOTOS, CPU)
    assert sizes_of(config) == before and config.preset == "given"


def test_every_preset_fits_where_its_name_says_with_room_for_photographs() -> None:
    needs = [
        memory_need(flagship().model, sizes, Photographs(100_000_000, False), "warp").total
        for sizes in PRESETS.values()
    ]
    assert needs == sorted(needs)
    for need, card in zip(needs[1:], (8, 12, 16, 24), strict=True):
        assert need < 0.75 * card * GB


def test_the_largest_that_leaves_room_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    for free in (2, 7.5, 11.5, 15.5, 23, 140):
        with_free(monkeypatch, int(free * GB))
        config = flagship()
        # Which kernels a card would run cannot be asked without one.
        monkeypatch.setattr(preset_choice, "choose_backend", lambda *_: preset_choice_backends())
        sentence = choose_sizes(config, PHOTOS, CARD)
        chosen.append(next(name for name, sizes in PRESETS.items() if sizes == sizes_of(config)))
        assert f"preset {chosen[-1]}" in sentence and f"{free:.1f} GB" in sentence
        assert "--pipeline.preset" in sentence and "\n" not in sentence
    assert chosen == ["cpu", "8gb", "12gb", "16gb", "24gb", "24gb"]
    needs: dict[Preset, int] = {name: 1 for name in PRESETS}
    # A grey copy is made of the photographs for patches.
    more = memory_need(flagship().model, TINY, replace(PHOTOS, pixels=GB), "warp").total
    assert more - memory_need(flagship().model, TINY, PHOTOS, "warp").total == GB - PHOTOS.pixels
    assert fitting(needs, None, "cuda") == fitting(needs, 10**15, "cpu") == fitting(needs, 10**15, "mps") == "cpu"


def preset_choice_backends():
    from neus_ns.kernels.backend import Backends

    return Backends("warp", "warp", "")


def test_what_the_user_sets_goes_before_a_preset_and_given_takes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 200 * GB)
    config = flagship()
    config.preset, config.samples_per_step, config.model.sdf_field.log2_rows = "16gb", 999, 19
    choose_sizes(config, PHOTOS, CPU)
    assert sizes_of(config) == replace(PRESETS["16gb"], samples_per_step=999, log2_rows=19)
    config = flagship()
    config.preset, config.model.sdf_field.finest = "given", 700
    assert "given in the options" in choose_sizes(config, PHOTOS, CPU)
    assert sizes_of(config) == replace(PRESETS["cpu"], finest=700)


def test_every_size_is_an_option_and_comes_back() -> None:
    config = flagship()
    odd = Sizes(*(100 + number for number, _ in enumerate(fields(Sizes))))
    set_sizes(config, odd)
    assert sizes_of(config) == odd
    assert with_own(PRESETS["24gb"], PRESETS["cpu"]) == PRESETS["24gb"] and with_own(PRESETS["24gb"], odd) == odd


@pytest.mark.parametrize(
    "preset, free, words",
    [
        ("24gb", 7 * GB, "--pipeline.preset 12gb, which fits"),
        ("auto", GB // 10, "lower --pipeline.samples-per-step"),
        ("given", GB // 10, "the sizes given in the options"),
    ],
)
def test_what_cannot_fit_is_refused_in_a_sentence(monkeypatch, preset, free, words) -> None:
    with_free(monkeypatch, free)
    config = flagship()
    config.preset = preset
    with pytest.raises(InputError) as refusal:
        choose_sizes(config, PHOTOS, CPU)
    sentence = str(refusal.value)
    need = memory_need(config.model, sizes_of(config) if preset != "24gb" else PRESETS["24gb"], PHOTOS, "warp").total
    assert words in sentence and f"{free / 1e9:.1f} GB" in sentence and f"{need / 1e9:.1f} GB" in sentence
    assert sizes_of(config) == PRESETS["cpu"]
    # Where the system does not say, nothing is refused.
    with_free(monkeypatch, None)
    choose_sizes(config, PHOTOS, CPU)


def test_photographs_that_cannot_be_kept_are_refused_before_they_are_read(monkeypatch) -> None:
    free = {"cpu": 15 * GB, "cuda": GB}
    monkeypatch.setattr(free_memory, "free_memory", lambda device: free[device.type])
    require_room_for_photographs(2 * GB, 1.0, True, CPU)
    with pytest.raises(InputError, match="about 14.0 GB and 1.0 GB .* cuda:0: .* --pipeline.datamanager.images-on"):
        require_room_for_photographs(2 * GB, 1.0, True, CARD)
    # Half as wide and high as they are read now, which may be smaller than their files.
    for scale, half in ((1.0, "0.5"), (0.4, "0.2")):
        with pytest.raises(InputError, match=f"camera-res-scale-factor {half}[.]$"):
            require_room_for_photographs(6 * GB, scale, False, CPU)


def test_a_card_is_asked_by_its_number(monkeypatch) -> None:
    """Before torch 2.5 it had to be."""
    asked = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (asked.append(device), (7 * GB, 8 * GB))[1])
    for name in ("memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 0)
    for device in ("cuda", "cuda:1"):
        assert free_memory.free_memory(torch.device(device)) == 7 * GB
    assert asked == [3, 1]


def test_a_containers_limit_counts_without_the_files_that_it_only_keeps_at_hand(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  99 kB\nMemFree:  1 kB\nMemAvailable:   50 kB\n")
    group = ((tmp_path, "memory.max", "memory.current"),)
    assert free_ram(meminfo, group) == 50 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert free_ram(meminfo, group) == 50 * 1024
    (tmp_path / "memory.max").write_text("40000\n")
    (tmp_path / "memory.current").write_text("30000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 5000\n")
    assert free_ram(meminfo, group) == 15_000
    assert free_ram(tmp_path / "nowhere", group) is None


# What grows in a run, made large enough to stand out of what a process takes anyway.
MEASURED = {
    ("parameters", "cells"): replace(TINY, log2_rows=19, levels=14, grid_resolution=128),
    ("step",): replace(TINY, levels=14, sdf_width=64, colour_width=64, samples_per_step=30_000, max_rays=8192),
}
MEASURE = """
import sys
from pathlib import Path
import torch
from neus_ns.methods import neuralangelo_mask_sfm_config
from neus_ns.kernels.backend import choose_backend
from neus_ns.models.sizes import Sizes, set_sizes
import neus_ns.surface.export

def peak(name):
    return next(int(row.split()[1]) for row in open("/proc/self/status") if row.startswith(name)) * 1024

torch.set_num_threads(1)
config = neuralangelo_mask_sfm_config()
config.pipeline.datamanager.data, config.output_dir = Path(sys.argv[1]), Path(sys.argv[2])
config.experiment_name, config.timestamp, config.vis = "memory", "run", "tensorboard"
config.pipeline.model.schedule.analytic_from = None if sys.argv[5] == "taps" else 0.0
config.max_num_iterations, config.machine.device_type, config.logging.local_writer.enable = 9, "cpu", False
config.pipeline.datamanager.train_num_rays_per_batch = int(sys.argv[4])
set_sizes(config.pipeline, Sizes(*map(int, sys.argv[3].split(","))))
choose_backend("warp", "cpu")
open("/proc/self/clear_refs", "w").write("5")
before = peak("VmRSS")
trainer = config.setup(local_rank=0, world_size=1)
trainer.setup()
trainer.save_checkpoint = lambda step: None
trainer.train()
print("took", peak("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ball")
    tiny_capture(folder, size=32, views=6)
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("parts", [("parameters", "cells"), pytest.param(("step",), marks=pytest.mark.slow)])
@pytest.mark.parametrize("gradients", [pytest.param("taps", marks=pytest.mark.slow), "closed form"])
def test_the_estimate_is_what_a_run_takes_within_a_factor(
    capture: Path, tmp_path: Path, parts: tuple, gradients: str
) -> None:
    sizes = MEASURED[parts]
    rays = 3000 if "step" in parts else 512
    numbers = ",".join(str(value) for value in asdict(sizes).values())
    given = [str(capture), str(tmp_path), numbers, str(rays), gradients]
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, *given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    took = int(done.stdout.split("took")[-1])
    model = flagship().model
    assert isinstance(model, NeuralangeloModelConfig)
    model.schedule.analytic_from = None if gradients == "taps" else 0.0
    need = memory_need(model, sizes, PHOTOS, "warp")
    # The parts in question make up most of it; what is left is an allowance for large cards rather than for this run.
    assert sum(getattr(need, part) for part in parts) > 0.4 * need.training
    assert 0.6 * took < need.training < 2.0 * took, (took, need)


def tiny_config(capture: Path, output: Path, steps: int) -> SurfaceTrainerConfig:
    config = neuralangelo_mask_sfm_config()
    pipeline = pipeline_config(config)
    pipeline.datamanager.data = capture
    config.output_dir, config.experiment_name, config.timestamp = output, "test", "run"
    config.max_num_iterations, config.vis, config.steps_per_eval_image = steps, "tensorboard", 0
    config.logging.local_writer.enable = False
    config.machine.device_type, pipeline.model.backend = "cpu", "torch"
    pipeline.model.sampling.steps = 24
    return config


def trained(config: SurfaceTrainerConfig) -> SurfaceTrainer:
    torch.manual_seed(0)
    # As ns-train does it: written before anything is chosen.
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    assert isinstance(trainer, SurfaceTrainer)
    trainer.setup()
    trainer.train()
    return trainer


def test_a_run_keeps_its_sizes_for_export_and_resumption_whatever_is_free_then(capture, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(PRESETS, "8gb", TINY)
    first = tiny_config(capture, tmp_path / "first", 2)
    pipeline_config(first).preset = "8gb"
    trained(first)
    written = yaml.load((first.get_base_dir() / "config.yml").read_text(), Loader=yaml.Loader)
    assert sizes_of(written.pipeline) == TINY and written.pipeline.preset == "given"
    # Another machine, where something else would be chosen, and where exporters do not even ask what is free.
    with_free(monkeypatch, 100)
    exported = surface_pipeline(written.pipeline.setup(device="cpu", test_mode="inference"))
    assert exported.surface_model.field.sdf_network.grid.layout.levels == TINY.levels

    with_free(monkeypatch, 100 * GB)
    monkeypatch.setitem(PRESETS, "8gb", replace(TINY, levels=3))
    second = tiny_config(capture, tmp_path / "second", 4)
    second.load_dir, pipeline_config(second).max_rays = first.get_checkpoint_dir(), 77
    resumed = trained(second)
    # The number of rays is the user's own; what the checkpoint holds decides about the rest.
    assert sizes_of(pipeline_config(second)) == replace(TINY, max_rays=77)
    assert surface_pipeline(resumed.pipeline).surface_model.field.sdf_network.grid.layout.levels == TINY.levels

    contrary = tiny_config(capture, tmp_path / "third", 4)
    contrary.load_checkpoint = next(first.get_checkpoint_dir().glob("*.ckpt"))
    pipeline_config(contrary).model.sdf_field.levels = 5
    with pytest.raises(SystemExit) as end:
        trained(contrary)
    assert "does not fit these settings" in str(end.value.__cause__)


@pytest.mark.parametrize(
    ("part", "option", "value", "said"),
    [
        ("sdf_field", "coarsest", 8, "sdf-field.coarsest 16, not 8"),
        ("sdf_field", "finest", 48, "sdf-field.finest 512, not 48"),
        ("", "scene_type", "unbounded", "scene-type object, not unbounded"),
    ],
)
def test_tensors_are_not_read_as_something_else(part: str, option: str, value, said: str) -> None:
    model = flagship().model
    saved = what_tensors_mean(model)
    refuse_other_meaning(saved, what_tensors_mean(model))
    # Checkpoints from before this was kept do not say.
    refuse_other_meaning({}, what_tensors_mean(model))
    setattr(getattr(model, part) if part else model, option, value)
    with pytest.raises(InputError, match=f"trained with --pipeline.model.{said}: resume with that."):
        refuse_other_meaning(saved, what_tensors_mean(model))


def test_a_checkpoint_from_before_there_were_presets_has_the_options_sizes() -> None:
    config = flagship()
    config.model.sdf_field.levels = 9
    config.take_over({})
    assert config.preset == "given" and sizes_of(config) == replace(PRESETS["cpu"], levels=9)
    # Nor were photographs read smaller than they are.
    assert config.datamanager.camera_res_scale_factor == 1.0


def test_finest_cells_are_known_before_photographs_unless_memory_decides() -> None:
    config = flagship()
    assert config.preset == "auto" and (finest_known(config, CPU), finest_known(config, CARD)) == (512, None)
    config.preset = "24gb"
    assert finest_known(config, CARD) == PRESETS["24gb"].finest
    config.model.sdf_field.finest = 300
    assert finest_known(config, CARD) == 300
    config.preset = "given"
    assert finest_known(config, CPU) == 300


def test_a_checkpoint_decides_how_large_photographs_are_read() -> None:
    for given, saved, expected in (
        ((None, None), (None, 800), (None, 800)),
        ((None, None), (0.5, 1600), (0.5, 1600)),
        ((0.7, None), (None, 800), (0.7, None)),
        ((None, 700), (None, 800), (None, 700)),
    ):
        config = flagship()
        photographs = config.datamanager
        photographs.camera_res_scale_factor, photographs.longest_side = given
        config.take_over({"_extra_state": {"photographs_read": saved}})
        assert (photographs.camera_res_scale_factor, photographs.longest_side) == expected
