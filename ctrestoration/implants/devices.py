"""The other implants of the catalogue, as closed solids: origin, long axis z, facing x, turned to where they belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.implants.catalogue import implant
from ctrestoration.implants.mesh import (
    Mesh,
    box,
    ellipsoid,
    extrude,
    frame_along,
    lathe,
    ring_of_revolution,
    sweep,
)
from ctrestoration.implants.plan import Device, Point
from ctrestoration.implants.screw import Thread

Vector = NDArray[np.float64]
Named = tuple[str, str, Mesh]
Sizes = Mapping[str, float]
_X_TO_Z = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Lays a body that stands along z down along x."""

_MARKER = "tantalum"
_DIRECTIONS = {
    "cross-link": ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "plif-cage": ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    "alif-cage": ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
}


def device_parts(device: Device) -> list[Named]:
    """(name, material, mesh) of each solid, in place.

    Raises:
        InputError: an unknown kind or size, or a size outside the catalogue's range; the message gives the range.
    """
    entry = implant(device.kind)
    sizes = _sizes(device, entry["sizes"])
    material = device.material or entry["material"]
    matrix = frame_along(np.asarray(device.axis, dtype=np.float64), np.asarray(device.facing, dtype=np.float64))
    parts = _BUILDERS[device.kind](sizes, material)
    shift = np.asarray(device.position, dtype=np.float64)
    return [(f"{device.kind} {name}", made_of, mesh.moved(matrix, shift)) for name, made_of, mesh in parts]


def usual_direction(kind: str) -> tuple[Point, Point]:
    """(axis, facing) of an implant as it lies in a patient who is not turned, LPS unit vectors.

    A cross-link runs from rod to rod, a cage from back to front with its height upward; others along the body.
    """
    return _DIRECTIONS.get(kind, (Device.axis, Device.facing))


def _sizes(device: Device, ranges: Mapping[str, list[float]]) -> dict[str, float]:
    """The catalogue's default sizes with the device's own."""
    sizes = {name: float(values[2]) for name, values in ranges.items()}
    for name, value in device.sizes.items():
        if name not in ranges:
            raise InputError(f"A {device.kind} has no size {name!r}: it has {', '.join(ranges)}.")
        low, high, _ = ranges[name]
        if not low <= value <= high:
            raise InputError(f"The {device.kind}'s {name} must lie in {low:g}..{high:g}, not {value:g}.")
        sizes[name] = float(value)
    return sizes


def _cross_link(s: Sizes, material: str) -> list[Named]:
    half = s["length_mm"] / 2
    bar = lathe([(-half, s["diameter_mm"] / 2), (half, s["diameter_mm"] / 2)])
    clamps = [box((8, 9, 8)).moved(np.eye(3), np.array([0, 0, side * half])) for side in (-1, 1)]
    return [("bar", material, bar), *[("clamp", material, clamp) for clamp in clamps]]


def _cage(s: Sizes, material: str) -> list[Named]:
    """A wedge along z (length), x up and down (height), y across (width), with four tantalum pins."""
    length, width, height = s["length_mm"], s["width_mm"], s["height_mm"]
    rise = np.tan(np.radians(s["lordosis_deg"] / 2)) * length / 2
    front, back = height / 2 + rise, max(height / 2 - rise, 2.0)
    stack = []
    for z, half, narrow in (
        (-length / 2, back, 0.7),
        (-length / 2 + 3, back, 1),
        (length / 2 - 3, front, 1),
        (length / 2, front, 0.7),
    ):
        w = width / 2 * narrow
        stack.append([(-half * narrow, -w, z), (half * narrow, -w, z), (half * narrow, w, z), (-half * narrow, w, z)])
    from ctrestoration.implants.mesh import rings

    body = rings(np.array(stack))
    pin = lathe([(-0.45 * height, 0.45), (0.45 * height, 0.45)], 12).moved(_X_TO_Z, np.zeros(3))
    places = [(0.0, y * (width / 2 - 1.5), z * (length / 2 - 3)) for y in (-1, 1) for z in (-1, 1)]
    return [("body", material, body)] + [("marker", _MARKER, pin.moved(np.eye(3), np.array(p))) for p in places]


