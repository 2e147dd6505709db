"""How finely rays are sampled."""

from dataclasses import dataclass

from neus_ns.rays.look import LookPlan
from neus_ns.rays.refine import RefineBudget


@dataclass
class SamplingConfig:
    """How rays are sampled."""

    steps: int = 128
    """Marching sections across the diameter of the region of interest."""
    refine: bool = True
    """Spend samples where the marched weights are (NeuS up-sampling); off: evaluate every marched section."""
    samples_on_surface: float = 10.0
    """Refined samples of a fully opaque ray."""
    samples_anywhere: float = 2.0
    """Refined samples spread evenly over a ray's occupied stretch."""
    grid_resolution: int = 128
    """Cells of the occupancy grid along the region of interest."""
    grid_every: int = 16
    """Steps between updates of the occupancy grid."""
    grid_parts: int = 8
    """Updates in which every cell far from the surface is looked at once; those near it are looked at every time."""

    def plan(self, finer: int) -> LookPlan:
        """The plan of a ray, with this many times the sections and samples."""
        budget = RefineBudget(finer * self.samples_on_surface, finer * self.samples_anywhere)
        return LookPlan(2 / (finer * self.steps), budget if self.refine else None)
