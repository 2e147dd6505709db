"""Short products: the same layer as torch's, tensor cores asked for in its own products and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from neus_ns.fields import relu_function, sdf_function
from neus_ns.fields.mlp import ReluMlp
from neus_ns.fields.products import short_products
from tests.test_sdf_function import network

PRODUCTS = {"aten::mm", "aten::addmm"}


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch of before 2.9")
def test_a_process_that_names_precisions_may_do_so():
    """Once they are named, torch refuses the older switch."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        for named in ("ieee", "tf32"):
            matmul.fp32_precision = named
            with short_products(torch.device("cuda")):
                assert matmul.fp32_precision == "tf32"
            assert matmul.fp32_precision == named
    finally:
        matmul.fp32_precision = before


@pytest.mark.parametrize("before", [False, True])
def test_the_switch_is_put_back_even_after_an_error(before: bool):
    matmul = torch.backends.cuda.matmul
    usual = matmul.allow_tf32
    try:
        matmul.allow_tf32 = before
        with pytest.raises(ZeroDivisionError), short_products(torch.device("cuda")):
            assert matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
            _ = 1 / 0
        assert matmul.allow_tf32 is before
        with short_products(torch.device("cpu")):
            assert matmul.allow_tf32 is before
    finally:
        matmul.allow_tf32 = usual


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch of before 2.9")
def test_what_is_broken_off_halfway_does_not_change_the_rule():
    """The viewer throws an error into whatever line a rendering is at: here between the switch and its way back."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        broken_off = short_products.__wrapped__(torch.device("cuda"))  # type: ignore[attr-defined]
        next(broken_off)
        assert matmul.fp32_precision == "tf32"
        with short_products(torch.device("cuda")):
            assert matmul.fp32_precision == "tf32"
        assert matmul.fp32_precision == before
    finally:
        matmul.fp32_precision = before


def test_torch_of_before_it_knew_names_is_asked_by_the_older_switch(monkeypatch):
    """2.1 asserts that it knows every name it is asked for, which hasattr lets through."""

    class Older:
        allow_tf32 = False

        def __getattr__(self, name: str):
            raise AssertionError(f"Unknown attribute {name}")

    older = Older()
    monkeypatch.setattr(torch.backends.cuda, "matmul", older)
    with short_products(torch.device("cuda")):
        assert older.allow_tf32 is True
    assert older.allow_tf32 is False


class Watched(TorchDispatchMode):
    """Counts products that run while short ones are asked for, and those that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.short = False
        self.counts = {True: 0, False: 0}

    @contextmanager
    def asked(self, device: torch.device) -> Iterator[None]:
        self.short = True
        yield
        self.short = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in PRODUCTS:
            self.counts[self.short] += 1
        return func(*args, **(kwargs or {}))


def test_every_product_of_the_networks_asks_both_ways(monkeypatch: pytest.MonkeyPatch):
    field = network()
    with Watched() as watched:
        monkeypatch.setattr(relu_function, "short_products", watched.asked)
        monkeypatch.setattr(sdf_function, "short_products", watched.asked)
        ReluMlp(4, 8, 1, 3)(torch.ones(5, 4, requires_grad=True)).sum().backward()
        assert watched.counts == {True: 6, False: 0}
        sample = field.sample(torch.zeros(9, 3, dtype=torch.float64))
        (sample.sdf.sum() + sample.gradient.square().sum() + sample.feature.sum()).backward()
    assert watched.counts[True] > 9 and watched.counts[False] == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_device_products_are_short_but_not_by_much():
    generator = torch.Generator().manual_seed(4)
    x, weight = torch.randn(4096, 64, generator=generator), torch.randn(64, 64, generator=generator)
    exact = x.double() @ weight.double().t()
    with short_products(torch.device("cuda")):
        short = F.linear(x.cuda(), weight.cuda()).cpu().double()
    full = F.linear(x.cuda(), weight.cuda()).cpu().double()
    assert (full - exact).abs().max() < 1e-4
    assert 1e-4 < (short - exact).abs().max() < 0.1