def _hip_stem(s: Sizes, material: str) -> list[Named]:
    """Origin where neck and stem meet; the stem runs to -z, the neck to +z and +x at 45 degrees."""
    length, tip = s["length_mm"], s["distal_mm"] / 2
    stem = lathe(
        [(-length, 0.5 * tip), (-length + 4, tip), (-0.45 * length, 1.15 * tip), (-6, 2.0 * tip), (0, 1.7 * tip)]
    )
    stem = stem.moved(np.diag([1.15, 0.85, 1.0]), np.zeros(3))
    along = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)
    neck = sweep(np.linspace(-4.0, s["neck_mm"], 12)[:, None] * along, np.linspace(8.0, 6.0, 12))
    ball = ellipsoid((s["head_mm"] / 2,) * 3, 40).moved(np.eye(3), s["neck_mm"] * along)
    return [("stem", material, stem), ("neck", material, neck), ("head", "CoCrMo", ball)]


def _hip_cup(s: Sizes, material: str) -> list[Named]:
    """A hemispherical shell that opens to +z, origin at its center."""
    outer, inner = s["outer_mm"] / 2, s["outer_mm"] / 2 - s["shell_mm"]
    angle = np.linspace(np.radians(2), np.pi / 2, 24)
    outside = [(-outer * np.cos(t), outer * np.sin(t)) for t in angle]
    inside = [(-inner * np.cos(t), inner * np.sin(t)) for t in angle[::-1]]
    return [("shell", material, ring_of_revolution(outside + inside))]


def _nail(s: Sizes, material: str) -> list[Named]:
    """Origin at its upper end; the nail runs to -z, the lag screw to +x and up at 125 degrees."""
    radius, length = s["diameter_mm"] / 2, s["length_mm"]
    outline = [(-length, radius - 1), (-length + 3, radius), (-60, radius), (-45, radius + 2), (0, radius + 2)]
    bore = [(0.0, 2.2), (-length, 2.2)]
    nail = ring_of_revolution(outline + bore)
    direction = np.array([np.sin(np.radians(125)), 0, -np.cos(np.radians(125))])
    thread = Thread(s["lag_mm"], 0.7 * s["lag_mm"], s["lag_length_mm"], 3.0)
    start = np.array([0.0, 0.0, -50.0]) - 22 * direction
    tip = start + s["lag_length_mm"] * direction
    lag = thread.mesh().moved(frame_along(-direction), tip)
    return [("nail", material, nail), ("lag screw", material, lag)]


def _plate(s: Sizes, material: str) -> list[Named]:
    """A flat plate along z on the bone, its screws into the bone along -x."""
    parts: list[Named] = [("plate", material, box((s["thickness_mm"], s["width_mm"], s["length_mm"])))]
    count = round(s["screws"])
    thread = Thread(4.5, 3.2, 32.0, 1.75)
    for z in np.linspace(-s["length_mm"] / 2 + 8, s["length_mm"] / 2 - 8, count):
        screw = thread.mesh(24, 12).moved(frame_along(np.array([1.0, 0, 0])), np.array([-32.0, 0.0, float(z)]))
        parts.append(("screw", material, screw))
    return parts


def _crown(s: Sizes, material: str) -> list[Named]:
    """A cap that opens to -z."""
    radius, height, shell = s["width_mm"] / 2, s["height_mm"], s["shell_mm"]
    outside = [
        (0.0, radius * 0.9),
        (height * 0.5, radius),
        (height - 1, radius * 0.92),
        (height, radius * 0.6),
        (height, 0.05),
    ]
    inside = [
        (height - shell, 0.05),
        (height - shell, radius * 0.5),
        (height * 0.5, radius - shell),
        (0.0, radius * 0.9 - shell),
    ]
    return [("crown", material, ring_of_revolution(outside + inside))]


def _filling(s: Sizes, material: str) -> list[Named]:
    w = s["width_mm"] / 2
    return [("filling", material, ellipsoid((w, 0.8 * w, 0.7 * w), 20))]


