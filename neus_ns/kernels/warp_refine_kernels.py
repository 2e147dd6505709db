"""Warp source of sampling where the weight is: one thread a ray finds its sections, weighs them and draws from them.

The law is that of `neus_ns.rays.refine`. The sections of a ray lie side by side in flat arrays, from `first` up to and
without `stop`.
"""
# Warp compiles the kernels itself; as Python they are full of forms that a type checker cannot follow.
# pyright: reportInvalidTypeForm=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportIndexIssue=false

import functools
from typing import no_type_check

import warp as wp

from neus_ns.kernels.warp_march_kernels import lattice_of, visit

# What a ray with more sections than its row of memory holds reports; no honest sum of counts reaches it.
TOO_MANY = 2**40


@wp.func
@no_type_check
def bilinear(at_00: float, at_01: float, at_10: float, at_11: float, v: float, w: float):
    """Between four corners, `w` along the last axis."""
    return wp.lerp(wp.lerp(at_00, at_01, w), wp.lerp(at_10, at_11, w), v)


@wp.func
@no_type_check
def distance_at(distance: wp.array(dtype=float), scaled: wp.vec3, resolution: int):
    """Trilinear between cell centres; beyond the outermost centres the distance stays what it is there."""
    top = float(resolution - 1)
    x = wp.clamp(scaled[0] - 0.5, 0.0, top)
    y = wp.clamp(scaled[1] - 0.5, 0.0, top)
    z = wp.clamp(scaled[2] - 0.5, 0.0, top)
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - float(i), y - float(j), z - float(k)
    a = (i * resolution + j) * resolution + k
    # At the last centre there is no next one, and its share is zero.
    to_k = wp.where(k < resolution - 1, 1, 0)
    to_j = wp.where(j < resolution - 1, resolution, 0)
    b = a + wp.where(i < resolution - 1, resolution * resolution, 0)
    return wp.lerp(
        bilinear(distance[a], distance[a + to_k], distance[a + to_j], distance[a + to_j + to_k], v, w),
        bilinear(distance[b], distance[b + to_k], distance[b + to_j], distance[b + to_j + to_k], v, w),
        u,
    )


@wp.func
@no_type_check
def touch(i: int, stop: int, t_start: wp.array(dtype=float), t_end: wp.array(dtype=float)):
    """Whether a section of the ray and the one after it touch."""
    if i + 1 >= stop:
        return False
    return wp.abs(t_start[i + 1] - t_end[i]) <= 1.0e-3 * (t_end[i + 1] - t_start[i + 1])


@wp.func
@no_type_check
def opacity(sdf: float, half: float, inv_s: float):
    """NeuS's alpha, 1 - sigma(a) / sigma(b), as (1 - exp(a - b)) / (1 + exp(a)): no digit is lost on either side."""
    return (1.0 - wp.exp(2.0 * half * inv_s)) / (1.0 + wp.exp((sdf + half) * inv_s))


@wp.func
@no_type_check
def weigh(
    first: int,
    stop: int,
    t_start: wp.array(dtype=float),
    t_end: wp.array(dtype=float),
    values: wp.array(dtype=float),
    inv_s: float,
):
    """Turn the distances at a ray's sections into compositing weights, in place."""
    none = wp.float32(1.0e30)
    clear = wp.float32(1.0)
    slope_before = wp.float32(none)
    sdf = wp.float32(0.0)
    if first < stop:
        sdf = values[first]
    for i in range(first, stop):
        start, end = t_start[i], t_end[i]
        after = wp.float32(0.0)
        slope_after = wp.float32(none)
        if i + 1 < stop:
            after = values[i + 1]
            if touch(i, stop, t_start, t_end):
                apart = 0.5 * (t_start[i + 1] + t_end[i + 1]) - 0.5 * (start + end)
                slope_after = (after - sdf) / wp.max(apart, 1.0e-9)
        slope = wp.min(slope_before, slope_after)
        if slope == none:
            slope = -1.0
        weight = wp.float32(0.0)
        # What is left behind an opaque surface is not worth its exponentials.
        if clear > 1.0e-9:
            alpha = opacity(sdf, 0.5 * wp.clamp(slope, -1.0e3, 0.0) * (end - start), inv_s)
            weight = clear * alpha
            clear = clear * (1.0 - alpha)
        values[i] = weight
        sdf = after
        slope_before = slope_after


