"""Defaults that nerfstudio leaves to the user: a device that exists, and a viewer that only this machine can open."""

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig


def default_machine() -> MachineConfig:
    """nerfstudio's machine, on CUDA where there is some and on the CPU otherwise."""
    return MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu")


def default_viewer() -> ViewerConfig:
    """nerfstudio's viewer, bound to the loopback address: photographs are private until the user says otherwise."""
    return ViewerConfig(websocket_host="127.0.0.1")
