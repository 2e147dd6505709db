"""Warp source of packed compositing: one thread a ray."""
# Warp compiles the kernels itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import Any, no_type_check

import warp as wp


@functools.cache
def row_type(channels: int) -> Any:
    """Warp's type of one sample's channels."""
    return wp.types.vector(length=channels, dtype=wp.float32)


@functools.cache
@no_type_check
def weights_kernel() -> wp.Kernel:
    """Running product of what each sample lets through."""

    @wp.kernel(enable_backward=False, module="unique")
    def weigh(
        begin: int,
        first: wp.array(dtype=wp.int64),
        alpha: wp.array(dtype=float),
        weights: wp.array(dtype=float),
        transmittance: wp.array(dtype=float),
    ):
        ray = begin + wp.tid()
        clear = wp.float32(1.0)
        for i in range(int(first[ray]), int(first[ray + 1])):
            a = alpha[i]
            transmittance[i] = clear
            weights[i] = clear * a
            clear = clear * (1.0 - a)

    return weigh


@functools.cache
@no_type_check
def weights_backward_kernel() -> wp.Kernel:
    """The recursion in `warp_packed`'s docstring, from the ray's end to its beginning."""

    @wp.kernel(enable_backward=False, module="unique")
    def weigh_backward(
        begin: int,
        first: wp.array(dtype=wp.int64),
        alpha: wp.array(dtype=float),
        transmittance: wp.array(dtype=float),
        to_weights: wp.array(dtype=float),
        to_transmittance: wp.array(dtype=float),
        to_alpha: wp.array(dtype=float),
    ):
        ray = begin + wp.tid()
        seen = wp.float32(0.0)
        start = int(first[ray])
        i = int(first[ray + 1]) - 1
        while i >= start:
            a = alpha[i]
            g = to_weights[i]
            to_alpha[i] = transmittance[i] * (g - seen)
            seen = a * g + to_transmittance[i] + (1.0 - a) * seen
            i -= 1

    return weigh_backward


@functools.cache
@no_type_check
def accumulate_kernel(channels: int) -> wp.Kernel:
    """Sum of rows over a ray."""
    row = row_type(channels)

    @wp.kernel(enable_backward=False, module="unique")
    def add_up(begin: int, first: wp.array(dtype=wp.int64), values: wp.array(dtype=row), total: wp.array(dtype=row)):
        ray = begin + wp.tid()
        running = row()
        for i in range(int(first[ray]), int(first[ray + 1])):
            running += values[i]
        total[ray] = running

    return add_up


@functools.cache
@no_type_check
def spread_kernel(channels: int) -> wp.Kernel:
    """The transpose of the sum: each sample receives its ray's row."""
    row = row_type(channels)

    @wp.kernel(enable_backward=False, module="unique")
    def spread(begin: int, first: wp.array(dtype=wp.int64), total: wp.array(dtype=row), values: wp.array(dtype=row)):
        ray = begin + wp.tid()
        given = total[ray]
        for i in range(int(first[ray]), int(first[ray + 1])):
            values[i] = given

    return spread
