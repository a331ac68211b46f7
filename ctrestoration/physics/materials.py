"""Attenuation of tissues and implant materials.

NIST XCOM for water, cortical bone (ICRU-44), titanium, iron and copper; xraylib for everything else; coherent
scattering included. Densities and compositions stand in `data/materials.json`, the numbers in `data/attenuation.csv`.
"""

from __future__ import annotations

import csv
import difflib
import json
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
    """

    name: str
    density: float
    kind: str
    mass_fractions: tuple[tuple[str, float], ...]

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
        return np.exp(np.interp(np.log(energies), np.log(grid), np.log(columns[self.name])))

    def attenuation(self, energies: Any) -> NDArray[np.float64]:
        """Linear attenuation in 1/mm at energies in keV (10..140)."""
        return self.mass_attenuation(energies) * (self.density / 10.0)


def material(name: str) -> Material:
    """The material of that name or alias, upper and lower case alike.

    Raises:
        InputError: unknown; the message lists the known ones and the nearest.
    """
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
