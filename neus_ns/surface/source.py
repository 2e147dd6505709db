"""What the surface room needs of a trained model: callables and records, never the model itself."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from neus_ns.data.frame import SceneFrame
from neus_ns.data.views import Views as Views

# Signed distance at points of the unit box [-1, 1]^3, positive outside.
SdfFn = Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]]
# Colour in [0, 1] at surface points, seen along -normal.
ColourFn = Callable[[Float[Tensor, "points 3"], Float[Tensor, "points 3"]], Float[Tensor, "points 3"]]


@dataclass(frozen=True)
class SurfaceSource:
    """A trained surface, ready to be turned into a mesh.

    `may_hold_surface` is a cube of cells over the unit box, indexed [x, y, z]: where it is False there is no surface,
    so nothing is evaluated there. `views` stand in the world frame. Both callables are handed float32 points on the
    device of `may_hold_surface`, with gradients off.
    """

    sdf_fn: SdfFn
    colour_fn: ColourFn
    may_hold_surface: Bool[Tensor, "res res res"]
    frame: SceneFrame
    views: Views | None
