"""Options that make no sense are refused by name, and those that ship pass."""

import copy

import pytest

from neus_ns.cli.bench.ablation import set_options
from neus_ns.errors import InputError
from neus_ns.methods import neuralangelo_mask_sfm_config, neus_hash_config
from neus_ns.models.option_limits import LEAST, MOST, POSITIVE, check_options


def test_defaults_pass():
    for method in (neus_hash_config, neuralangelo_mask_sfm_config):
        check_options(method().pipeline)


@pytest.mark.parametrize("path", [*LEAST, *POSITIVE])
def test_every_option_exists_and_has_a_limit(path: str):
    config = copy.deepcopy(neuralangelo_mask_sfm_config().pipeline)
    set_options(config, {path: LEAST.get(path, 0.001)})
    check_options(config)
    set_options(config, {path: LEAST[path] - 1 if path in LEAST else 0.0})
    with pytest.raises(InputError, match=f"--pipeline.{path.replace('_', '-')} is .*: give "):
        check_options(config)


@pytest.mark.parametrize("path", MOST)
def test_every_option_may_be_its_most_and_no_more(path: str):
    config = copy.deepcopy(neuralangelo_mask_sfm_config().pipeline)
    set_options(config, {path: MOST[path]})
    check_options(config)
    set_options(config, {path: MOST[path] + 0.5})
    with pytest.raises(InputError, match=f"--pipeline.{path.replace('_', '-')} is .*: give at most {MOST[path]}"):
        check_options(config)
