"""A method module that registers `ns-export mesh` while nerfstudio discovers it, as `neus_ns.methods` does."""

from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification

from neus_ns.cli.nerfstudio_export import register_mesh_subcommand

register_mesh_subcommand()

method = MethodSpecification(TrainerConfig(method_name="exporter-test"), description="Registers ns-export mesh.")
