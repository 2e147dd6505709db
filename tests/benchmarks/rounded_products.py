"""What matrix products of fewer digits would do to a trained surface: float32, TF32 and bfloat16 beside float64.

    python -m tests.benchmarks.rounded_products CAPTURE [--steps 600]

Both operands of every product are rounded as a tensor core rounds them and the sums kept in float32, so no device is
needed. Prints errors at points of the surface: of the distance in cells of the finest level, of the normal in degrees,
of the colour in steps of 1/255.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neus_ns.fields.hash_grid import HashGrid
from neus_ns.models.neus_hash import NeusHashModel
from neus_ns.models.pipeline import surface_pipeline
from tests.benchmarks.quality import METHODS, Length, prepared

POINTS = 20_000
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
Rounding = Callable[[Tensor], Tensor]


def tf32(x: Tensor) -> Tensor:
    """Ten bits behind the point, to nearest."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


ROUNDINGS: dict[str, Rounding] = {"float32": lambda x: x, "TF32": tf32, "bfloat16": lambda x: x.bfloat16().float()}


class Rounded(TorchDispatchMode):
    """Rounds what float32 products multiply; what is added to a product is left as it is."""

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        self.rounding = rounding
        self.products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in PRODUCTS and args[-1].dtype == torch.float32:
            self.products += 1
            args = (*args[:-2], self.rounding(args[-2]), self.rounding(args[-1]))
        return func(*args, **(kwargs or {}))


def answers(model: NeusHashModel, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, normal and colour at the points, in float64."""
    sample = model.field.sdf_network.sample(points)
    appearance = model.appearance.weight.mean(0).expand(len(points), -1)
    colour = model.field.colour_network(points, directions, sample.gradient, sample.feature, appearance)
    return sample.sdf.double(), F.normalize(sample.gradient.double(), dim=-1), colour.double()


def surface_points(model: NeusHashModel) -> Tensor:
    """Points of the unit frame that lie on the surface to within a cell of the finest level."""
    cells = model.grid.occupied.nonzero()
    generator = torch.Generator().manual_seed(0)
    pick = cells[torch.randint(len(cells), (8 * POINTS,), generator=generator)]
    points = (pick + torch.rand(len(pick), 3, generator=generator)) * (2 / model.grid.resolution) - 1
    for _ in range(3):
        sample = model.field.sdf_network.sample(points)
        points = points - (sample.sdf[:, None] * F.normalize(sample.gradient, dim=-1)).detach()
    near = model.field.sdf_network.sdf(points).abs() < 2 / model.field.sdf_network.grid.layout.finest
    return points[near & (points.norm(dim=-1) < 1)][:POINTS].detach()


@torch.no_grad()
def report(model: NeusHashModel) -> None:
    """One line a rounding: the median error, and that which one point in a hundred exceeds."""
    points = surface_points(model)
    directions = F.normalize(torch.randn(len(points), 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    cell = 2 / model.field.sdf_network.grid.layout.finest
    found = {}
    for name, rounding in ROUNDINGS.items():
        with Rounded(rounding) as mode:
            found[name] = answers(model, points, directions)
        assert mode.products > 0
    exact = answers(model.double(), points.double(), directions.double())
    print(f"{len(points)} points; median (99 of 100 are below)")
    for name, (sdf, normal, colour) in found.items():
        turned = 2 * torch.rad2deg(torch.asin(0.5 * (normal - exact[1]).norm(dim=-1).clamp(max=2)))
        errors = ((sdf - exact[0]).abs() / cell, turned, (colour - exact[2]).abs().amax(-1) * 255)
        words = [f"{e.median():.2g} ({e.quantile(0.99):.2g})" for e in errors]
        print(f"{name}: distance {words[0]} cells, normal {words[1]} degrees, colour {words[2]} of 255")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = METHODS["neus-hash"]()
        trainer = prepared(config, options.capture, Length(options.steps, "steps"), 0, Path(folder))
        trainer.train()
        model = surface_pipeline(trainer.pipeline).surface_model
        model.eval()
        # Torch's encoding goes on to float64.
        grid = model.field.sdf_network.grid
        assert isinstance(grid, HashGrid)
        grid.backend = "torch"
        report(model)


if __name__ == "__main__":
    main()
