"""Where photographs keep saying that the surface cannot be there.

Right beside the true surface patches of photographs tell which way it is; farther off all they say is that they do not
agree. One patch alone says so in error as well, at thin things and at edges. But where nearly all of them disagree,
seen from everywhere, what they show must lie behind: a lid over a hollow, a web between two columns. (Kutulakos and
Seitz's space carving takes away what photographs disagree about; here that much has to be heard of a place first.)
While the whole is still rough they disagree everywhere, and thin things would go: until most agree nothing is refuted.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neus_ns.pixels.ranks import summed_over_ranks

# Cells along the unit box: a few patches wide, so that a handful is heard of each in every hundred steps.
_CELLS = 48
# What is kept from step to step of what was heard: the surface moves, and a hundred steps ago it was elsewhere.
_KEPT = 0.99
# Patches that a cell is taken to have heard agreeing before the first: few are not enough.
_AGREEING = 1.0
# Share of the patches of a cell that disagree from which on it is refuted at all, and in full.
_SOME, _ALL = 0.45, 0.6
# Share of all patches that disagree above which nothing is refuted yet, and below which it is in full.
_ROUGH, _FORMED = 0.25, 0.2


class RefutedSpace(nn.Module):
    """Counts of patches by place; part of the checkpoint, so that a resumed run carves as an unbroken one."""

    doubted: Tensor
    heard: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("doubted", torch.zeros(_CELLS**3))
        self.register_buffer("heard", torch.zeros(_CELLS**3))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Checkpoints from before anything was carved have heard nothing.
        for name, counts in self.named_buffers():
            state_dict.setdefault(prefix + name, counts)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def hear(
        self, points: Float[Tensor, "patches 3"], doubt: Float[Tensor, " patches"], telling: Float[Tensor, " patches"]
    ) -> None:
        """Take in the patches of a step: where they are, how far each disagrees and how much it tells, 0 to 1.

        Of all processes: they train one surface, and each hears only the patches of its own rays.
        """
        said = torch.stack([doubt * telling, telling]).to(self.heard)
        by_cell = said.new_zeros(2, _CELLS**3).index_add_(1, self._cells(points), said)
        for sums, news in zip((self.doubted, self.heard), summed_over_ranks(by_cell), strict=True):
            sums.mul_(_KEPT).add_(news)

    @torch.no_grad()
    def refuted(self, points: Float[Tensor, "patches 3"]) -> Float[Tensor, " patches"]:
        """How far it is known that there is no surface where these are, 0 to 1."""
        cells = self._cells(points)
        share = self.doubted[cells] / (self.heard[cells] + _AGREEING)
        of_all = self.doubted.sum() / (self.heard.sum() + _AGREEING)
        return _ramp(share, _SOME, _ALL) * _ramp(of_all, _ROUGH, _FORMED)

    @staticmethod
    def _cells(points: Float[Tensor, "patches 3"]) -> Tensor:
        x, y, z = ((points + 1) * (_CELLS / 2)).long().clamp(0, _CELLS - 1).unbind(-1)
        return (x * _CELLS + y) * _CELLS + z


def _ramp(value: Float[Tensor, "*batch"], none: float, all_: float) -> Float[Tensor, "*batch"]:
    """From 0 at `none` to 1 at `all_`, the greater of the two or the less."""
    return ((value - none) / (all_ - none)).clamp(0, 1)
