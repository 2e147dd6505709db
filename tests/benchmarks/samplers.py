"""CPU time of every pixel sampler for a batch: `python -m tests.benchmarks.samplers [--rays 4096]`.

Each step is what training asks for: a proposal, the pixels' colours, and the errors heard. Beside them stands
nerfstudio's PixelSampler on the same photographs. The mark is 5 % of a training step of 45 ms (soft mining: 20 %).
Times are medians: what happens once in dozens of steps, such as redrawing an error map, is not in them.
"""

import argparse

import torch
from nerfstudio.data.pixel_samplers import PixelSamplerConfig

from neus_ns.data.pixel_store import PixelStore, store_images
from neus_ns.pixels.choice import SAMPLERS
from tests.benchmarks.data_path import median_cpu_ms

_STEP_MS = 45.0


def photographs(views: int, side: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Smooth photographs with an object in the middle."""
    generator = torch.Generator().manual_seed(0)
    images, masks = [], []
    for _ in range(views):
        coarse = torch.rand(1, 3, side // 8, side // 8, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")[0].permute(1, 2, 0)
        images.append((255 * image).to(torch.uint8))
        mask = torch.zeros(side, side, dtype=torch.uint8)
        mask[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 255
        masks.append(mask)
    return images, masks


def sampler_ms(name: str, store: PixelStore, rays: int, repeats: int) -> float:
    """CPU milliseconds of a step with this sampler."""
    sampler = SAMPLERS[name]().setup(num_rays_per_batch=rays)
    error = torch.rand(rays)

    def step(number: int) -> None:
        sampler.set_progress(number / 20_000)
        batch = sampler.propose(store, rays)
        store.gather(batch.flat)
        if batch.positions is not None:
            # The slope of the photographs is work of this sampler alone; the backward pass through the model is not
            # timed here.
            store.colour_slope(batch.indices)
            batch.positions.grad = torch.randn(rays, 2) / rays
        sampler.observe(batch, error)

    return median_cpu_ms(step, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rays", type=int, default=4096)
    parser.add_argument("--views", type=int, default=32)
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    images, masks = photographs(options.views, options.side)
    store = store_images(images, masks, "cpu")
    theirs = PixelSamplerConfig(num_rays_per_batch=options.rays).setup()
    cached = {"image": torch.stack(images).float() / 255.0, "image_idx": torch.arange(options.views)}
    print(f"{'sampler':18} {'CPU-ms':>7} {'of a step':>9}  mark")
    ms = median_cpu_ms(lambda _: theirs.sample(cached), options.repeats)
    print(f"{'nerfstudio':18} {ms:7.2f} {ms / _STEP_MS:9.1%}  without masks")
    for name in SAMPLERS:
        ms = sampler_ms(name, store, options.rays, options.repeats)
        mark = 0.20 if name == "soft-mining" else 0.05
        print(f"{name:18} {ms:7.2f} {ms / _STEP_MS:9.1%}  {'kept' if ms < mark * _STEP_MS else 'missed'} ({mark:.0%})")


if __name__ == "__main__":
    main()
