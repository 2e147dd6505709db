"""The scene frame: the one record that joins the user's world, nerfstudio's normalised frame and our unit box.

Three frames meet in a run. `world` is the user's (the poses as written in transforms.json, in the user's units);
`parser` is what nerfstudio's dataparser hands out after it orients, centres and scales the poses; `unit` is where
fields live, with the region of interest inside the unit ball. Every exporter inverts this record, so that sizes come
out in the user's units.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def similarity(scale: float, translation: Float[Tensor, "3"]) -> Float[Tensor, "4 4"]:
    """The 4x4 matrix of x -> scale * x + translation, in float64."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] *= scale
    matrix[:3, 3] = translation.double()
    return matrix


def transform_points(matrix: Float[Tensor, "4 4"], points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Apply a similarity to points, keeping the points' dtype and device."""
    matrix = matrix.to(points)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def agree(first: Float[Tensor, "4 4"], second: Float[Tensor, "4 4"]) -> bool:
    """Whether two similarities take the unit box to the same place, but for what float32 and a solver may differ by."""
    size = float(torch.linalg.det(first[:3, :3].double()).abs() ** (1 / 3))
    return float((first.double() - second.double()).abs().max()) <= 1e-4 * size


@dataclass(frozen=True)
class SceneFrame:
    """Two similarities, float64, that take unit points to nerfstudio's frame and on to the user's world."""

    parser_from_unit: Float[Tensor, "4 4"]
    world_from_parser: Float[Tensor, "4 4"]

    @property
    def parser_units_per_unit(self) -> float:
        """Length in nerfstudio's frame of one unit of ours (the radius of the region of interest there)."""
        return float(torch.linalg.det(self.parser_from_unit[:3, :3].double()).abs() ** (1 / 3))

    @property
    def unit_from_parser(self) -> Float[Tensor, "4 4"]:
        return torch.linalg.inv(self.parser_from_unit)

    @property
    def world_from_unit(self) -> Float[Tensor, "4 4"]:
        return self.world_from_parser @ self.parser_from_unit

    @property
    def world_units_per_unit(self) -> float:
        """Length in the user's world of one unit of ours."""
        return float(torch.linalg.det(self.world_from_unit[:3, :3]).abs() ** (1 / 3))

    @staticmethod
    def identity() -> "SceneFrame":
        return SceneFrame(torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64))
