"""Calls a trained field on many points, in chunks that shrink when the memory does not suffice."""

from collections.abc import Callable

import numpy as np
import torch

# What the allocators of torch (CUDA and CPU) and Warp say when they fail; Warp and the CPU raise a bare RuntimeError.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
_SMALLEST_CHUNK = 256


def _is_out_of_memory(error: RuntimeError) -> bool:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


class ChunkedField:
    """A field on numpy points: float32 chunks on the field's device; a chunk that fits once is kept for later calls."""

    def __init__(self, field: Callable[..., torch.Tensor], device: torch.device, chunk_points: int = 2**17) -> None:
        self._field = field
        self._device = device
        self._chunk_points = chunk_points

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Evaluate at rows of the inputs (each [points, 3]); returns float32 with as many rows."""
        outputs: list[np.ndarray] = []
        start, total = 0, len(inputs[0])
        while start < total:
            stop = min(start + self._chunk_points, total)
            values = self._try_chunk([array[start:stop] for array in inputs])
            if values is None:
                # The failed tensors are gone by now, outside the except block that held on to them.
                self._chunk_points = max(self._chunk_points // 2, _SMALLEST_CHUNK)
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            outputs.append(values)
            start = stop
        return np.concatenate(outputs)

    def _try_chunk(self, chunk: list[np.ndarray]) -> np.ndarray | None:
        """The values of one chunk, or None when it did not fit into memory and a smaller one may."""
        try:
            with torch.no_grad():
                points = [torch.from_numpy(np.ascontiguousarray(a, np.float32)).to(self._device) for a in chunk]
                return self._field(*points).detach().float().cpu().numpy()
        except RuntimeError as error:
            if self._chunk_points <= _SMALLEST_CHUNK or not _is_out_of_memory(error):
                raise
            return None
