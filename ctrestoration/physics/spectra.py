"""X-ray tube spectra as the detector weighs them, shipped as tables with their provenance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError


@dataclass(frozen=True)
class Spectrum:
    """A normalized spectrum.

    Attributes:
        name: its name here.
        kvp: tube voltage.
        energies: keV.
        weights: share of the photons at each energy; they sum to 1.
        source: where the numbers come from.
    """

    name: str
    kvp: float
    energies: NDArray[np.float64]
    weights: NDArray[np.float64]
    source: str

    @property
    def mean_energy(self) -> float:
        """Mean photon energy in keV."""
        return float(self.energies @ self.weights)


def spectrum(name: str) -> Spectrum:
    """The spectrum of that name, or the tungsten spectrum of a tube voltage such as "100".

    Raises:
        InputError: unknown; the message lists the known ones.
    """
    tables = _tables()
    key = f"tungsten-{name}" if name.isdigit() else name
    if key not in tables:
        raise InputError(f"Unknown spectrum {name!r}: known ones are {', '.join(tables)}.")
    entry = tables[key]
    weights = np.asarray(entry["weights"], dtype=np.float64)
    energies = np.asarray(entry["energies_kev"], dtype=np.float64)
    return Spectrum(key, float(entry["kvp"]), energies, weights / weights.sum(), entry["source"])


def spectrum_names() -> list[str]:
    """Names of all spectra."""
    return list(_tables())


@cache
def _tables() -> dict[str, Any]:
    text = (resources.files("ctrestoration.physics") / "data" / "spectra.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
