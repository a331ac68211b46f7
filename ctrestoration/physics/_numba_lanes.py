"""The numba kernels that take one walk through several copies of an image at once; see `lanes`.

numba vectorizes short inner loops only behind checks that cost more than the loop. The two operations on `LANES`
neighboring floats are therefore written in the compiler's own terms. They compile for any CPU: what it cannot do at
once is done piece by piece.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ctrestoration.physics.lanes import FRACTION_BITS, LANES

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_TILE = 16
"""Walks that advance together: they read neighboring pixels of a row while it is in the first-level cache."""

_SLAB = 32
"""Rows of the image that one thread fills."""

_EXACT = {"contract", "nsz"}
"""Sums keep their order: results depend neither on lanes nor on threads."""

_SHIFT = np.int64(FRACTION_BITS)
_MASK = np.int64((1 << FRACTION_BITS) - 1)
_UNIT = np.float32(2.0**-FRACTION_BITS)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _everywhere(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    pattern = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, pattern)


def _between(context: Any, builder: Any, kind: Any, image: Any, low: Any, share: Any) -> Any:
    """(1 - share) * image[low + lane] + share * image[low + LANES + lane]."""
    near = _pointer(context, builder, kind, image, low)
    far = _pointer(context, builder, kind, image, builder.add(low, ir.Constant(low.type, LANES)))
    a, b = builder.load(near, align=4), builder.load(far, align=4)
    rise = builder.fmul(_everywhere(builder, share), builder.fsub(b, a, flags=["contract"]), flags=["contract"])
    return builder.fadd(rise, a, flags=["contract"])


@intrinsic  # type: ignore[untyped-decorator]
def _read_between(typing: Any, totals: Any, at: Any, image: Any, low: Any, share: Any) -> Any:
    """totals[at + lane] += (1 - share) * image[low + lane] + share * image[low + LANES + lane]."""
    signature = types.void(totals, at, image, low, share)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        total = _pointer(context, builder, signature.args[0], values[0], values[1])
        between = _between(context, builder, signature.args[2], values[2], values[3], values[4])
        builder.store(builder.fadd(builder.load(total, align=4), between), total, align=4)
        return context.get_dummy_value()

    return signature, code


@intrinsic  # type: ignore[untyped-decorator]
def _read_weighted(typing: Any, totals: Any, at: Any, bins: Any, low: Any, share: Any, weight: Any) -> Any:
    """As `_read_between`, times a weight."""
    signature = types.void(totals, at, bins, low, share, weight)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        total = _pointer(context, builder, signature.args[0], values[0], values[1])
        between = _between(context, builder, signature.args[2], values[2], values[3], values[4])
        weighted = builder.fmul(_everywhere(builder, values[5]), between, flags=["contract"])
        builder.store(builder.fadd(weighted, builder.load(total, align=4), flags=["contract"]), total, align=4)
        return context.get_dummy_value()

    return signature, code


@intrinsic  # type: ignore[untyped-decorator]
def _spread_between(typing: Any, image: Any, low: Any, share: Any, values: Any, at: Any) -> Any:
    """image[low + lane] += (1 - share) * values[at + lane]; image[low + LANES + lane] += share * values[at + lane]."""
    signature = types.void(image, low, share, values, at)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        near = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        next_pixel = builder.add(arguments[1], ir.Constant(arguments[1].type, LANES))
        far = _pointer(context, builder, signature.args[0], arguments[0], next_pixel)
        value = builder.load(_pointer(context, builder, signature.args[3], arguments[3], arguments[4]), align=4)
        upper = builder.fmul(_everywhere(builder, arguments[2]), value)
        builder.store(builder.fadd(builder.load(near, align=4), builder.fsub(value, upper)), near, align=4)
        builder.store(builder.fadd(builder.load(far, align=4), upper), far, align=4)
        return context.get_dummy_value()

    return signature, code


@numba.njit(cache=True, parallel=True, fastmath=_EXACT, error_model="numpy")
def forward(image: NDArray, steps: NDArray, ranges: NDArray, lengths: NDArray, rays: NDArray, out: NDArray) -> None:
    """Line integrals of all walks through the copies that lie in the lanes.

    Args:
        image: [along, across + 2 * PAD, LANES].
        steps: int64 [walk, 2], see `lanes.Walks`.
        ranges: int32 [walk, 2], likewise.
        lengths: float32 [walk], likewise.
        rays: int32 [walk, copy], likewise.
        out: [slice, ray].
    """
    flat, width, copies = image.reshape(-1), np.int64(image.shape[1]), rays.shape[1]
    for tile in numba.prange((len(steps) + _TILE - 1) // _TILE):
        begin = np.int64(tile) * _TILE  # prange counts without sign, and that mixed with a sign makes floats
        walk, inside = steps[begin : begin + _TILE], ranges[begin : begin + _TILE]
        totals = np.zeros(_TILE * LANES, dtype=np.float32)
        first = np.int64(inside[:, 0].min())
        position = walk[:, 0] + first * walk[:, 1]
        for k in range(first, np.int64(inside[:, 1].max())):
            for n in range(len(walk)):
                place = position[n]
                position[n] = place + walk[n, 1]
                if inside[n, 0] <= k < inside[n, 1]:
                    share = np.float32(place & _MASK) * _UNIT
                    _read_between(totals, n * LANES, flat, (k * width + (place >> _SHIFT)) * LANES, share)  # type: ignore[call-arg]
        for n in range(len(walk)):
            for lane in range(len(out) * copies):
                ray = rays[begin + n, lane % copies]
                if ray >= 0:
                    out[lane // copies, ray] = totals[n * LANES + lane] * lengths[begin + n]


@numba.njit(cache=True, parallel=True, fastmath=_EXACT, error_model="numpy")
def adjoint(values: NDArray, steps: NDArray, ranges: NDArray, lengths: NDArray, rays: NDArray, image: NDArray) -> None:
    """The transpose of `forward`: values [slice, ray] -> image. Every thread fills its own rows, walks in order."""
    flat, width, copies = image.reshape(-1), np.int64(image.shape[1]), rays.shape[1]
    loads = np.zeros(len(steps) * LANES, dtype=np.float32)
    for number in numba.prange(len(steps)):
        at = np.int64(number)
        for lane in range(len(values) * copies):
            ray = rays[at, lane % copies]
            if ray >= 0:
                loads[at * LANES + lane] = values[lane // copies, ray] * lengths[at]
    for slab in numba.prange((len(image) + _SLAB - 1) // _SLAB):
        top = np.int64(slab) * _SLAB
        bottom = min(top + _SLAB, np.int64(len(image)))
        image[top:bottom] = np.float32(0.0)
        for begin in range(0, len(steps), _TILE):
            walk, inside = steps[begin : begin + _TILE], ranges[begin : begin + _TILE]
            first = max(top, np.int64(inside[:, 0].min()))
            position = walk[:, 0] + first * walk[:, 1]
            for k in range(first, min(bottom, np.int64(inside[:, 1].max()))):
                for n in range(len(walk)):
                    place = position[n]
                    position[n] = place + walk[n, 1]
                    if inside[n, 0] <= k < inside[n, 1]:
                        share = np.float32(place & _MASK) * _UNIT
                        low = (k * width + (place >> _SHIFT)) * LANES
                        _spread_between(flat, low, share, loads, (begin + n) * LANES)  # type: ignore[call-arg]


@numba.njit(cache=True, parallel=True, fastmath=_EXACT, error_model="numpy")
def backproject(
    filtered: NDArray,
    angles: NDArray,
    x: NDArray,
    y: NDArray,
    kind: int,
    distance: float,
    first: float,
    per_pitch: float,
    power: int,
    out: NDArray,
) -> None:
    """Pixel-driven backprojection of groups of views; see `_numba_kernels.backproject` and `views`.

    Args:
        filtered: [group, bin + 4, LANES], two zeros at either end, which `first` counts in.
        angles: [group].
        x: of every column.
        y: of every row.
        kind: 0 parallel, 1 flat fan, 2 curved fan.
        distance: source to isocenter.
        first: bin of the central ray.
        per_pitch: bins a unit.
        power: of the flat fan's distance weight.
        out: [row, column, LANES].
    """
    top = filtered.shape[1] - 2.0
    for index in numba.prange(out.shape[0]):
        row = np.int64(index)
        totals = np.zeros(out.shape[1] * LANES, dtype=np.float32)
        for group in range(filtered.shape[0]):
            c, s, bins = np.cos(angles[group]), np.sin(angles[group]), filtered[group].reshape(-1)
            for column in range(out.shape[1]):
                across = x[column] * c + y[row] * s
                weight = np.float32(1.0)
                if kind == 0:
                    place = first + across * per_pitch
                else:
                    along = distance - x[column] * s + y[row] * c
                    if kind == 1:
                        inverse = distance / along
                        place = first + across * inverse * per_pitch
                        weight = np.float32(inverse if power == 1 else inverse * inverse)
                    else:
                        place = first + np.arctan2(across, along) * per_pitch
                        weight = np.float32(1.0 / (across * across + along * along))
                place = min(max(place, 0.0), top)
                low = np.int64(place)
                share = np.float32(place - low)
                _read_weighted(totals, column * LANES, bins, low * LANES, share, weight)  # type: ignore[call-arg]
        for column in range(out.shape[1]):
            for lane in range(LANES):
                out[row, column, lane] = totals[column * LANES + lane]
