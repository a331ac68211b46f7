"""Plans: which screw goes where, as JSON that a person can read and edit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from ctrestoration.errors import InputError
from ctrestoration.files import read_json, write_json
from ctrestoration.volume import Grid

Side = Literal["left", "right"]
Point = tuple[float, float, float]
_FORMAT = "ctrestoration plan"
_VERSION = 1


@dataclass(frozen=True)
class Screw:
    """One pedicle screw; points in LPS mm.

    Attributes:
        level: vertebra, e.g. "L3".
        side: the patient's.
        entry: where the shaft enters the bone, behind.
        target: where its tip ends, in the vertebral body.
        diameter_mm: outer diameter of the shaft.
        material: see `physics.materials`.
        grade: Gertzbein-Robbins A to E on the segmented bone, or None where it was not judged.
        breach_mm: how far the shaft leaves the bone, or None where it was not judged.
        breach_side: "medial", "lateral", "cranial" or "caudal", or None.
        canal_mm: from the shaft to the spinal canal, or None where it was not judged.
        transverse_deg: positive = tip toward the midline, in the vertebra's own frame; None where not known.
        sagittal_deg: positive = tip caudal.
        pedicle_width_mm: of the segmented bone, or None.
        core_ratio: core over outer diameter.
        pitch_mm: of the thread.
        cannulated_mm: bore along the shaft, 0 = solid.
        head: False for a headless screw.
        set_screw: False where it is missing.
        loosening_mm: width of the lucent gap around the shaft, 0 = well fixed.
    """

    level: str
    side: Side
    entry: Point
    target: Point
    diameter_mm: float
    material: str = "Ti6Al4V"
    grade: str | None = None
    breach_mm: float | None = None
    breach_side: str | None = None
    canal_mm: float | None = None
    transverse_deg: float | None = None
    sagittal_deg: float | None = None
    pedicle_width_mm: float | None = None
    core_ratio: float = 0.7077
    pitch_mm: float = 2.75
    cannulated_mm: float = 0.0
    head: bool = True
    set_screw: bool = True
    loosening_mm: float = 0.0

    @property
    def length_mm(self) -> float:
        """From entry to tip."""
        return math.dist(self.entry, self.target)


@dataclass(frozen=True)
class Rod:
    """A rod through the heads of one side; points in LPS mm, cranial to caudal."""

    side: Side
    points: tuple[Point, ...]
    diameter_mm: float = 5.5
    material: str = "Ti6Al4V"


@dataclass(frozen=True)
class Device:
    """Any other implant of the catalogue, put somewhere.

    Attributes:
        kind: its key in the catalogue, e.g. "hip-stem".
        position: of its origin, LPS mm.
        axis: unit vector along its length.
        facing: unit vector perpendicular to it that settles the turn about the axis.
        sizes: what differs from the catalogue's default, by name.
        material: instead of the catalogue's, or None.
    """

    kind: str
    position: Point
    axis: Point = (0.0, 0.0, 1.0)
    facing: Point = (0.0, -1.0, 0.0)
    sizes: Mapping[str, float] = field(default_factory=dict)
    material: str | None = None


@dataclass(frozen=True)
class Patient:
    """The CT that a plan was made on, as far as it takes to notice another one.

    Attributes:
        shape: voxels (z, y, x).
        affine: 4 rows of 4, index (i, j, k, 1) to LPS mm.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]

    @classmethod
    def of(cls, grid: Grid) -> Patient:
        """The fingerprint of a grid."""
        rows = tuple(tuple(round(float(value), 6) for value in row) for row in grid.affine)
        return cls(grid.shape, rows)  # type: ignore[arg-type]

    @property
    def grid(self) -> Grid:
        """The grid itself."""
        import numpy as np

        return Grid(self.shape, np.array(self.affine))


