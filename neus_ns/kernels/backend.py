"""Which implementation of the hot loops runs: the one place where that is decided.

`warp` is NVIDIA Warp, CPU and CUDA from one source; `torch` is the plain reference, which runs wherever torch does;
`tcnn` is tiny-cuda-nn, CUDA only, for the hash encoding alone. A wish that cannot be met is never an error: something
slower runs, and one sentence in the log says what and why.
"""

import functools
import importlib
from dataclasses import dataclass
from typing import Literal

import torch

from neus_ns.kernels.layout import GridLayout

BackendChoice = Literal["auto", "warp", "torch", "tcnn"]
Backend = Literal["warp", "torch"]
EncodingBackend = Literal["warp", "torch", "tcnn"]

# What a package is called where it is installed from, if not as it is imported.
_TO_INSTALL = {"warp": "warp-lang"}
_NAMES = {"warp": "Warp", "torch": "plain torch", "tcnn": "tiny-cuda-nn"}


@dataclass(frozen=True)
class Backends:
    """What runs the hash encoding, what runs the other kernels, and a sentence for the log that names both."""

    encoding: EncodingBackend
    kernels: Backend
    reason: str


def start_warp() -> None:
    """Initialise Warp without its banner and without a line for every kernel it loads."""
    import warp as wp

    if hasattr(wp.config, "log_level"):
        wp.config.log_level = wp.LOG_WARNING
    else:  # Older versions of Warp know only this switch.
        wp.config.quiet = True  # type: ignore[attr-defined]
    wp.init()


def old_driver_sentence(warp_version: str) -> str:
    """What to do when Warp sees no CUDA device although torch does, which an old driver is the reason for."""
    sentence = f"Warp {warp_version} finds the CUDA driver too old or no CUDA device at all"
    if tuple(int(part) for part in warp_version.split(".")[:2]) < (1, 18):
        return f"{sentence} (update the driver)"
    return f'{sentence} (with a driver older than R580, pip install "warp-lang<1.18")'


def _does_not_run(package: str, error: Exception) -> str:
    """Why a package fails, by the exception that importing or trying it raised, of whatever kind."""
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return f"{_TO_INSTALL.get(package, package)} is not installed"
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{package} does not run here ({first_line})"


@functools.cache
def warp_problem(device_type: str) -> str | None:
    """None when Warp runs on the device, else why not. Found by running it: no question to Warp answers all of it."""
    if device_type not in ("cpu", "cuda"):
        return f"Warp has no kernels for device {device_type}"
    try:
        import warp as wp

        start_warp()
        if device_type == "cuda" and not wp.is_cuda_available():
            return old_driver_sentence(wp.__version__)
        _try_warp(device_type)
    # Warp raises exceptions of its own, of its compiler and of the library that it loads.
    except Exception as error:
        return _does_not_run("warp", error)
    return None


def _try_warp(device_type: str) -> None:
    """Compile and run one kernel: an unwritable cache or a device that is no longer supported shows only then."""
    from neus_ns.kernels import warp_jet

    layout = GridLayout(levels=1, features=2, log2_rows=3, coarsest=1, finest=1)
    position, table = torch.zeros(1, 3, device=device_type), torch.zeros(1, layout.rows, 2, device=device_type)
    warp_jet.jet(position, table, layout, 1, 1).cpu()


def tcnn_runs_on(device_type: str) -> bool:
    """Whether tiny-cuda-nn has kernels for the device."""
    return device_type == "cuda"


@functools.cache
def tcnn_problem(device_type: str) -> str | None:
    """None when tiny-cuda-nn's hash grid runs on the device, else why not."""
    if not tcnn_runs_on(device_type):
        return "tiny-cuda-nn runs on CUDA only"
    try:
        tinycudann = importlib.import_module("tinycudann")
        grid = {"otype": "HashGrid", "n_levels": 1, "n_features_per_level": 2, "log2_hashmap_size": 8}
        encoding = tinycudann.Encoding(3, grid | {"base_resolution": 4, "per_level_scale": 1.0}, dtype=torch.float32)
        encoding(torch.zeros(1, 3, device=device_type)).cpu()
    # At import alone it raises ImportError, OSError or RuntimeError, by what it was built against.
    except Exception as error:
        return _does_not_run("tinycudann", error)
    return None


def choose_backend(choice: BackendChoice, device_type: str) -> Backends:
    """The backends to use on the device.

    `auto` takes Warp, else tiny-cuda-nn with torch, else torch. `warp` falls back to torch and never to tiny-cuda-nn,
    which cannot read the checkpoints of the other two.
    """
    if choice == "torch":
        return _backends("torch", "torch", device_type, ", as asked")
    no_warp = warp_problem(device_type)
    kernels: Backend = "warp" if no_warp is None else "torch"
    wants_tcnn = choice == "tcnn" or (choice == "auto" and no_warp is not None and tcnn_runs_on(device_type))
    no_tcnn = tcnn_problem(device_type) if wants_tcnn else None
    encoding: EncodingBackend = "tcnn" if wants_tcnn and no_tcnn is None else kernels
    problems = [problem for problem in (no_tcnn, no_warp) if problem is not None]
    return _backends(encoding, kernels, device_type, f", because {' and '.join(problems)}" if problems else "")


def _backends(encoding: EncodingBackend, kernels: Backend, device_type: str, why: str) -> Backends:
    both = f"on {device_type}, {_NAMES[encoding]} runs the hash encoding and {_NAMES[kernels]} the other kernels"
    return Backends(encoding, kernels, both + why)
