"""What a report's facts mean: what was assumed and which option changes it, and where training will go badly.

Options are named as `ns-train neus-hash` takes them. A warning is one sentence and ends with the cure.
"""

from dataclasses import dataclass

from neus_ns.data.region_masks import INVERTED_REMARK
from neus_ns.data.report.facts import SceneFacts

_LEAST_DIAMETER_PX = 20
_LEAST_COVERAGE = 0.05
_LEAST_VIEWS = 8
_LEAST_SIDE_PX = 320
# Neighbours closer than this give little depth, unless other views stand further apart.
_LEAST_BASELINE_DEGREES, _LEAST_WIDEST_DEGREES = 2.0, 10.0
_WIDEST_GAP_DEGREES = 60.0
_LEAST_POINTS_INSIDE = 0.05


@dataclass(frozen=True)
class Assumption:
    """Something that nobody said, and the option by which to say otherwise."""

    what: str
    option: str


def assumptions(facts: SceneFacts) -> list[Assumption]:
    """What was assumed of a scene."""
    found = [
        Assumption(f"scene type {facts.scene_type}", "--pipeline.model.scene-type object|indoor|unbounded"),
        Assumption(f"format {facts.format}", "a parser at the end of the command, such as nerfstudio-data or colmap"),
        Assumption(f"region from {facts.region_how}", "--pipeline.region.centre, .radius, .box or .file"),
    ]
    least, most = facts.photograph_scales
    if least < 1:
        share = f"{least:.0%}" if most - least < 0.01 else f"{least:.0%} to {most:.0%}"
        found.append(
            Assumption(
                f"photographs read at {share} of their size",
                "--pipeline.datamanager.longest-side, or .camera-res-scale-factor 1",
            )
        )
    if facts.masks_from is None:
        rest = "all that is seen is surface" if facts.scene_type == "indoor" else "the background is learned"
        found.append(Assumption(f"no masks: {rest}", "masks/ beside the images, or alpha"))
    else:
        found.append(
            Assumption(
                f"masks from {facts.masks_from}: white is object",
                "--pipeline.datamanager.masks False, to train without",
            )
        )
    if facts.points == 0:
        found.append(Assumption("no SfM points to hold the surface", "neus-poses align, where there is texture"))
    if facts.held_out:
        found.append(
            Assumption(
                f"{facts.held_out} photographs held out for evaluation",
                "the parser's --eval-mode all (nerfstudio-data) or --eval-interval 0",
            )
        )
    return found


def warnings(facts: SceneFacts) -> list[str]:
    """Where training will fail or be poor."""
    return [*_photograph_warnings(facts), *_place_warnings(facts), *_angle_warnings(facts)]


def _photograph_warnings(facts: SceneFacts) -> list[str]:
    found = []
    if facts.photographs < _LEAST_VIEWS:
        found.append(
            f"There are only {facts.photographs} photographs to train on, which leave most of a surface to guesses; "
            f"take at least {_LEAST_VIEWS}, better 30, from all around, or hold fewer out for evaluation."
        )
    width, height = facts.smallest_photograph
    if max(width, height) < _LEAST_SIDE_PX:
        found.append(
            f"Some photographs are only {width}x{height} pixels, so detail is lost; use larger ones, or a smaller "
            "downscale factor."
        )
    if facts.mask_coverage is not None and facts.mask_coverage.median < _LEAST_COVERAGE:
        found.append(
            f"The masks mark only {facts.mask_coverage.median:.1%} of the photographs as object, so few pixels teach "
            "its surface; go nearer, or crop the photographs and correct cx, cy, w and h."
        )
    if facts.object_diameter_px is not None and facts.object_diameter_px.median < _LEAST_DIAMETER_PX:
        found.append(
            f"The object is only {facts.object_diameter_px.median:.0f} pixels wide in the photographs, too few for a "
            "surface; go nearer, use photographs at full size, or set --pipeline.region.radius if the region is too "
            "small."
        )
    blurred = facts.blurred_photographs
    if blurred:
        more = f" and {len(blurred) - 3} more" if len(blurred) > 3 else ""
        found.append(
            f"Photographs look blurred beside the others ({', '.join(blurred[:3])}{more}), which smears the surface; "
            "remove them from the capture, or take them again."
        )
    return found


def _place_warnings(facts: SceneFacts) -> list[str]:
    found = []
    inside = round(facts.share_of_cameras_inside * facts.photographs)
    if facts.scene_type == "object" and inside:
        found.append(
            f"{inside} of {facts.photographs} cameras stand inside the region of interest, so an object would surround "
            "them; set --pipeline.model.scene-type indoor or unbounded, or a smaller --pipeline.region.radius."
        )
    if facts.points == 0 and facts.masks_from is None and facts.region_how.startswith("cameras"):
        found.append(
            "There are neither masks nor SfM points, so the region of interest is a guess from the cameras alone; add "
            "one of them, or set --pipeline.region.centre and --pipeline.region.radius."
        )
    if INVERTED_REMARK in facts.region_how:
        found.append(
            "Most masks are white all along the photographs' edges, as if they marked the background; look at the "
            "picture of the scene, and invert the masks if black is the object."
        )
    share = facts.share_of_points_inside
    if share is not None and share < _LEAST_POINTS_INSIDE:
        found.append(
            f"Only {share:.1%} of the SfM points are inside the region of interest, so it may be misplaced; look at "
            "the picture of the scene, and set --pipeline.region.centre and --pipeline.region.radius if so."
        )
    return found


def _angle_warnings(facts: SceneFacts) -> list[str]:
    angles = facts.view_angles_degrees
    if angles is None:
        return []
    found = []
    if angles.neighbour < _LEAST_BASELINE_DEGREES and angles.widest < _LEAST_WIDEST_DEGREES:
        found.append(
            f"All photographs were taken within {angles.widest:.1f} degrees as seen from the scene's middle, which "
            "hardly shows depth; move further between photographs."
        )
    if angles.gap > _WIDEST_GAP_DEGREES:
        found.append(
            f"There is a gap of {angles.gap:.0f} degrees between neighbouring photographs, across which nothing is "
            "seen twice; take some in between."
        )
    return found
