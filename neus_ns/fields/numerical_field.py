"""Sizes of a field whose gradients may be numerical, and whose texture is the same from everywhere."""

from dataclasses import dataclass
from typing import Literal

from neus_ns.fields.looking import LOOKING
from neus_ns.fields.sdf import SdfNetwork
from neus_ns.fields.sdf_numerical import NumericalAutogradSdfNetwork, NumericalSdfNetwork
from neus_ns.fields.sheen import TextureAndSheen
from neus_ns.fields.surface_field import SurfaceFieldConfig
from neus_ns.kernels.backend import EncodingBackend


@dataclass
class NumericalFieldConfig(SurfaceFieldConfig):
    """Sizes of the hash grid and the networks, and where gradients are taken from."""

    taps: Literal[4, 6] = 4
    """Points around each sample that its gradient is taken from, while it is (the schedule's `analytic_from`; by
    default never): a tetrahedron, or pairs along the axes (a third dearer)."""
    step_cells: float = 1.0
    """Distance of these points from the sample, if they are asked at all, in cells of the finest active level of the
    hash grid."""

    def sdf_network(self, initial_radius: float, inside_out: bool, encoding: EncodingBackend) -> SdfNetwork:
        """The signed distance network on the grid of whoever runs the hash encoding."""
        network = NumericalAutogradSdfNetwork if encoding == "tcnn" else NumericalSdfNetwork
        grid = self.grid(encoding)
        sizes = (self.sdf_width, self.feature_width, initial_radius, inside_out)
        return network(grid, *sizes, self.taps, self.step_cells)

    def colour_network(self, appearance: int) -> TextureAndSheen:
        """Two networks of these sizes, one for what no view changes and one for what views change."""
        looking = LOOKING[self.colour]
        return TextureAndSheen(looking, self.feature_width, appearance, self.colour_width, self.colour_layers)
