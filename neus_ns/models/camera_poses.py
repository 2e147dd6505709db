"""Corrections to the poses of the training photographs, learned with the surface.

A correction turns a camera about itself and shifts it, because that is how poses are wrong: orientation and position
are each off by a little, on their own. A single photograph hardly tells a turn of its camera from a step sideways. Put
as a motion about the scene, the step would be as near as the turn, and a wrong orientation would be mended by a wrong
position. Put this way, with turns alone at first, what photographs do not decide stays as it was recorded.

Moving all cameras alike, or away from their middle, shows the same pictures of a scene that moved or grew with them.
That common part is taken out of the corrections wherever they are used: the surface, the masks' hull, the
structure-from-motion points and the user's world stay where they are. A tilt that all cameras have in common, each
about its own axes, goes as well: it is what a wrong principal point looks like, photographs hardly tell it from a scene
that lies elsewhere, and while the surface is still blurred it would drift by more than such errors ever were.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import Parameter

from neus_ns.data.se3 import rotation_matrix
from neus_ns.data.views import Views

# A step of the optimiser shifts a camera by this many units where it turns it by one radian.
_SHIFT = 0.3


@dataclass
class CameraPosesConfig:
    """Whether training corrects the poses, and what it may assume of them."""

    optimise: bool = False
    """Correct the pose of every training photograph while the surface is learned; its learning rate and schedule are
    those of --optimizers.cameras. For captures without texture: where there is some, `neus-poses align` finds more."""
    largest_error: float = 2.5
    """How far off, in degrees as seen from a camera, the poses may be before they are corrected: nothing nearer than
    this to a mask's outline is ruled out."""
    turn_only_until: float = 0.25
    """Share of training before which cameras are only turned; positions follow when orientations are nearly right."""


class CameraPoses(nn.Module):
    """One correction for each training photograph, in the unit frame: none at the start."""

    common: Tensor
    shifts_too: bool
    """Whether gradients reach the positions; set by schedule."""

    def __init__(self, num_views: int) -> None:
        super().__init__()
        self.motion = Parameter(torch.zeros(num_views, 6))
        self.shifts_too = True
        # What all cameras may have in common, as orthonormal directions of `motion`; saved, since exporters need it.
        self.register_buffer("common", torch.zeros(num_views, 6, 9))

    def set_cameras(self, poses: Float[Tensor, "views 3 4"]) -> None:
        """Take in the uncorrected cameras, in the unit frame."""
        poses = poses.double()
        centres = poses[:, :, 3]
        eye = torch.eye(3, dtype=poses.dtype, device=poses.device).expand(len(poses), 3, 3)
        zero = torch.zeros_like(eye)
        # Column k of a turn's part: how a turn about axis k moves the centre.
        by_turn = torch.linalg.cross(eye, centres[:, None, :].expand_as(eye)).transpose(1, 2) / _SHIFT
        turns, shifts = torch.cat([eye, by_turn], 1), torch.cat([zero, eye], 1)
        growth = torch.cat([torch.zeros_like(centres), centres - centres.mean(0)], 1)[:, :, None]
        tilts = torch.cat([poses[:, :, :2], zero[:, :, :2]], 1)
        directions = torch.cat([turns, shifts, growth, tilts], 2).flatten(0, 1)
        basis, strength, _ = torch.linalg.svd(directions / directions.norm(dim=0).clamp_min(1e-12), full_matrices=False)
        # Cameras that stand in one place cannot grow apart: such directions are none.
        basis = basis * (strength > 1e-6 * strength[0])
        self.common.zero_()
        self.common[:, :, : basis.shape[1]] = basis.view(len(poses), 6, -1).to(self.common)

    def corrections(self) -> Float[Tensor, "views 6"]:
        """Rotation vector and shift of each camera, without what is common to all: motion, growth, tilt."""
        motion = self.motion
        if not self.shifts_too:
            motion = torch.cat([motion[:, :3], motion[:, 3:].detach()], 1)
        motion = motion - self.common @ torch.tensordot(motion, self.common, dims=2)
        return torch.cat([motion[:, :3], _SHIFT * motion[:, 3:]], 1)

    def forward(
        self, origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], view: Int[Tensor, " rays"]
    ) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 3"]]:
        """Rays of the unit frame where their photographs' corrections take them."""
        corrections = self.corrections()
        rotation = rotation_matrix(corrections[:, :3]).flatten(1).index_select(0, view).unflatten(1, (3, 3))
        shift = corrections[:, 3:].index_select(0, view)
        return origins + shift, (rotation @ directions[..., None])[..., 0]

    @torch.no_grad()
    def refined(self, views_unit: Views) -> Views:
        """The training views, given in the unit frame, with their corrections."""
        poses = views_unit.world_from_camera
        corrections = self.corrections().to(poses)
        axes = rotation_matrix(corrections[:, :3]) @ poses[:, :, :3]
        centres = poses[:, :, 3] + corrections[:, 3:]
        return replace(views_unit, world_from_camera=torch.cat([axes, centres[..., None]], 2))