@dataclass(frozen=True)
class Plan:
    """A construct: its screws, its rods, and what a surgeon should know of it."""

    screws: tuple[Screw, ...] = ()
    rods: tuple[Rod, ...] = ()
    warnings: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    patient: Patient | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan as JSON.

    Raises:
        OutputError: where the file cannot be written.
    """
    write_json(path, to_json(plan))


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON types; screws carry their length for the reader, who may edit entry and target."""
    content = {"format": _FORMAT, "version": _VERSION, "units": "LPS mm, degrees", **asdict(plan)}
    for row, screw in zip(content["screws"], plan.screws, strict=True):
        row["length_mm"] = round(screw.length_mm, 2)
    return content


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Raises:
        InputError: not there, not JSON, not a plan, or a field that does not fit; the message names file, field and
            what would be right.
    """
    path = Path(path)
    content = read_json(path, "a plan is a JSON file written by 'ctrestoration implants plan'")
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(f'{path} is no plan: expected "format": "{_FORMAT}" at its top.')
    version = content.get("version")
    if not isinstance(version, int) or not 1 <= version <= _VERSION:
        raise InputError(f"{path} has version {version!r}; this program reads versions 1 to {_VERSION}.")
    reader = _Reader(str(path))
    return Plan(
        reader.items(content, "screws", Screw, _SCREW),
        reader.items(content, "rods", Rod, _ROD),
        reader.texts(content.get("warnings", [])),
        reader.items(content, "devices", Device, _DEVICE),
        reader.patient(content.get("patient")),
        content.get("settings") or {},
    )


def require_patient(plan: Plan, grid: Grid, what: str = "the CT") -> None:
    """Refuse a plan that was made on another CT.

    Scans of two patients hardly ever share size and position. Neither do a crop or a resampling of one scan: there, a
    person who knows that both share one frame of reference takes "patient" out of the plan.

    Raises:
        InputError: the scan is another one.
    """
    if plan.patient is not None:
        difference = plan.patient.grid.mismatch(grid, tolerance_mm=0.05)
        if difference is None:
            return
        raise InputError(
            f'The plan was made on another CT than {what}: {difference}. Plan on this CT, or remove "patient" from the '
            "plan if you know that both share one frame of reference."
        )


Check = Callable[[Any], "str | None"]
_Item = TypeVar("_Item")


def _number(low: float, high: float, unit: str = "mm") -> Check:
    def check(value: Any) -> str | None:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
        return None if fits else f"a number in {low:g}..{high:g} {unit}".rstrip()

    return check


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else "one of " + ", ".join(words)


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "a word"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _point(value: Any) -> str | None:
    number = _number(-5000, 5000)
    fits = isinstance(value, list) and len(value) == 3 and all(number(x) is None for x in value)
    return None if fits else "three coordinates [x, y, z] in LPS mm, each in -5000..5000"


def _points(value: Any) -> str | None:
    fits = isinstance(value, list) and len(value) >= 2 and all(_point(point) is None for point in value)
    return None if fits else "at least two points [x, y, z] in LPS mm"


def _sizes(value: Any) -> str | None:
    fits = isinstance(value, dict) and all(_number(0, 1000)(x) is None for x in value.values())
    return None if fits else "names with numbers in 0..1000"


_SCREW: dict[str, Check] = {
    "level": _text, "side": _one_of("left", "right"), "entry": _point, "target": _point,
    "diameter_mm": _number(2, 12), "material": _text, "grade": _optional(_one_of(*"ABCDE")),
    "breach_mm": _optional(_number(0, 100)), "breach_side": _optional(_text),
    "canal_mm": _optional(_number(-50, 500)), "transverse_deg": _optional(_number(-90, 90, "degrees")),
    "sagittal_deg": _optional(_number(-90, 90, "degrees")), "pedicle_width_mm": _optional(_number(0, 60)),
    "core_ratio": _number(0.4, 1.0, ""), "pitch_mm": _number(0.8, 8), "cannulated_mm": _number(0, 3),
    "head": _flag, "set_screw": _flag, "loosening_mm": _number(0, 5),
}  # fmt: skip
_ROD: dict[str, Check] = {
    "side": _one_of("left", "right"), "points": _points, "diameter_mm": _number(2, 8), "material": _text,
}  # fmt: skip
_DEVICE: dict[str, Check] = {
    "kind": _text, "position": _point, "axis": _point, "facing": _point, "sizes": _sizes, "material": _optional(_text),
}  # fmt: skip


class _Reader:
    """Reads parts of a plan's JSON, naming file and field of whatever does not fit."""

    def __init__(self, path: str) -> None:
        self.path = path

    def items(
        self, content: dict[str, Any], key: str, kind: type[_Item], checks: dict[str, Check]
    ) -> tuple[_Item, ...]:
        rows = content.get(key, [])
        if not isinstance(rows, list):
            raise InputError(f'{self.path}: "{key}" must be a list.')
        return tuple(self._item(row, f"{key}[{n}]", kind, checks) for n, row in enumerate(rows))

    def _item(self, row: Any, where: str, kind: type[_Item], checks: dict[str, Check]) -> _Item:
        if not isinstance(row, dict):
            raise InputError(f"{self.path}: {where} must be an object with {', '.join(checks)}.")
        values = {key: value for key, value in row.items() if key != "length_mm"}
        unknown = [key for key in values if key not in checks]
        if unknown:
            raise InputError(
                f'{self.path}: {where} has an unknown field "{unknown[0]}": known are {", ".join(checks)}.'
            )
        for part in fields(kind):  # type: ignore[arg-type]
            required = part.default is MISSING and part.default_factory is MISSING
            if part.name not in values and required:
                raise InputError(f'{self.path}: {where} lacks "{part.name}".')
            if part.name in values:
                expected = checks[part.name](values[part.name])
                if expected:
                    shown = json.dumps(values[part.name])
                    raise InputError(f"{self.path}: {where}.{part.name} is {shown[:60]}; expected {expected}.")
        if kind is Screw and not 5 <= math.dist(values["entry"], values["target"]) <= 150:
            length = math.dist(values["entry"], values["target"])
            raise InputError(
                f"{self.path}: {where} would be {length:.1f} mm long from entry to target; expected 5..150 mm."
            )
        return kind(**{key: _frozen(value) for key, value in values.items()})

    def texts(self, rows: Any) -> tuple[str, ...]:
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise InputError(f'{self.path}: "warnings" must be a list of sentences.')
        return tuple(rows)

    def patient(self, row: Any) -> Patient | None:
        if row is None:
            return None
        try:
            found = Patient(tuple(int(n) for n in row["shape"]), tuple(tuple(map(float, r)) for r in row["affine"]))  # type: ignore[arg-type,misc]
            found.grid  # noqa: B018 - raises where the numbers are no grid
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise InputError(
                f'{self.path}: "patient" must hold "shape" (z, y, x) and a 4x4 "affine"; or leave it out.'
            ) from error
        return found


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
