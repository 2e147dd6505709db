"""CPU time of a batch of training rays, ours and nerfstudio's: `python -m tests.benchmarks.data_path [--rays 1024]`.

The capture has no masks, since nerfstudio's rejection sampling of masked pixels would count against it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from neus_ns.data.datamanager import SurfaceDataManagerConfig
from tests.scenes import tiny_capture


def median_cpu_ms(take: Callable[[int], object], repeats: int) -> float:
    """CPU milliseconds of all threads for one call."""
    times = []
    for step in range(repeats + 10):
        start = time.process_time()
        take(step)
        times.append(1000.0 * (time.process_time() - start))
    return statistics.median(times[10:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rays", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tiny_capture(Path(folder), size=64, views=8, masks=False)
        times = []
        for config in (SurfaceDataManagerConfig(), VanillaDataManagerConfig()):
            config.data, config.dataparser = Path(folder), NerfstudioDataParserConfig()
            config.train_num_rays_per_batch = options.rays
            times.append(median_cpu_ms(config.setup(device="cpu", test_mode="val").next_train, options.repeats))
    ours, theirs = times
    print(
        f"next_train of {options.rays} rays, CPU-ms: neus_ns {ours:.2f}, nerfstudio {theirs:.2f}, "
        f"{theirs / ours:.1f} times less"
    )


if __name__ == "__main__":
    main()
