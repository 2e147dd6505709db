"""A picture among the controls of nerfstudio's viewer."""

import base64
import io
from pathlib import Path

import torch
from jaxtyping import Float
from nerfstudio.viewer.viewer_elements import ViewerElement
from PIL import Image
from torch import Tensor
from viser import GuiMarkdownHandle, ViserServer


class ViewerPicture(ViewerElement[str]):
    """Shows nothing until it is given a picture; without a viewer it is never installed, and `installed` stays False.

    nerfstudio's viewer has no element of this kind, but takes text with pictures in it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._text: GuiMarkdownHandle | None = None

    @property
    def installed(self) -> bool:
        """Whether there is a viewer that shows it."""
        return self._text is not None

    def _create_gui_handle(self, viser_server: ViserServer) -> None:
        # The root is for pictures in files, of which there are none; without one viser warns.
        self._text = viser_server.gui.add_markdown(self.name, image_root=Path(), visible=self.visible)

    def install(self, viser_server: ViserServer) -> None:
        """Called by the viewer when it starts."""
        self._create_gui_handle(viser_server)

    def show(self, picture: Float[Tensor, "h w 3"]) -> None:
        """Put another picture in the place of the last."""
        if self._text is not None:
            self._text.content = f"{self.name}\n\n![{self.name}]({data_url(picture)})"


def data_url(picture: Float[Tensor, "h w 3"]) -> str:
    """A picture with values in 0..1 as a PNG inside a web address."""
    levels = (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
