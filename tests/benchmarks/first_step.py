"""Seconds and memory from the start of set-up to the end of the first training step, on large photographs.

    python -m tests.benchmarks.first_step [--photographs 50] [--width 1600] [--height 1200] [--masks] [--profile]

The photographs are made on the fly: noise of the density of real ones, since decoding is part of the time. Memory is
the largest resident size of the process, beside that before set-up, which is what the libraries alone take.
"""

import argparse
import cProfile
import json
import math
import pstats
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from neus_ns.methods import neus_hash_config
from neus_ns.models.pipeline import SurfacePipelineConfig
from neus_ns.training.trainer import SurfaceTrainer


def write_photographs(folder: Path, count: int, size: tuple[int, int], masks: bool) -> None:
    """JPEG photographs of nothing in particular on a ring around the origin, and round masks."""
    width, height = size
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    photo = Image.blend(small.resize(size, Image.Resampling.BICUBIC), noise, 0.1).filter(ImageFilter.GaussianBlur(0.5))
    mask = Image.new("L", size)
    focal, distance, radius = 1.2 * width, 3.0, 0.8
    reach = focal * radius / math.sqrt(distance**2 - radius**2)
    ImageDraw.Draw(mask).ellipse(
        (width / 2 - reach, height / 2 - reach, width / 2 + reach, height / 2 + reach), fill=255
    )
    frames = []
    for view in range(count):
        angle, lift = 2 * math.pi * view / count, 0.4 * math.sin(5 * 2 * math.pi * view / count)
        back = np.array([math.cos(angle), math.sin(angle), lift]) / math.hypot(1, lift)
        right = np.cross([0.0, 0.0, 1.0], back) / math.hypot(back[0], back[1])
        pose = np.eye(4)
        pose[:3] = np.stack((right, np.cross(back, right), back, distance * back), axis=1)
        frame = {"file_path": f"images/{view:03d}.jpg", "transform_matrix": pose.tolist()}
        (folder / "images").mkdir(exist_ok=True)
        photo.save(folder / frame["file_path"], quality=92)
        if masks:
            frame["mask_path"] = f"masks/{view:03d}.png"
            (folder / "masks").mkdir(exist_ok=True)
            mask.save(folder / frame["mask_path"])
        frames.append(frame)
    lens = {"fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2, "w": width, "h": height}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))


def trainer_of(capture: Path, output: Path) -> SurfaceTrainer:
    config = neus_hash_config()
    assert isinstance(config.pipeline, SurfacePipelineConfig)
    config.pipeline.datamanager.data = capture
    config.output_dir, config.experiment_name, config.timestamp = output, "first_step", "run"
    config.max_num_iterations, config.vis, config.steps_per_eval_image = 1, "tensorboard", 0
    config.logging.local_writer.enable = False
    return config.setup(local_rank=0, world_size=1)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=50)
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--height", type=int, default=1200)
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture"
        capture.mkdir()
        write_photographs(capture, options.photographs, (options.width, options.height), options.masks)
        trainer = trainer_of(capture, Path(folder) / "outputs")
        before, profile = peak_gb(), cProfile.Profile()
        if options.profile:
            profile.enable()
        start, cpu_start = time.perf_counter(), time.process_time()
        trainer.setup()
        ready, cpu_ready = time.perf_counter(), time.process_time()
        trainer.train()
        done, cpu_done = time.perf_counter(), time.process_time()
        profile.disable()
        print(
            f"{options.photographs} photographs of {options.width}x{options.height}"
            f"{' with masks' if options.masks else ''}: set-up {ready - start:.1f} s ({cpu_ready - cpu_start:.1f} s of "
            f"CPU), first step and its checkpoint {done - ready:.1f} s ({cpu_done - cpu_ready:.1f}); at most "
            f"{peak_gb():.2f} GB, {before:.2f} GB of them before set-up"
        )
        if options.profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


if __name__ == "__main__":
    main()
