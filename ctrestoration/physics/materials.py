"""Attenuation of tissues and implant materials.

NIST XCOM for water, cortical bone (ICRU-44), titanium, iron and copper; xraylib for everything else; coherent
scattering included. Densities and compositions stand in `data/materials.json`, the numbers in `data/attenuation.csv`.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError


@dataclass(frozen=True)
class Material:
    """What a voxel can be made of.

    Attributes:
        name: its name here.
        density: g/cm3.
        kind: "tissue", "contrast", "metal", "ceramic" or "polymer".
        mass_fractions: element symbol -> share of the mass.
        parts: tabulated material -> share of the mass; a tabulated material is its own only part.
    """

    name: str
    density: float
    kind: str
    mass_fractions: tuple[tuple[str, float], ...] = ()
    parts: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.density) and self.density > 0):
            raise InputError(f"The density of {self.name} must be above 0 g/cm3, not {self.density:g}.")

    def mass_attenuation(self, energies: Any) -> NDArray[np.float64]:
        """Total mass attenuation in cm2/g at energies in keV (10..140), interpolated log-log.

        Raises:
            InputError: an energy outside the table.
        """
        grid, columns = _table()
        energies = np.atleast_1d(np.asarray(energies, dtype=np.float64))
        if energies.min() < grid[0] or energies.max() > grid[-1]:
            raise InputError(
                f"Attenuation is known from {grid[0]:g} to {grid[-1]:g} keV, not for {energies.min():g} to "
                f"{energies.max():g} keV."
            )
        total = np.zeros(energies.shape)
        for name, share in self.parts or ((self.name, 1.0),):
            total += share * np.exp(np.interp(np.log(energies), np.log(grid), np.log(columns[name])))
        return total

    def attenuation(self, energies: Any) -> NDArray[np.float64]:
        """Linear attenuation in 1/mm at energies in keV (10..140)."""
        return self.mass_attenuation(energies) * (self.density / 10.0)


def mixture(name: str, volumes: Mapping[str, float], *, kind: str = "tissue") -> Material:
    """A mixture of known materials whose volumes add up.

    Args:
        name: what to call it.
        volumes: material name -> share of the volume, each at least 0; scaled to sum to 1.
        kind: see `Material`.

    Raises:
        InputError: unknown material, a negative share, or nothing at all.
    """
    total = sum(volumes.values())
    if not volumes or min(volumes.values()) < 0 or not (math.isfinite(total) and total > 0):
        raise InputError(
            f"The mixture {name!r} needs shares of at least 0 that sum to more than 0, not {dict(volumes)}."
        )
    parts = [(material(each), share / total) for each, share in volumes.items() if share > 0]
    density = sum(part.density * share for part, share in parts)
    elements: dict[str, float] = {}
    tables: dict[str, float] = {}
    for part, share in parts:
        mass = part.density * share / density
        for element, fraction in part.mass_fractions:
            elements[element] = elements.get(element, 0.0) + mass * fraction
        for table, fraction in part.parts or ((part.name, 1.0),):
            tables[table] = tables.get(table, 0.0) + mass * fraction
    return Material(name, density, kind, tuple(elements.items()), tuple(tables.items()))


_IODINATED = re.compile(r"iodine (?P<amount>[0-9.]+) mg/ml(?: in (?P<solvent>.+))?", re.IGNORECASE)


@cache
def material(name: str) -> Material:
    """The material of that name or alias, upper and lower case alike.

    "iodine 12 mg/ml" is water with that much iodine, "iodine 12 mg/ml in muscle" another solvent.

    Raises:
        InputError: unknown; the message lists the known ones and the nearest.
    """
    iodinated = _IODINATED.fullmatch(name.strip())
    if iodinated is not None:
        return _with_iodine(iodinated["amount"], iodinated["solvent"] or "water")
    facts = _facts()
    known = {each.lower(): each for each in facts["materials"]}
    known |= {alias.lower(): full for alias, full in facts["aliases"].items()}
    full = known.get(name.strip().lower())
    if full is None:
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {known[close[0]]!r}?" if close else ""
        raise InputError(f"Unknown material {name!r}: known ones are {', '.join(facts['materials'])}.{hint}")
    entry = facts["materials"][full]
    return Material(full, float(entry["density"]), entry["kind"], tuple(entry["mass_fractions"].items()))


def _with_iodine(amount: str, solvent: str) -> Material:
    try:
        share = float(amount) / 1000.0 / material("iodine").density
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise InputError(f"Iodine must lie in 0..{1000 * material('iodine').density:g} mg/ml, not {amount}.")
    base = material(solvent)
    return mixture(
        f"iodine {float(amount):g} mg/ml in {base.name}", {base.name: 1 - share, "iodine": share}, kind="contrast"
    )


def material_names(kind: str | None = None) -> list[str]:
    """Names of all materials, or of those of one kind."""
    return [name for name, entry in _facts()["materials"].items() if kind in (None, entry["kind"])]


@cache
def _facts() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_data("materials.json"))
    return loaded


@cache
def _table() -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    head, *rows = list(csv.reader(_data("attenuation.csv").splitlines()))
    values = np.array(rows, dtype=np.float64)
    return values[:, 0], {name: values[:, column] for column, name in enumerate(head) if column}


def _data(name: str) -> str:
    return (resources.files("ctrestoration.physics") / "data" / name).read_text(encoding="utf-8")
