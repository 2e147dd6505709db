"""The menu: every method that nerfstudio learns from us, each with only its differences from another.

nerfstudio imports this module while it builds its list of methods, so nothing here may fail or be slow.
"""

from nerfstudio.plugins.types import MethodSpecification

from neus_ns.cli.nerfstudio_export import register_mesh_subcommand
from neus_ns.data.witness_pixels import WitnessDataManagerConfig
from neus_ns.errors import print_input_errors_plainly
from neus_ns.models.neuralangelo import NeuralangeloModelConfig
from neus_ns.models.pipeline import SurfacePipelineConfig
from neus_ns.training.learning_rate import ProgressSchedulerConfig
from neus_ns.training.optimizers import FusedAdamConfig, FusedAdamWConfig
from neus_ns.training.trainer import SurfaceTrainerConfig

register_mesh_subcommand()
print_input_errors_plainly()


def neus_hash_config() -> SurfaceTrainerConfig:
    """A fresh configuration of neus-hash."""
    return SurfaceTrainerConfig(
        method_name="neus-hash",
        max_num_iterations=20_000,
        steps_per_save=2000,
        # Evaluation counts towards --max-minutes, and on a CPU one photograph takes as long as hundreds of steps.
        steps_per_eval_batch=0,
        steps_per_eval_image=5000,
        steps_per_eval_all_images=1_000_000,
        vis="viewer+tensorboard",
        pipeline=SurfacePipelineConfig(),
        optimizers={
            "tables": {
                "optimizer": FusedAdamConfig(lr=1e-2, keep_gradients=True),
                "scheduler": ProgressSchedulerConfig(),
            },
            "networks": {"optimizer": FusedAdamConfig(lr=2e-3), "scheduler": ProgressSchedulerConfig()},
            "sharpness": {"optimizer": FusedAdamConfig(lr=1e-3), "scheduler": ProgressSchedulerConfig()},
            # Used with --pipeline.model.cameras.optimise only. A shape must have begun before poses can be told wrong.
            "cameras": {
                "optimizer": FusedAdamConfig(lr=1e-3),
                "scheduler": ProgressSchedulerConfig(delay=0.1, final_ratio=0.01, shape="exponential"),
            },
        },
    )


neus_hash = MethodSpecification(
    neus_hash_config(),
    description="NeuS on a hash grid, marching only where the surface can be: photographs to mesh, fast, CPU or CUDA.",
)


def neuralangelo_mask_sfm_config() -> SurfaceTrainerConfig:
    """A fresh configuration of neuralangelo-mask-sfm."""
    config = neus_hash_config()
    config.method_name = "neuralangelo-mask-sfm"
    config.pipeline = SurfacePipelineConfig(
        datamanager=WitnessDataManagerConfig(), model=NeuralangeloModelConfig(), preset="auto"
    )
    # Neuralangelo's weight decay, which spares neither tables nor biases; sharpness is a length, not a weight.
    tables = FusedAdamWConfig(lr=1e-2, weight_decay=1e-2, keep_gradients=True)
    networks = FusedAdamWConfig(lr=2e-3, weight_decay=1e-2)
    config.optimizers |= {
        "tables": {"optimizer": tables, "scheduler": ProgressSchedulerConfig()},
        "networks": {"optimizer": networks, "scheduler": ProgressSchedulerConfig()},
    }
    return config


neuralangelo_mask_sfm = MethodSpecification(
    neuralangelo_mask_sfm_config(),
    description="Detail on a hash grid: patches of photographs, masks and structure-from-motion points as witnesses.",
)
