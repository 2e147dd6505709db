"""What changes while neus-hash trains, each as a share of training, whatever its length."""

from dataclasses import dataclass

from neus_ns.models.gloss import DECIDED_AT
from neus_ns.training.schedules import ramp

# By what factor the ceiling of sharpness rises before it is lifted altogether.
_SHARPENING = 50.0
# Share of training by which views are later where nothing shines.
_VIEW_LATER = 0.2
# Contrast in grey levels of 255, the largest near it, at which a pixel is half taken as plain in the end.
_PLAIN = 4.0


@dataclass
class SurfaceSchedule:
    """When things happen, in shares of the whole training."""

    first_levels: int = 4
    """Hash grid levels that are active from the start."""
    levels_until: float = 0.2
    """Share of training after which all hash grid levels are active; 0: from the start. The sooner, the better
    are short trainings of matt things, and the worse mirrors."""
    batch_first: float = 0.5
    """Share of a step's samples that training starts with: at first more steps bring more than larger ones."""
    batch_until: float = 0.5
    """Share of training over which that share rises to all of them."""

    slope_until: float = 0.1
    """Share of training after which only surfaces that face the ray are opaque (NeuS's cosine annealing)."""

    blurred_until: float = 0.8
    """Share of training after which the surface may be as sharp as it learns to be."""

    points_until: float = 0.5
    """Share of training over which the structure-from-motion points fade out; their noise is not the last word."""

    view_from: float = 0.3
    """Share of training from which colour may depend on the view direction; before, a surface can only explain parallax
    by moving."""
    view_until: float = 0.5
    """Share of training from which the view direction counts in full."""
    view_later: float | None = None
    """So much later both are where nothing shines (`models.gloss`): then parallax alone goes on shaping the surface.
    That is known at 30 % of training; if `view_from` is before, nothing is later. None: 0.2, but
    neuralangelo-mask-sfm with masks 0."""

    plain_from: float | None = None
    """Share of training from which what is plain far and wide is flattened, if anything. None: from the start with
    masks and indoors, else 0.2: it would hold up an object that is still to find its shape, and let parts of it go."""
    plain_until: float | None = None
    """Share of training up to which ever more counts as plain: while masks' hull is still carved, what is only a little
    plain would be held up. None: 0.4 with masks, from the start in full indoors, else 0.35."""

    covered_until: float = 0.3
    """Share of training over which an object without masks must cover what of the ground no photograph shows: else its
    foot, if it is plain, might as well be painted on the ground."""

    patches_from: float = 0.3
    """Share of training from which photographs are compared by patches: a surface must be nearly right for that, and
    it must be known whether it mirrors, since then they are not."""
    patches_rise: float = 0.1
    """Share of training over which their weight then rises."""

    def batch_share(self, progress: float) -> float:
        """Share of a step's samples that are taken: from `batch_first` up to one at `batch_until`."""
        return self.batch_first + (1 - self.batch_first) * ramp(progress, 0.0, self.batch_until)

    def view_strength(self, progress: float, matt: bool, has_masks: bool) -> float:
        """Zero until `view_from`, one from `view_until` on, both later for what is matt."""
        # What has begun is not taken back.
        later = self.views_wait(has_masks) if matt and self.view_from >= DECIDED_AT else 0.0
        return ramp(progress, self.view_from + later, self.view_until + later)

    def views_wait(self, has_masks: bool) -> float:
        """How much later colour may depend on the view where nothing shines."""
        return _VIEW_LATER if self.view_later is None else self.view_later

    def points_strength(self, progress: float) -> float:
        """One at the start, falling to zero at `points_until`."""
        return 1 - ramp(progress, 0.0, self.points_until)

    def plain_limit(self, progress: float, suited_start: float, suited_full: float) -> float:
        """Contrast in grey levels below which a photograph is plain: from zero up, between the user's times or those
        that suit the scene."""
        start = suited_start if self.plain_from is None else self.plain_from
        full = suited_full if self.plain_until is None else self.plain_until
        # Who asks for a later start than what suits the end means it.
        return _PLAIN * ramp(progress, start, max(start, full))

    def patches_strength(self, progress: float) -> float:
        """Zero until `patches_from`, one when `patches_rise` has passed as well."""
        return ramp(progress, self.patches_from, self.patches_from + self.patches_rise)

    def sharpness_ceiling(self, progress: float, initial_inv_s: float) -> float:
        """How sharp the surface may be: from twice the initial sharpness up by a constant factor per share of time."""
        if progress >= self.blurred_until:
            return float("inf")
        return 2 * initial_inv_s * _SHARPENING ** (progress / self.blurred_until)

    def active_levels(self, progress: float, levels: int) -> int:
        """Levels open one after another, the coarsest first."""
        opened = (levels - self.first_levels) * ramp(progress, 0.0, self.levels_until)
        return min(levels, self.first_levels + int(opened + 1e-9))

    def slope_sharpness(self, progress: float) -> float:
        """Zero at the start, one from `slope_until` on."""
        return ramp(progress, 0.0, self.slope_until)
