"""Which implementation of the hot loops runs: the one place where that is decided.

`warp` is NVIDIA Warp, CPU and CUDA from one source; `torch` is the plain reference, which runs wherever torch does.
"""

import functools
import importlib.util
from typing import Literal

BackendChoice = Literal["auto", "warp", "torch"]
Backend = Literal["warp", "torch"]


def start_warp() -> None:
    """Initialise Warp without its banner and without a line for every kernel it loads."""
    import warp as wp

    if hasattr(wp.config, "log_level"):
        wp.config.log_level = wp.LOG_WARNING
    else:  # Older versions of Warp know only this switch.
        wp.config.quiet = True  # type: ignore[attr-defined]
    wp.init()


@functools.cache
def warp_is_usable(device_type: str) -> str | None:
    """None when Warp can run on the device, else a sentence that says why not."""
    if importlib.util.find_spec("warp") is None:
        return "warp-lang is not installed (pip install warp-lang)"
    try:
        import warp as wp

        start_warp()
    # Warp raises RuntimeError subclasses of its own, and OSError when its library cannot load.
    except Exception as error:
        return f"Warp does not start: {error}"
    if device_type == "cuda" and not wp.is_cuda_available():
        return 'Warp sees no CUDA device; a driver older than R580 needs pip install "warp-lang<1.18"'
    if device_type not in ("cpu", "cuda"):
        return f"Warp has no kernels for device {device_type}"
    return None


def choose_backend(choice: BackendChoice, device_type: str) -> tuple[Backend, str]:
    """The backend to use, and a sentence for the log that names it and the reason."""
    if choice == "torch":
        return "torch", "kernels: plain torch, as asked"
    problem = warp_is_usable(device_type)
    if problem is None:
        return "warp", f"kernels: Warp on {device_type}"
    return "torch", f"kernels: plain torch, because {problem}"
