"""What changes while neus-hash trains, each as a share of training, whatever its length."""

from dataclasses import dataclass

from neus_ns.training.schedules import ramp


@dataclass
class SurfaceSchedule:
    """When things happen, in shares of the whole training."""

    first_levels: int = 4
    """Hash grid levels that are active from the start."""
    levels_until: float = 0.5
    """Share of training after which all hash grid levels are active."""
    slope_until: float = 0.1
    """Share of training after which only surfaces that face the ray are opaque (NeuS's cosine annealing)."""

    def active_levels(self, progress: float, levels: int) -> int:
        """Levels open one after another, the coarsest first."""
        opened = (levels - self.first_levels) * ramp(progress, 0.0, self.levels_until)
        return min(levels, self.first_levels + int(opened + 1e-9))

    def slope_sharpness(self, progress: float) -> float:
        """Zero at the start, one from `slope_until` on."""
        return ramp(progress, 0.0, self.slope_until)