@wp.func
@no_type_check
def blurred(
    i: int,
    stop: int,
    before: float,
    t_start: wp.array(dtype=float),
    t_end: wp.array(dtype=float),
    weights: wp.array(dtype=float),
):
    """A section's weight blurred with both neighbours, and what it is to the next one as the neighbour before it."""
    after = wp.float32(0.0)
    handed = wp.float32(0.0)
    if touch(i, stop, t_start, t_end):
        after = weights[i + 1]
        handed = weights[i]
    return 0.6 * weights[i] + 0.2 * (before + after), handed


@wp.func
@no_type_check
def drawn(running: wp.float64, expected: wp.float64):
    """How often systematic resampling draws a section, and the running sum behind it."""
    behind = running + expected
    return int(wp.floor(behind) - wp.floor(running)), behind


@wp.func
@no_type_check
def a_number(expected: float):
    """A weight that is not a number is drawn once: the loss must see it, for there it is reported."""
    return wp.where(expected >= 0.0, expected, 1.0)


@wp.func
@no_type_check
def keep_drawn(
    first: int,
    stop: int,
    t_start: wp.array(dtype=float),
    t_end: wp.array(dtype=float),
    weights: wp.array(dtype=float),
    shift: float,
    by_weight: float,
    anywhere: float,
):
    """Move the sections that are drawn at least once, none of them expected more than once, to the front; how many."""
    share = anywhere / float(stop - first)
    running = wp.float64(shift)
    before = wp.float32(0.0)
    kept = wp.int32(first)
    for i in range(first, stop):
        weight, before = blurred(i, stop, before, t_start, t_end, weights)
        count, running = drawn(running, wp.float64(a_number(wp.min(by_weight * weight + share, 1.0))))
        if count > 0:
            t_start[kept] = t_start[i]
            t_end[kept] = t_end[i]
            kept += 1
    return kept - first


@functools.cache
@no_type_check
def likely_kernel() -> wp.Kernel:
    """March one ray into its row of `room` sections, judge these by the remembered distances, keep what is drawn."""

    @wp.kernel(enable_backward=False, module="unique")
    def find_likely(
        begin: int,
        origins: wp.array(dtype=wp.vec3),
        directions: wp.array(dtype=wp.vec3),
        t_near: wp.array(dtype=float),
        t_far: wp.array(dtype=float),
        shifts: wp.array(dtype=float),
        cells: wp.array(dtype=wp.bool),
        blocks_away: wp.array(dtype=wp.uint8),
        resolution: int,
        blocks_a_side: int,
        step: float,
        distance: wp.array(dtype=float),
        inv_s: wp.array(dtype=float),
        most_inv_s: float,
        by_weight: float,
        anywhere: float,
        room: int,
        per_ray: wp.array(dtype=wp.int64),
        t_start: wp.array(dtype=float),
        t_end: wp.array(dtype=float),
        values: wp.array(dtype=float),
    ):
        ray = begin + wp.tid()
        lattice = lattice_of(
            origins[ray],
            directions[ray],
            t_near[ray],
            t_far[ray],
            shifts[ray],
            step,
            resolution,
            blocks_a_side,
        )
        first = ray * room
        stop = wp.int32(first)
        k = lattice.first
        while k < lattice.stop:
            k, occupied, start, end, scaled = visit(k, lattice, cells, blocks_away)
            if occupied:
                if stop < first + room:
                    t_start[stop] = start
                    t_end[stop] = end
                    values[stop] = distance_at(distance, scaled, resolution)
                stop += 1
        if stop > first + room:
            per_ray[ray] = wp.int64(wp.static(TOO_MANY))
            return
        weigh(first, stop, t_start, t_end, values, wp.min(inv_s[0], most_inv_s))
        per_ray[ray] = wp.int64(keep_drawn(first, stop, t_start, t_end, values, shifts[ray], by_weight, anywhere))

    # The sections are those of the march, which must round as its reference does.
    find_likely.module.options["fuse_fp"] = False
    return find_likely


