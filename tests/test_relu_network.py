"""The hand-written nodes of the colour networks, against torch's own operations in float64."""

import pytest
import torch
from torch import Tensor, nn

from neus_ns.fields.direction import spherical_harmonics
from neus_ns.fields.mlp import ReluMlp
from neus_ns.kernels import threads


def layers(network: ReluMlp, *inputs: Tensor) -> Tensor:
    """The network by torch's own modules."""
    return nn.Sequential(*network)(torch.cat(inputs, 1))


def operands(points: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(points, width, generator=generator, dtype=torch.float64) for width in (3, 16, 5)]


@pytest.mark.parametrize("hidden_layers", [1, 2])
@pytest.mark.parametrize("points", [0, 1, 50, 5000])
def test_a_network_is_its_layers(hidden_layers: int, points: int):
    torch.manual_seed(1)
    network = ReluMlp(24, 32, hidden_layers, 3).double()
    inputs = [tensor.requires_grad_() for tensor in operands(points)]
    wanted = [*inputs, *network.parameters()]
    ours, theirs = network(*inputs), layers(network, *inputs)
    torch.testing.assert_close(ours, theirs)
    torch.manual_seed(2)
    to_output = torch.randn_like(ours)
    fast, slow = (torch.autograd.grad(output, wanted, to_output) for output in (ours, theirs))
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other)


def test_inputs_may_be_constants():
    network = ReluMlp(24, 32, 2, 3).double()
    inputs = operands(10)
    inputs[1].requires_grad_()
    network(*inputs).square().sum().backward()
    assert inputs[0].grad is None and inputs[1].grad is not None and inputs[2].grad is None
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_names_in_checkpoints():
    assert sorted(ReluMlp(4, 8, 2, 3).state_dict()) == [f"{k}.{name}" for k in (0, 2, 4) for name in ("bias", "weight")]


def test_harmonics_are_differentiated_right():
    directions = operands(20)[0].requires_grad_()
    assert torch.autograd.gradcheck(spherical_harmonics, directions)
    assert spherical_harmonics(directions[:0]).shape == (0, 16)


def test_how_many_threads_share_the_work_changes_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "_SHORTEST_RUN", 16)
    torch.manual_seed(1)
    network = ReluMlp(24, 32, 2, 3).double()
    usual = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            assert len(threads.runs(300, torch.device("cpu"))) == number
            inputs = [tensor.requires_grad_() for tensor in operands(300)]
            output = network(*inputs[:2], spherical_harmonics(inputs[0])[:, :5])
            found.append([output, *torch.autograd.grad(output.square().sum(), [inputs[0], *network.parameters()])])
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(usual)
    for other in found[1:]:
        for one, same in zip(other, found[0], strict=True):
            torch.testing.assert_close(one, same)


def test_a_part_that_fails_says_so_and_leaves_torch_its_threads():
    usual = torch.get_num_threads()

    def fail() -> None:
        raise ZeroDivisionError

    try:
        torch.set_num_threads(2)
        with pytest.raises(ZeroDivisionError):
            threads.on_threads([lambda: None, fail, lambda: None])
        assert torch.get_num_threads() == 2
        # Nothing is recorded within, whatever thread it runs on, and threads do not fork again.
        modes = threads.on_threads([lambda: (torch.is_grad_enabled(), torch.get_num_threads())] * 4)
        assert modes == [(False, 1)] * 4
    finally:
        torch.set_num_threads(usual)
