"""Pixels by a map of running errors that is redrawn ever more rarely (instant-ngp, NeuS2)."""

from dataclasses import dataclass, field

from neus_ns.pixels.running_error import RunningErrorConfig, RunningErrorSampler


@dataclass
class ErrorMapPixelSamplerConfig(RunningErrorConfig):
    """By the running error of every pixel, mixed with uniform."""

    _target: type = field(default_factory=lambda: ErrorMapPixelSampler)
    """Target class to instantiate."""


class ErrorMapPixelSampler(RunningErrorSampler):
    """Of a run of 20000 steps the map is redrawn first after 128, and then at intervals that grow by half each."""

    config: ErrorMapPixelSamplerConfig
    first_interval, interval_growth = 128 / 20_000, 1.5