@functools.cache
@no_type_check
def gather_kernel() -> wp.Kernel:
    """Move what each ray kept at the front of its row of `room` to its place on the axis of `packed` sections."""

    @wp.kernel(enable_backward=False, module="unique")
    def gather_rows(
        begin: int,
        first: wp.array(dtype=wp.int64),
        per_ray: wp.array(dtype=wp.int64),
        room: int,
        row_start: wp.array(dtype=float),
        row_end: wp.array(dtype=float),
        packed: wp.int64,
        ray_index: wp.array(dtype=wp.int64),
        t_start: wp.array(dtype=float),
        t_end: wp.array(dtype=float),
    ):
        ray = begin + wp.tid()
        # In 64 bits: a ray that overflowed its row has moved all later ones very far.
        left = wp.max(packed - first[ray], wp.int64(0))
        place = int(wp.min(first[ray], packed))
        for i in range(int(wp.min(per_ray[ray], left))):
            ray_index[place + i] = wp.int64(ray)
            t_start[place + i] = row_start[ray * room + i]
            t_end[place + i] = row_end[ray * room + i]

    return gather_rows


@functools.cache
@no_type_check
def expect_kernel() -> wp.Kernel:
    """How many samples each of a ray's sections should get; `values` are distances, and are overwritten."""

    @wp.kernel(enable_backward=False, module="unique")
    def expect_samples(
        begin: int,
        first: wp.array(dtype=wp.int64),
        t_start: wp.array(dtype=float),
        t_end: wp.array(dtype=float),
        values: wp.array(dtype=float),
        inv_s: wp.array(dtype=float),
        by_weight: float,
        anywhere: float,
        of_ray: wp.array(dtype=wp.float64),
    ):
        ray = begin + wp.tid()
        start = int(first[ray])
        stop = int(first[ray + 1])
        weigh(start, stop, t_start, t_end, values, inv_s[0])
        share = anywhere / float(stop - start)
        total = wp.float64(0.0)
        before = wp.float32(0.0)
        for i in range(start, stop):
            weight, before = blurred(i, stop, before, t_start, t_end, values)
            expected = a_number(by_weight * weight + share)
            values[i] = expected
            total += wp.float64(expected)
        of_ray[ray] = total

    return expect_samples


@functools.cache
@no_type_check
def count_kernel() -> wp.Kernel:
    """Into how many parts each of a ray's sections is cut, given `scale` times its expected number."""

    @wp.kernel(enable_backward=False, module="unique")
    def count_parts(
        begin: int,
        first: wp.array(dtype=wp.int64),
        shifts: wp.array(dtype=wp.float64),
        expected: wp.array(dtype=float),
        scale: wp.array(dtype=wp.float64),
        counts: wp.array(dtype=wp.int32),
        per_ray: wp.array(dtype=wp.int64),
    ):
        ray = begin + wp.tid()
        running = wp.float64(shifts[ray])
        parts = wp.int32(0)
        for i in range(int(first[ray]), int(first[ray + 1])):
            count, running = drawn(running, wp.float64(expected[i]) * scale[0])
            counts[i] = count
            parts += count
        per_ray[ray] = wp.int64(parts)

    return count_parts


@functools.cache
@no_type_check
def split_kernel() -> wp.Kernel:
    """Cut each of a ray's sections into equal parts, from the place where they begin, while there is room."""

    @wp.kernel(enable_backward=False, module="unique")
    def split_sections(
        begin: int,
        first: wp.array(dtype=wp.int64),
        t_start: wp.array(dtype=float),
        t_end: wp.array(dtype=float),
        counts: wp.array(dtype=wp.int32),
        place: wp.array(dtype=wp.int64),
        room: int,
        ray_index: wp.array(dtype=wp.int64),
        part_start: wp.array(dtype=float),
        part_end: wp.array(dtype=float),
    ):
        ray = begin + wp.tid()
        at = wp.int32(place[ray])
        for i in range(int(first[ray]), int(first[ray + 1])):
            count = counts[i]
            part = (t_end[i] - t_start[i]) / float(wp.max(count, 1))
            for rank in range(wp.min(count, room - at)):
                start = t_start[i] + float(rank) * part
                ray_index[at + rank] = wp.int64(ray)
                part_start[at + rank] = start
                part_end[at + rank] = start + part
            at += count

    # A part ends where the next begins, to the bit, so both must be rounded alike.
    split_sections.module.options["fuse_fp"] = False
    return split_sections
