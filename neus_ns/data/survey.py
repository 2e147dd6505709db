"""What is known of a scene before training: its views, points, region of interest, frame and tracks, found once."""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from neus_ns.data.datamanager import SurfaceDataManager
from neus_ns.data.frame import SceneFrame
from neus_ns.data.mask_margin import with_wider_masks
from neus_ns.data.region import Region, find_region, make_scene_frame
from neus_ns.data.region_choice import chosen_region, require_in_sight
from neus_ns.data.region_options import RegionOptions, SceneType
from neus_ns.data.tracks.record import SfmTracks
from neus_ns.data.views import Views
from neus_ns.data.world import world_from_parser


@dataclass(frozen=True)
class Survey:
    """All in nerfstudio's parser frame; `frame` leads from there to the world and to our unit ball."""

    scene_type: SceneType
    views: Views
    points: Float[Tensor, "points 3"] | None
    region: Region
    frame: SceneFrame
    tracks: SfmTracks | None


def survey(
    manager: SurfaceDataManager,
    scene_type: SceneType,
    options: RegionOptions,
    pose_error_degrees: float = 0.0,
    checkpoint: SceneFrame | None = None,
) -> Survey:
    """Look over the training photographs; raises InputError where no region of interest comes of them.

    Where poses may be off by an angle, masks are widened by it, so that none of them cuts away what others show. The
    frame of a checkpoint goes before all options.
    """
    views = with_wider_masks(manager.views_parser(masks=manager.has_masks), pose_error_degrees)
    points = manager.points_parser()
    outputs, data = manager.train_dataparser_outputs, manager.nerfstudio_capture

    def found() -> Region:
        return find_region(views, points, scene_type, manager.train_mask_names, manager.region_parser)

    if checkpoint is not None:
        how = "taken over from the checkpoint, whose region of interest goes before all options"
        region = Region(checkpoint.parser_from_unit[:3, 3], checkpoint.parser_units_per_unit, how)
    elif options.is_given:
        world = world_from_parser(outputs.dataparser_transform, outputs.dataparser_scale, data)
        region = chosen_region(options, found, world)
        # The masks of a room say nothing about where it is.
        require_in_sight(region, replace(views, masks=None) if scene_type == "indoor" else views, points, world)
    else:
        region = found()
    frame = make_scene_frame(region, outputs.dataparser_transform, outputs.dataparser_scale, data)
    return Survey(scene_type, views, points, region, frame, manager.tracks_parser(views, region))
