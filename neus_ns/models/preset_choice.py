"""Which sizes a training run gets: those that fit into what is free, said in one sentence, or a refusal in one."""

import torch

from neus_ns.data.free_memory import free_memory, gigabytes
from neus_ns.errors import InputError
from neus_ns.kernels.backend import choose_backend
from neus_ns.models.memory_need import Photographs, memory_need
from neus_ns.models.preset_names import Preset, PresetChoice
from neus_ns.models.sizes import PRESETS, SizedConfig, Sizes, set_sizes, sizes_of, with_own

# What a run may take of what is free when the choice is ours: estimates err, and displays and other programs grow.
_SHARE = 0.85
# Gigabytes that a set of sizes is meant for; smaller cards are slower too, so what merely fits is not yet right.
_MEANT_FOR: dict[Preset, float] = {"cpu": 0, "8gb": 8, "12gb": 12, "16gb": 16, "24gb": 24}


def choose_sizes(config: SizedConfig, photographs: Photographs, device: torch.device) -> str:
    """Write the sizes of a run into its options; returns the sentence that says which, and why.

    Raises InputError if no memory for them is free. Photographs are taken to be in memory already.
    """
    encoding = choose_backend(config.model.backend, device.type).encoding
    own = sizes_of(config)

    def need_of(sizes: Sizes) -> int:
        return memory_need(config.model, sizes, photographs, encoding).total

    free = _least_of_all_ranks(free_memory(device), device)
    preset = config.preset
    if preset == "auto":
        needs: dict[Preset, int] = {name: need_of(with_own(PRESETS[name], own)) for name in PRESETS}
        preset = fitting(needs, free, device.type)
    sizes = own if preset == "given" else with_own(PRESETS[preset], own)
    need = need_of(sizes)
    if free is not None and need > free:
        smaller: list[Preset] = [name for name in PRESETS if need_of(with_own(PRESETS[name], own)) <= free]
        raise InputError(_refusal(preset, need, free, device, smaller))
    set_sizes(config, sizes)
    whose = "given in the options" if preset == "given" else f"of preset {preset}"
    of_free = "" if free is None else f" of the {gigabytes(free)} that are free on {device}"
    return f"the sizes {whose} ({sizes}) take about {gigabytes(need)}{of_free}; --pipeline.preset chooses others"


def finest_known(config: SizedConfig, device: torch.device) -> int | None:
    """The finest cells of the hash grid, where the choice of sizes does not hang on what photographs leave free."""
    preset = "cpu" if config.preset == "auto" and device.type != "cuda" else config.preset
    if preset == "auto":
        return None
    own = sizes_of(config)
    return (own if preset == "given" else with_own(PRESETS[preset], own)).finest


def fitting(needs: dict[Preset, int], free: int | None, device_type: str) -> Preset:
    """The largest preset that is meant for so much memory and leaves some room; a processor gets its own."""
    if device_type != "cuda" or free is None:
        return "cpu"
    usable = _SHARE * free
    roomy: list[Preset] = [
        name for name, need in needs.items() if need <= usable and _SHARE * _MEANT_FOR[name] * 1e9 <= free
    ]
    return roomy[-1] if roomy else "cpu"


def _least_of_all_ranks(free: int | None, device: torch.device) -> int | None:
    """The field has to be the same on every device, so the fullest one decides."""
    if free is None or not torch.distributed.is_initialized():
        return free
    least = torch.tensor(free, device=device)
    torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
    return int(least)


def _refusal(preset: PresetChoice, need: int, free: int, device: torch.device, smaller: list[Preset]) -> str:
    remedy = (
        f"choose --pipeline.preset {smaller[-1]}, which fits"
        if smaller
        else "free some memory, or lower --pipeline.samples-per-step, --pipeline.model.sdf-field.log2-rows and "
        "--pipeline.model.eval-num-rays-per-chunk"
    )
    sizes = "the sizes given in the options" if preset == "given" else f"--pipeline.preset {preset}"
    return (
        f"Training with {sizes} needs about {gigabytes(need)} of memory beside the photographs, and {gigabytes(free)} "
        f"are free on {device}: {remedy}."
    )
