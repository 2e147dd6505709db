"""What photographs differ in beside what they show: exposure and white balance, a few learned numbers each."""

from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn


class Appearance(nn.Embedding):
    """A code for each photograph, zero at first; without columns there is none."""

    def __init__(self, photographs: int, width: int) -> None:
        super().__init__(photographs, width)
        nn.init.zeros_(self.weight)

    def of(self, bundle: RayBundle) -> Float[Tensor, "rays embedding"]:
        """The photograph's own code in training; elsewhere the mean of all, a plausible look."""
        if self.embedding_dim == 0:
            # On CUDA torch's gradient of an embedding without columns reads where there is no memory.
            return bundle.origins.new_zeros(len(bundle.origins), 0)
        if self.training and bundle.camera_indices is not None:
            return self(bundle.camera_indices[:, 0])
        return self.mean(len(bundle.origins))

    def mean(self, count: int) -> Float[Tensor, "count embedding"]:
        """The mean of all codes, so many times."""
        return self.weight.mean(0).expand(count, -1)
