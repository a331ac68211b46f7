"""Plans: which screw goes where, as JSON that a person can read and edit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ctrestoration.errors import InputError
from ctrestoration.files import write_json

Side = Literal["left", "right"]
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
    """

    level: str
    side: Side
    entry: tuple[float, float, float]
    target: tuple[float, float, float]
    diameter_mm: float
    material: str = "Ti6Al4V"
    grade: str | None = None
    breach_mm: float | None = None

    @property
    def length_mm(self) -> float:
        """From entry to tip."""
        return sum((a - b) ** 2 for a, b in zip(self.entry, self.target, strict=True)) ** 0.5


@dataclass(frozen=True)
class Rod:
    """A rod through the heads of one side; points in LPS mm, cranial to caudal."""

    side: Side
    points: tuple[tuple[float, float, float], ...]
    diameter_mm: float = 5.5
    material: str = "Ti6Al4V"


@dataclass(frozen=True)
class Plan:
    """A construct: its screws, its rods, and what a surgeon should know of it."""

    screws: tuple[Screw, ...]
    rods: tuple[Rod, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan as JSON."""
    write_json(path, {"format": _FORMAT, "version": _VERSION, **asdict(plan)})


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Raises:
        InputError: not there, not JSON, not a plan, or a field that does not fit; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: a plan is a JSON file written by 'ctrestoration demo'.")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT or content["version"] > _VERSION:
            raise InputError(f"{path} is no plan of this version of CTRestoration.")
        return Plan(
            tuple(Screw(**screw) for screw in content["screws"]),
            tuple(Rod(**rod) for rod in content["rods"]),
            tuple(content.get("warnings", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no readable plan: {error}.") from error
