"""A CUDA device that is pretended: tensors say that they are on it, and compute on the CPU.

What holds on a device is held to: it and the host never meet in one operation, and an array of numpy is never made of
it. Warp's kernels are launched as they are on CUDA, in one piece and in two dimensions, on the memory behind.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from neus_ns.kernels import backend

wp = pytest.importorskip("warp")

DEVICE = torch.device("cuda", 0)
_COPIES = {"aten::copy_", "aten::_to_copy"}
# Places in a tensor of the device may be told by the host, but not the other way round.
_AT_PLACES = {"aten::index", "aten::index_put", "aten::index_put_"}


class Pretended(Tensor):
    """A tensor that says it is on the device; `near` is the memory behind it."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "Pretended":
        layout: dict[str, Any] = {"strides": near.stride(), "storage_offset": near.storage_offset()}
        # To torch's own machinery it is on a device without memory, so that what that makes beside it is told apart.
        made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, near.size(), dtype=near.dtype, device=torch.device("meta"), **layout
        )
        made.near = near
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _on_the_memory(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return True

    @property
    def is_meta(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    @property
    def is_cpu(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    def cpu(self) -> Tensor:
        return _to_host(self)

    def cuda(self) -> Tensor:
        return self

    def to(self, *wishes: Any, **options: Any) -> Tensor:
        return _moved(self, *wishes, **options)

    def tolist(self) -> Any:
        return self.near.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return _to_device(self.near.new_tensor(data, **options))

    def numpy(self, *args: object, **options: object) -> Any:
        raise TypeError("no array of numpy can be made of a tensor of the device")

    __array__ = numpy

    def __deepcopy__(self, memo: dict[int, object]) -> "Pretended":
        return memo.setdefault(id(self), _to_device(self.near.clone()).requires_grad_(self.requires_grad))  # type: ignore

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.near.__reduce_ex__(protocol)

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"Pretended({self.near!r})"


def _near(value: Any) -> Any:
    return value.near if isinstance(value, Pretended) else value


def _on_the_memory(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    device = any(isinstance(each, Pretended) for each in tree_leaves((args, kwargs)))
    if device:
        _refuse_what_a_device_cannot(func, args)
        _refuse_the_host(func, args, kwargs)
    wish = kwargs.get("device")
    on_device = wish.type == "meta" if wish is not None else device
    kwargs = kwargs if wish is None else kwargs | {"device": torch.device("cpu")}
    near_args, near_kwargs = tree_map(_near, (args, kwargs))
    out = func(*near_args, **near_kwargs)
    if func._schema.is_mutable and not isinstance(out, (list, tuple)):
        written = [
            args[place] if place < len(args) else kwargs.get(argument.name)
            for place, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        return written[0] if out is not None else None
    return tree_map(lambda each: Pretended(each) if on_device and isinstance(each, Tensor) else each, out)


def _refuse_what_a_device_cannot(func: Any, args: tuple[Any, ...]) -> None:
    """Where torch's kernels for devices fall short of those for the CPU.

    The gradient of an embedding without columns is read where there is no memory (pytorch issue 189668), which ends the
    process, and before torch 2.6 truth values cannot be sorted.
    """
    name = func._schema.name
    if name == "aten::embedding_dense_backward" and args[0].numel() == 0:
        raise RuntimeError("the gradient of an embedding without columns is read beyond the memory of a device")
    if name in ("aten::sort", "aten::argsort") and args[0].dtype == torch.bool:
        raise RuntimeError("older versions of torch do not sort truth values on a device")


def _refuse_the_host(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Torch takes single numbers of the host beside tensors of the device, and hardly anything else."""
    name = func._schema.name
    if name in _COPIES:
        return
    asked = (args[0], *args[2:]) if name in _AT_PLACES else args
    for each in tree_leaves((asked, kwargs)):
        if isinstance(each, Tensor) and not isinstance(each, Pretended) and (each.dim() > 0 or each is args[0]):
            raise RuntimeError(f"{func} is told tensors of the device and one of the host, shape {tuple(each.shape)}")


class _WithinTorch(TorchDispatchMode):
    """Sees what torch makes by itself, zeros for gradients that nobody gave."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _on_the_memory(func, args, kwargs or {})


class _Move(torch.autograd.Function):
    """From the host to the device or back, and the gradient the other way."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, to_device: bool) -> Tensor:
        ctx.to_device = to_device
        moved = _near(tensor).detach().clone()
        return Pretended(moved) if to_device else moved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Move.apply(gradient, not ctx.to_device), None  # type: ignore[return-value]


def _to_device(tensor: Tensor) -> Tensor:
    return tensor if isinstance(tensor, Pretended) else _Move.apply(tensor, True)  # type: ignore[return-value]


def _to_host(tensor: Tensor) -> Tensor:
    return _Move.apply(tensor, False) if isinstance(tensor, Pretended) else tensor  # type: ignore[return-value]


def _moved(tensor: Tensor, *wishes: Any, device: Any = None, dtype: Any = None, copy: bool = False, **_: Any) -> Tensor:
    """What `Tensor.to` does, whichever of its forms is used."""
    for wish in wishes:
        device = wish if isinstance(wish, (str, torch.device)) else wish.device if isinstance(wish, Tensor) else device
        dtype = wish if isinstance(wish, torch.dtype) else wish.dtype if isinstance(wish, Tensor) else dtype
    there = (
        tensor if device is None else _to_device(tensor) if torch.device(device).type == "cuda" else _to_host(tensor)
    )
    return torch.Tensor.to(there, there.dtype if dtype is None else dtype, copy=copy)


class _Pretending(TorchFunctionMode):
    """Moves and makes tensors where they are asked for."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.pin_memory:
            return args[0]
        kwargs.pop("pin_memory", None)
        if func is Tensor.cuda:
            return _to_device(args[0])
        if func is Tensor.to:
            return _moved(*args, **kwargs)
        wish = kwargs.pop("device", None)
        if wish is None:
            return func(*args, **kwargs)
        made = func(*tree_map(_near, args), **kwargs)
        return _to_device(made) if torch.device(wish).type == "cuda" else _to_host(made)


class _Event:
    """What it is noted after is done already."""

    def record(self, stream: object) -> None: ...

    def query(self) -> bool:
        return True


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """Within, torch says that it has one CUDA device, and Warp that it runs there."""
    with pytest.MonkeyPatch.context() as patch, _Pretending(), _WithinTorch():
        for name, stands_for in _cuda().items():
            patch.setattr(torch.cuda, name, stands_for)
        # Adam asks whether it is being recorded.
        patch.setattr(torch.accelerator, "current_stream", lambda device=None: SimpleNamespace(is_capturing=bool))
        patch.setattr(backend, "warp_problem", lambda device_type: None)
        for name, stands_for in _warp().items():
            patch.setattr(wp, name, stands_for)
        # A parameter that moves becomes another kind of tensor, so it is swapped and not only given other memory.
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)


def _warp() -> dict[str, Callable[..., object]]:
    """Warp's own, told the memory behind and that it is on the CPU."""
    real_launch, load, from_torch = wp.launch, wp.load_module, wp.from_torch

    def array(tensor: Tensor, **options: Any) -> Any:
        made = from_torch(_near(tensor), **options)
        setattr(made, "of_device", isinstance(tensor, Pretended))  # noqa: B010
        return made

    def launch(kernel: Any, dim: Any, inputs: Any, device: Any, **_: Any) -> None:
        if any(each.of_device != (device == DEVICE) for each in inputs if hasattr(each, "of_device")):
            raise RuntimeError(f"{kernel.key} is launched on {device} with memory that is elsewhere")
        real_launch(kernel, dim, inputs, device="cpu", record_tape=False)

    return {
        "launch": launch,
        "from_torch": array,
        "load_module": lambda module, device, block_dim: load(module, device="cpu", block_dim=1),
        "stream_from_torch": lambda stream: None,
        "device_from_torch": lambda device: device,
    }


def _cuda() -> dict[str, Callable[..., object]]:
    memory = 24 * 2**30
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_stream": lambda device=None: SimpleNamespace(cuda_stream=0),
        "Event": _Event,
        "mem_get_info": lambda device=None: (memory, memory),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "get_rng_state_all": lambda: [torch.zeros(16, dtype=torch.uint8)],
        "set_rng_state": lambda state, device=None: None,
        "manual_seed_all": lambda seed: None,
        "set_device": lambda device: None,
    }
