"""The trained scene as one nerfstudio Field: signed distance, colour and sharpness, and the frame they live in."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.base_field import Field
from torch import Tensor

from neus_ns.data.frame import SceneFrame, transform_points
from neus_ns.fields.colour import ColourNetwork
from neus_ns.fields.feature_grid import FeatureGrid
from neus_ns.fields.hash_grid import HashGrid
from neus_ns.fields.looking import LOOKING, ColourDirection
from neus_ns.fields.sdf import SdfNetwork
from neus_ns.fields.sdf_autograd import AutogradSdfNetwork
from neus_ns.fields.sharpness import Sharpness
from neus_ns.fields.sheen import TextureAndSheen
from neus_ns.fields.tcnn_grid import TcnnGrid
from neus_ns.kernels.backend import EncodingBackend
from neus_ns.kernels.layout import GridLayout


@dataclass
class SurfaceFieldConfig:
    """Sizes of the hash grid and of the two small networks behind it."""

    levels: int = 14
    """Levels of the hash grid."""
    features: int = 2
    """Features of a hash grid row."""
    log2_rows: int = 17
    """Rows per level, as a power of two."""
    coarsest: int = 16
    """Cells along the region of interest on the coarsest level."""
    finest: int = 512
    """Cells along the region of interest on the finest level."""
    sdf_width: int = 64
    """Width of the signed distance network's hidden layer."""
    feature_width: int = 15
    """Channels that the signed distance network hands to the colour network."""
    colour_width: int = 64
    """Width of the colour network's hidden layers."""
    colour_layers: int = 2
    """Hidden layers of the colour network."""
    colour: ColourDirection = "both"
    """Direction that colour depends on: the view, the view mirrored at the surface, or both."""
    initial_inv_s: float = 20.0
    """Sharpness of the surface at the start (NeuS: exp(3))."""

    def sdf_network(self, initial_radius: float, inside_out: bool, encoding: EncodingBackend) -> SdfNetwork:
        """The signed distance network on the grid of whoever runs the hash encoding."""
        network = AutogradSdfNetwork if encoding == "tcnn" else SdfNetwork
        return network(self.grid(encoding), self.sdf_width, self.feature_width, initial_radius, inside_out)

    def colour_network(self, appearance: int) -> ColourNetwork | TextureAndSheen:
        """The colour network of these sizes, for so many numbers of appearance."""
        looking = LOOKING[self.colour]
        return ColourNetwork(looking, self.feature_width, appearance, self.colour_width, self.colour_layers)

    def grid(self, encoding: EncodingBackend) -> FeatureGrid:
        """The hash grid of these sizes."""
        layout = GridLayout(self.levels, self.features, self.log2_rows, self.coarsest, self.finest)
        return TcnnGrid(layout, 1.0) if encoding == "tcnn" else HashGrid(layout, 1.0, encoding)


class SurfaceField(Field):
    """Signed distance, colour and sharpness over the unit frame.

    nerfstudio hands points in its own frame; `forward_geonetwork`, `get_density` and `get_outputs` convert at this
    border, everything else speaks unit frame.
    """

    parser_from_unit: Tensor
    world_from_parser: Tensor
    unit_from_parser: Tensor

    def __init__(
        self,
        config: SurfaceFieldConfig,
        initial_radius: float,
        inside_out: bool,
        appearance: int,
        encoding: EncodingBackend,
    ) -> None:
        super().__init__()
        self.sdf_network = config.sdf_network(initial_radius, inside_out, encoding)
        self.colour_network = config.colour_network(appearance)
        self.sharpness = Sharpness(config.initial_inv_s)
        self.appearance_width = appearance
        self.register_buffer("parser_from_unit", torch.eye(4, dtype=torch.float64))
        self.register_buffer("world_from_parser", torch.eye(4, dtype=torch.float64))
        # Follows from the other two; on the device, so that no step has to invert or to wait.
        self.register_buffer("unit_from_parser", torch.eye(4), persistent=False)
        self.frame = SceneFrame.identity()

    def set_frame(self, frame: SceneFrame) -> None:
        self.parser_from_unit.copy_(frame.parser_from_unit)
        self.world_from_parser.copy_(frame.world_from_parser)
        self._take_in_frame()

    def _take_in_frame(self) -> None:
        """Derive from the buffers, which are what a checkpoint holds, what every step wants to know of them."""
        self.frame = SceneFrame(self.parser_from_unit.cpu(), self.world_from_parser.cpu())
        self.unit_from_parser.copy_(self.frame.unit_from_parser)

    def _load_from_state_dict(self, *args) -> None:
        super()._load_from_state_dict(*args)
        self._take_in_frame()

    def sdf_in_ball(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Signed distance continued beyond the unit ball, where nothing was trained, by the way back to it."""
        norm = points.norm(dim=-1)
        inside = points / norm.clamp_min(1.0)[:, None]
        return self.sdf_network.sdf(inside) + (norm - 1).clamp_min(0)

    def forward_geonetwork(self, points_parser: Float[Tensor, "points 3"]) -> Float[Tensor, "points 1"]:
        """Signed distance in nerfstudio's frame and scale: the name its marching-cubes exporter calls."""
        frame = self.frame
        points = transform_points(frame.unit_from_parser, points_parser)
        return self.sdf_in_ball(points)[:, None] * frame.parser_units_per_unit

    def get_density(self, ray_samples: RaySamples) -> tuple[Tensor, Tensor]:
        """NeuS's density seen head on, s sigmoid(-s f), per unit of nerfstudio's frame, and what colour needs."""
        positions = ray_samples.frustums.get_positions()
        frame = self.frame
        sample = self.sdf_network.sample(transform_points(frame.unit_from_parser, positions.reshape(-1, 3)))
        inv_s = self.sharpness()
        density = inv_s * torch.sigmoid(-inv_s * sample.sdf) / frame.parser_units_per_unit
        embedding = torch.cat([sample.gradient, sample.feature], 1)
        shape = positions.shape[:-1]
        return density.view(*shape, 1), embedding.view(*shape, -1)

    def get_outputs(
        self, ray_samples: RaySamples, density_embedding: Tensor | None = None
    ) -> dict[FieldHeadNames, Tensor]:
        """Colour of the samples, with a neutral appearance."""
        if density_embedding is None:
            _, density_embedding = self.get_density(ray_samples)
        positions = ray_samples.frustums.get_positions()
        points = transform_points(self.frame.unit_from_parser, positions.reshape(-1, 3))
        directions = ray_samples.frustums.directions.expand_as(positions).reshape(-1, 3)
        gradient, feature = density_embedding.reshape(len(points), -1).split([3, density_embedding.shape[-1] - 3], 1)
        neutral = points.new_zeros(len(points), self.appearance_width)
        colour = self.colour_network(points, directions, gradient, feature, neutral)
        return {FieldHeadNames.RGB: colour.view_as(positions)}
