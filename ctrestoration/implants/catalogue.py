"""The catalogue: implants that exist, their sizes and materials, and what is usual at each vertebra.

One JSON file, `data/catalogue.json`, which may be edited; every entry names its source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from ctrestoration.errors import InputError


@dataclass(frozen=True)
class ScrewPreset:
    """A screw family.

    Attributes:
        name: its key.
        title: for people.
        diameters_mm: outer diameters on offer.
        core_ratio: core over outer diameter.
        pitch_mm: of the thread.
        lengths_mm: lengths on offer.
        rod_mm: rod diameters that its head takes.
        levels: vertebrae it is made for.
    """

    name: str
    title: str
    diameters_mm: tuple[float, ...]
    core_ratio: float
    pitch_mm: float
    lengths_mm: tuple[float, ...]
    rod_mm: tuple[float, ...]
    levels: tuple[str, ...]


@dataclass(frozen=True)
class LevelTable:
    """What is usual at one vertebra; angles in degrees as in `bone.Frame.direction`."""

    pedicle_width_mm: float
    transverse_deg: float
    sagittal_deg: float
    diameter_mm: tuple[float, float]
    length_mm: tuple[float, float]


UNKNOWN_LEVEL = LevelTable(9.0, 12.0, 4.0, (5.0, 6.5), (35.0, 50.0))
"""For a vertebra whose level nobody knows: thoracolumbar means, to be taken lightly."""


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Any]:
    """The whole catalogue as JSON types; treat it as read-only."""
    text = resources.files("ctrestoration.implants").joinpath("data/catalogue.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def level_table(level: str) -> LevelTable:
    """The usual values at a level, `UNKNOWN_LEVEL` for a name that is no level."""
    row = catalogue()["levels"].get(level)
    if row is None:
        return UNKNOWN_LEVEL
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return LevelTable(**values)


def screw_presets() -> dict[str, ScrewPreset]:
    """Every screw family by name."""
    return {
        name: ScrewPreset(
            name, row["title"], tuple(row["diameters_mm"]), row["core_ratio"], row["pitch_mm"],
            tuple(row["lengths_mm"]), tuple(row["rod_mm"]), tuple(row["levels"]),
        )
        for name, row in catalogue()["screws"].items()
    }  # fmt: skip


def preset_for(level: str, diameter_mm: float) -> ScrewPreset:
    """The first family that is made for the level and offers the diameter; else the one with the nearest diameter."""
    presets = list(screw_presets().values())
    for preset in presets:
        if level in preset.levels and diameter_mm in preset.diameters_mm:
            return preset
    return min(presets, key=lambda preset: min(abs(diameter_mm - value) for value in preset.diameters_mm))


def diameters_for(level: str) -> tuple[float, ...]:
    """Diameters on offer at a level, ascending; all of the spine where the level is not known."""
    presets = screw_presets().values()
    fitting = [preset for preset in presets if level in preset.levels] or [
        preset for preset in presets if preset.name in ("thoracic-small", "thoracic", "lumbar")
    ]
    return tuple(sorted({value for preset in fitting for value in preset.diameters_mm}))


def implant(name: str) -> dict[str, Any]:
    """One of the other implants.

    Raises:
        InputError: no such implant; the message lists those there are.
    """
    found: dict[str, Any] | None = catalogue()["implants"].get(name)
    if found is None:
        raise InputError(f"There is no implant {name!r} in the catalogue: it has {', '.join(catalogue()['implants'])}.")
    return found