def _wire(s: Sizes, material: str) -> list[Named]:
    t = np.arange(72) * 2 * np.pi / 72
    loop = s["loop_mm"] / 2
    path = np.stack([0.75 * loop * np.cos(t), np.zeros_like(t), loop * np.sin(t)], axis=1)
    twist = lathe([(loop - 0.5, s["diameter_mm"]), (loop + 5, s["diameter_mm"])], 16)
    return [("loop", material, sweep(path, s["diameter_mm"] / 2, 12, loop=True)), ("twist", material, twist)]


def _coil(s: Sizes, material: str) -> list[Named]:
    turns, radius = s["turns"], s["diameter_mm"] / 2 - s["wire_mm"] / 2
    t = np.linspace(0, 2 * np.pi * turns, max(8, int(20 * turns)))
    rise = s["wire_mm"] * 1.3 * t / (2 * np.pi)
    path = np.stack([radius * np.cos(t), radius * np.sin(t), rise - rise[-1] / 2], axis=1)
    return [("coil", material, sweep(path, s["wire_mm"] / 2, 10))]


def _clip(s: Sizes, material: str) -> list[Named]:
    length, r = s["length_mm"], s["wire_mm"] / 2
    bend = np.linspace(-np.pi / 2, np.pi / 2, 12)
    gap = max(0.6 * r + 0.9, 1.2 * r)
    tip = np.stack([np.full(12, 0.0), gap * np.sin(bend), length / 2 + gap * np.cos(bend)], axis=1)
    legs = np.linspace(-length / 2, length / 2, 10)
    left = np.stack([np.zeros(10), np.full(10, -gap), legs], axis=1)
    right = np.stack([np.zeros(10), np.full(10, gap), legs[::-1]], axis=1)
    return [("clip", material, sweep(np.concatenate([left, tip[1:-1], right]), r, 12))]


def _stent(s: Sizes, material: str) -> list[Named]:
    """Zigzag rings along z."""
    radius, strut, length = s["diameter_mm"] / 2, s["strut_mm"] / 2, s["length_mm"]
    cells = max(6, round(radius * 1.6))
    pitch = min(max(4.0, 0.5 * s["diameter_mm"]), length / 2)
    t = np.arange(cells * 8) * 2 * np.pi / (cells * 8)
    saw = 2 * np.abs((t * cells / (2 * np.pi)) % 1 - 0.5) * 2 - 1
    parts: list[Named] = []
    for z in np.arange(-length / 2 + pitch / 2, length / 2 - pitch / 2 + 1e-6, pitch):
        path = np.stack([radius * np.cos(t), radius * np.sin(t), z + 0.45 * pitch * saw], axis=1)
        parts.append(("ring", material, sweep(path, strut, 8, loop=True)))
    return parts


def _cement(s: Sizes, material: str) -> list[Named]:
    """Three overlapping blobs of this volume together, about."""
    radius = (s["volume_ml"] * 1000 / (4 / 3 * np.pi) / 1.9) ** (1 / 3)
    places = ((0, 0, 0), (0.8, 0.3, 0.25), (-0.7, 0.4, -0.2))
    blob = ellipsoid((radius, 0.9 * radius, 0.8 * radius), 28)
    return [("cement", material, blob.moved(np.eye(3), radius * np.array(p, dtype=float))) for p in places]


def prism(points: Vector, thickness_mm: float) -> Mesh:
    """A flat piece of metal over a star-shaped outline (n, 2)."""
    return extrude(points, -thickness_mm / 2, thickness_mm / 2)


_BUILDERS: dict[str, Callable[[Sizes, str], list[Named]]] = {
    "cross-link": _cross_link,
    "plif-cage": _cage,
    "alif-cage": _cage,
    "hip-stem": _hip_stem,
    "hip-cup": _hip_cup,
    "femoral-nail": _nail,
    "plate": _plate,
    "dental-crown": _crown,
    "dental-filling": _filling,
    "sternal-wire": _wire,
    "coil": _coil,
    "clip": _clip,
    "stent": _stent,
    "bone-cement": _cement,
}
