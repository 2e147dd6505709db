"""All strategies by name, and how one is chosen with its options by a single word of the command line."""

import ast
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from neus_ns.errors import InputError
from neus_ns.pixels.base import SurfacePixelSamplerConfig
from neus_ns.pixels.block_error import BlockErrorPixelSamplerConfig
from neus_ns.pixels.context_std import ContextStdPixelSamplerConfig
from neus_ns.pixels.edges import EdgesPixelSamplerConfig
from neus_ns.pixels.error_map import ErrorMapPixelSamplerConfig
from neus_ns.pixels.interest_points import InterestPointsPixelSamplerConfig
from neus_ns.pixels.interest_regions import InterestRegionsPixelSamplerConfig
from neus_ns.pixels.latin_hypercube import LatinHypercubePixelSamplerConfig
from neus_ns.pixels.multinomial import MultinomialPixelSamplerConfig
from neus_ns.pixels.quadtree import QuadtreePixelSamplerConfig
from neus_ns.pixels.silhouette import SilhouettePixelSamplerConfig
from neus_ns.pixels.soft_mining import SoftMiningPixelSamplerConfig
from neus_ns.pixels.textured_error import TexturedErrorPixelSamplerConfig
from neus_ns.pixels.uniform import UniformPixelSamplerConfig

SAMPLERS: Mapping[str, type[SurfacePixelSamplerConfig]] = {
    "uniform": UniformPixelSamplerConfig,
    "latin-hypercube": LatinHypercubePixelSamplerConfig,
    "context-std": ContextStdPixelSamplerConfig,
    "quadtree": QuadtreePixelSamplerConfig,
    "soft-mining": SoftMiningPixelSamplerConfig,
    "multinomial": MultinomialPixelSamplerConfig,
    "block-error": BlockErrorPixelSamplerConfig,
    "error-map": ErrorMapPixelSamplerConfig,
    "textured-error": TexturedErrorPixelSamplerConfig,
    "interest-points": InterestPointsPixelSamplerConfig,
    "interest-regions": InterestRegionsPixelSamplerConfig,
    "edges": EdgesPixelSamplerConfig,
    "silhouette": SilhouettePixelSamplerConfig,
}

_HIDDEN = {option.name for option in fields(SurfacePixelSamplerConfig)}


def options_of(config: type[SurfacePixelSamplerConfig]) -> dict[str, Any]:
    """Names and defaults of a strategy's own options, all of them numbers."""
    own = [option for option in fields(config) if option.name not in _HIDDEN]
    assert all(option.default is not MISSING for option in own)
    return {option.name: option.default for option in own}


def sampler_config(text: str) -> SurfacePixelSamplerConfig:
    """The config of `name` or `name:option=value,option=value`. Raises InputError for what is not known."""
    name, _, settings = text.partition(":")
    if name not in SAMPLERS:
        raise InputError(f"There is no pixel sampler {name!r}; choose one of {', '.join(SAMPLERS)}.")
    known, given = options_of(SAMPLERS[name]), {}
    for setting in filter(None, settings.split(",")):
        option, _, value = setting.partition("=")
        option = option.strip().replace("-", "_")
        if option not in known:
            raise InputError(f"The pixel sampler {name} has no option {option!r}; it has {_listed(known)}.")
        try:
            given[option] = type(known[option])(ast.literal_eval(value.strip()))
        except (ValueError, SyntaxError, TypeError) as error:
            raise InputError(f"The pixel sampler's option {option} is {value!r}: give a number.") from error
    return SAMPLERS[name](**given)


def sampler_text(config: SurfacePixelSamplerConfig) -> str:
    """The word that gives this config; options that are at their defaults are left out."""
    for name, kind in SAMPLERS.items():
        if type(config) is kind:
            values = {option: getattr(config, option) for option in options_of(kind)}
            changed = [f"{option}={value}" for option, value in values.items() if value != options_of(kind)[option]]
            return name + (":" + ",".join(changed) if changed else "")
    return type(config).__name__


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())


_HELP = (
    "Which pixels of the training photographs get a ray, by one word; options follow a colon, as in "
    "quadtree:threshold=0.02,interval=0.05. Strategies and defaults: "
    + "; ".join(f"{name} ({_listed(options_of(kind))})" for name, kind in SAMPLERS.items())
    + "."
)

PixelSamplerChoice = Annotated[
    SurfacePixelSamplerConfig,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME[:OPTION=VALUE,...]",
        instance_from_str=lambda words: sampler_config(words[0]),
        is_instance=lambda value: isinstance(value, SurfacePixelSamplerConfig),
        str_from_instance=lambda config: [sampler_text(config)],
    ),
    tyro.conf.arg(help=_HELP),
]
