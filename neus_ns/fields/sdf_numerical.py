"""The signed distance network with numerical gradients (Neuralangelo): finite differences over a cell of the grid.

The analytic gradient of a trilinear cell says nothing of the next cell. One taken from taps a cell away trains all the
cells that the taps fall in, so neighbouring cells come to agree; as finer levels are switched on the step shrinks with
them. The same taps give the Laplacian, which is what the curvature loss looks at.

With taps at d_i r (`kernels.taps`), for which sum_i d_i = 0 and sum_i d_i d_i^T = c 1 (c = 4 for 4 taps, 2 for 6):

    gradient  = sum_i d_i (f_i - f) / (c r)           Laplacian = 2 sum_i (f_i - f) / (c r^2)

The step follows from the number of active levels, which lives in the checkpoint.
"""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from neus_ns.fields.feature_grid import FeatureGrid
from neus_ns.fields.sdf import BETA, SdfNetwork, SdfSample
from neus_ns.fields.sdf_autograd import AutogradSdfNetwork
from neus_ns.fields.stencil_function import sdf_on_stencil
from neus_ns.kernels.taps import directions, reach


@functools.lru_cache(maxsize=16)
def _stencil(taps: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "{taps}+1 3"]:
    """The point itself and the taps' directions; kept, since copying them to a device makes the host wait for it."""
    # Whoever asks first may be evaluating, and what inference mode makes can never be trained through.
    with torch.inference_mode(False):
        return torch.tensor(((0, 0, 0), *directions(taps)), dtype=dtype, device=device)


def gradient_and_laplacian(
    change: Float[Tensor, "points taps"], half_width: float
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"]]:
    """From how much a function is larger at each tap, `half_width` away, than at its point."""
    taps = change.shape[1]
    towards = _stencil(taps, change.dtype, change.device)[1:]
    spread = float(sum(x * x for x, _, _ in directions(taps)))
    along_axis = reach(half_width, taps)
    gradient = change @ (towards / (spread * along_axis))
    return gradient, change.sum(1) * (2 / (spread * along_axis**2))


class NumericalSdfNetwork(SdfNetwork):
    """`SdfNetwork` whose gradient comes from taps around each point, or from the jet once `analytic` is set."""

    def __init__(
        self,
        grid: FeatureGrid,
        width: int,
        features: int,
        initial_radius: float,
        inside_out: bool,
        taps: int,
        step_cells: float,
    ) -> None:
        super().__init__(grid, width, features, initial_radius, inside_out)
        self.taps, self.step_cells = taps, step_cells
        # Set by schedule.
        self.analytic = False

    @property
    def step(self) -> float:
        """How far the taps are from their point, in units of the unit frame."""
        return self.step_cells * self.grid.finest_cell

    def sample(self, points: Float[Tensor, "points 3"]) -> SdfSample:
        """Signed distance, gradient and Laplacian by finite differences, and the feature."""
        if self.analytic:
            return super().sample(points)
        step = self.step
        offsets = _stencil(self.taps, points.dtype, points.device) * reach(step, self.taps)
        encoded = self.grid.stencil(points, step, self.taps)
        distance, feature = sdf_on_stencil(points, offsets, encoded, self.hidden, self.output, BETA)
        sdf = distance[:, 0]
        gradient, laplacian = gradient_and_laplacian(distance[:, 1:] - sdf[:, None], step)
        return SdfSample(sdf, gradient, feature, laplacian)


class NumericalAutogradSdfNetwork(NumericalSdfNetwork, AutogradSdfNetwork):
    """The same on a grid that knows values only, whose analytic gradient is torch's."""
