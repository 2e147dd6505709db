"""What changes while neuralangelo-mask-sfm trains, beyond what changes in neus-hash."""

from dataclasses import dataclass

from neus_ns.kernels.layout import GridLayout
from neus_ns.models.schedule import SurfaceSchedule
from neus_ns.training.schedules import exponential, ramp


@dataclass
class NumericalSchedule(SurfaceSchedule):
    """When things happen, in shares of the whole training. The taps' step follows the hash grid's levels."""

    curvature_warmup: float = 0.02
    """Share of training over which the curvature loss rises to its weight, where gradients come from taps."""
    analytic_from: float | None = 0.0
    """Share of training from which gradients are in closed form: without curvature loss, and cheaper. Before that, and
    with None to the end, they come from taps, as in Neuralangelo, which has not earned its time since levels open
    sooner."""
    carve_until: float = 0.7
    """Share of training after which nothing is carved any more, so that what was carved too far can heal."""
    inward_from: float = 0.3
    """Share of training from which the surface is pushed inwards: then it is known whether it shines."""
    points_reach_first: float = 1.0
    """Distance, in radii of the region of interest, beyond which structure-from-motion points count as outliers at the
    start, when the surface is still far from all of them."""
    points_reach_last: float = 0.01
    """The same at the time when the points have faded out."""

    def views_wait(self, has_masks: bool) -> float:
        """Not at all with masks, if nothing is said: what changes with the view is smooth here (`fields.sheen`) and
        excuses no texture that is seen in the wrong place. Without masks what they would have carved is still there."""
        return 0.0 if has_masks and self.view_later is None else super().views_wait(has_masks)

    def curvature_strength(self, progress: float, active_levels: int, layout: GridLayout) -> float:
        """Rises to one, and falls by the grid's growth factor with every level opened (Neuralangelo): finer detail has
        larger second derivatives, and the loss must not forbid it."""
        resolutions = layout.resolutions
        first = resolutions[self.active_levels(0.0, layout.levels) - 1]
        return ramp(progress, 0.0, self.curvature_warmup) * first / resolutions[active_levels - 1]

    def gradients_are_analytic(self, progress: float) -> bool:
        """Whether the taps have had their time."""
        return self.analytic_from is not None and progress >= self.analytic_from

    def inward_strength(self, progress: float) -> float:
        """Zero until `inward_from`, then one."""
        return float(progress >= self.inward_from)

    def carve_strength(self, progress: float) -> float:
        """One as long as it is carved, then zero."""
        return float(progress < self.carve_until)

    def points_reach(self, progress: float) -> float:
        """How far a point may be from the surface without being an outlier; falls by equal ratios."""
        share = ramp(progress, 0.0, self.points_until)
        return exponential(share, self.points_reach_first, self.points_reach_last)
