"""What nerfstudio learns of our readers, by the entry points of `nerfstudio.dataparser_configs`.

nerfstudio imports this module on every command, whatever the method, so nothing here may fail or be slow.
"""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from neus_ns.data.sources.angle_json import OmniObjectDataParserConfig
from neus_ns.data.sources.auto import AutoDataParserConfig
from neus_ns.data.sources.blended_mvs import BlendedMVSDataParserConfig
from neus_ns.data.sources.dtu import DTUDataParserConfig
from neus_ns.data.sources.middlebury import MiddleburyDataParserConfig

auto_data = DataParserSpecification(AutoDataParserConfig(), "Any capture; its format is recognised.")
dtu_data = DataParserSpecification(DTUDataParserConfig(), "DTU, IDR and NeuS: image/, mask/, cameras_sphere.npz.")
blended_mvs_data = DataParserSpecification(BlendedMVSDataParserConfig(), "BlendedMVS: blended_images/, cams/.")
middlebury_data = DataParserSpecification(MiddleburyDataParserConfig(), "Middlebury multi-view stereo: *_par.txt.")
omniobject_data = DataParserSpecification(
    OmniObjectDataParserConfig(), "OmniObject3D: transforms.json with camera_angle_x."
)
