"""About how much memory a run takes beside its photographs, from its sizes alone.

Counted is what grows with the sizes: the tables with gradient, Adam's two moments and the mean of the last steps; what
one training step keeps for its backward pass; what the rendering of a part of a photograph keeps; the cells of the
occupancy grid and of the hull; the grey copy of the photographs that patches are compared in.
"""

import math
from dataclasses import dataclass

from neus_ns.fields.background import LAYOUT as BACKGROUND_LAYOUT
from neus_ns.fields.numerical_field import NumericalFieldConfig
from neus_ns.kernels.backend import EncodingBackend
from neus_ns.models.behind import SAMPLES as BACKGROUND_SAMPLES
from neus_ns.models.neus_hash import NeusHashModelConfig
from neus_ns.models.numerical_schedule import NumericalSchedule
from neus_ns.models.scene_type import background_for
from neus_ns.models.sizes import Sizes

_FLOAT = 4
# A parameter, its gradient, Adam's means of the gradient and of its square, and the mean of the last steps.
_COPIES = 5
# Points off the rays that a step looks at as well.
_OFF_RAYS = 3500
# Bytes of a cell: what the grids keep of it, its centre when all cells are asked about, and distances to the hull.
_PER_CELL = 80
# Numbers of a sample that do not depend on sizes: positions, directions, alpha, weights, and their gradients.
_PER_SAMPLE = 120
# Numbers of a sample of the background, whose networks have one size.
_PER_BACKGROUND_SAMPLE = 220
# Bytes of a pixel of a patch in one of the photographs that it is compared with: where it is, its grey, its slopes.
_PER_PATCH_PIXEL = 160
# The fewest samples of a ray on average: without masks most rays meet nothing.
_SAMPLES_PER_RAY = 2.5
# Kernels, workspaces and the heap's own waste.
_CONSTANT = 200_000_000


@dataclass(frozen=True)
class Photographs:
    """What of a capture counts here."""

    pixels: int
    have_masks: bool


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes, by what they are for."""

    parameters: int
    cells: int
    grey: int
    step: int
    picture: int

    @property
    def training(self) -> int:
        """Without evaluation."""
        return _CONSTANT + self.parameters + self.cells + self.grey + self.step

    @property
    def total(self) -> int:
        """With evaluation, which takes turns with training steps."""
        return _CONSTANT + self.parameters + self.cells + self.grey + max(self.step, self.picture)


def memory_need(
    model: NeusHashModelConfig, sizes: Sizes, photographs: Photographs, encoding: EncodingBackend
) -> MemoryNeed:
    """What a run of this model at these sizes needs."""
    learned = background_for(model.scene_type, model.background, photographs.have_masks) == "learned"
    background_rows = BACKGROUND_LAYOUT.levels * BACKGROUND_LAYOUT.rows * BACKGROUND_LAYOUT.features if learned else 0
    table = sizes.levels * sizes.features * 2**sizes.log2_rows
    sampling = model.sampling
    # Steps that keep the sampler's own number of rays are taken to be of the usual number of samples.
    samples = (sizes.samples_per_step or 12_288) + _OFF_RAYS
    rays = min(int(samples / _SAMPLES_PER_RAY), sizes.max_rays)
    behind_a_ray = _FLOAT * _PER_BACKGROUND_SAMPLE * BACKGROUND_SAMPLES if learned else 0
    per_ray = 2 * (sampling.samples_on_surface + sampling.samples_anywhere) if sampling.refine else sampling.steps
    patches = model.patches if model.weights.patches > 0 else None
    compared = 0 if patches is None else patches.rays * patches.sources * math.ceil(patches.side / patches.every) ** 2
    seen = int(model.eval_num_rays_per_chunk * per_ray)
    return MemoryNeed(
        parameters=_FLOAT * _COPIES * (table + background_rows),
        cells=_PER_CELL * sizes.grid_resolution**3,
        grey=0 if patches is None else photographs.pixels,
        step=samples * _bytes_per_sample(model, sizes, encoding, trains=True)
        + rays * behind_a_ray
        + compared * _PER_PATCH_PIXEL,
        picture=seen * _bytes_per_sample(model, sizes, encoding, trains=False)
        + model.eval_num_rays_per_chunk * behind_a_ray // 3,
    )


def _bytes_per_sample(model: NeusHashModelConfig, sizes: Sizes, encoding: EncodingBackend, trains: bool) -> int:
    """Of one sample on a ray: its encoding, all networks, and in training what their gradients take."""
    taps = model.sdf_field.taps if isinstance(model.sdf_field, NumericalFieldConfig) else None
    if isinstance(model.schedule, NumericalSchedule) and model.schedule.gradients_are_analytic(0.0):
        taps = None
    width = sizes.levels * sizes.features
    # Taps go through the hidden layer one by one; a jet goes through it once.
    columns, rows = (4, 1) if taps is None else (taps + 1, taps + 1)
    encoded = 2 * columns * width
    hidden = (3 if trains else 2) * rows * sizes.sdf_width * (2 if taps is None else 1)
    layers = sizes.colour_layers * sizes.colour_width
    colour = (3 if trains else 1) * (layers + 2 * sizes.feature_width)
    # Gradients of the sheen are gone before those of the texture are there.
    sheen = layers if isinstance(model.sdf_field, NumericalFieldConfig) else 0
    numbers = encoded + hidden + colour + sheen + _PER_SAMPLE
    return _FLOAT * numbers + (_torch_rows_bytes(sizes, rows) // (1 if trains else 2) if encoding == "torch" else 0)


def _torch_rows_bytes(sizes: Sizes, rows: int) -> int:
    """Plain torch finds the eight corners of every cell first, by whole numbers of eight bytes."""
    return rows * sizes.levels * (8 * 8 * 6 + 8 * _FLOAT * 2 * sizes.features)
