"""Regenerate the tables in ctrestoration/physics/data. A development tool: run it only to change them.

    python tools/make_physics_tables.py ATTENUATION_FOLDER

Needs `pip install xraylib==4.3.0 spekpy==2.5.4` and a folder with the NIST XCOM tables MiuofH2O.mat,
MiuofBONE_Cortical_ICRU44.mat, MiuofTi.mat, MiuofFe.mat, MiuofCu.mat and GE14Spectrum120KVP.mat of the ADN repository
(liaohaofu/adn, BSD license), on which the public metal artifact benchmark rests.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import scipy.io
import spekpy
import xraylib

DATA = Path(__file__).resolve().parents[1] / "ctrestoration" / "physics" / "data"
ENERGIES = np.arange(10, 141)
NIST = {"water": "H2O", "cortical bone": "BONE_Cortical_ICRU44", "titanium": "Ti", "iron": "Fe", "copper": "Cu"}


def main() -> None:
    """Write both tables."""
    folder = Path(sys.argv[1])
    materials = json.loads((DATA / "materials.json").read_text())["materials"]
    columns = {name: _column(folder, name, facts["mass_fractions"]) for name, facts in materials.items()}
    with (DATA / "attenuation.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["energy_kev", *columns])
        for row, energy in enumerate(ENERGIES):
            writer.writerow([int(energy), *(f"{values[row]:.5g}" for values in columns.values())])
    (DATA / "spectra.json").write_text(json.dumps(_spectra(folder), indent=1) + "\n")


def _column(folder: Path, name: str, fractions: dict[str, float]) -> np.ndarray:
    """Mass attenuation in cm2/g, coherent scattering included, at every energy."""
    total = sum(fractions.values())
    parts = [
        share / total * np.array([xraylib.CS_Total(xraylib.SymbolToAtomicNumber(symbol), float(e)) for e in ENERGIES])
        for symbol, share in fractions.items()
    ]
    column = np.sum(parts, axis=0)
    if name in NIST:
        table = _mat(folder / f"Miuof{NIST[name]}.mat")
        known = round(table[-1, 0] * 1000) >= ENERGIES
        exact = np.exp(np.interp(np.log(ENERGIES[known] / 1000), np.log(table[:, 0]), np.log(table[:, 6])))
        column *= exact[-1] / column[known][-1]  # continue NIST without a step where its table ends
        column[known] = exact
    return column


def _spectra(folder: Path) -> dict[str, object]:
    spectra: dict[str, object] = {}
    table = _mat(folder / "GE14Spectrum120KVP.mat")
    inside = (table[:, 0] >= 20) & (table[:, 0] <= 120)
    spectra["adn-120"] = {
        "kvp": 120,
        "source": "GE14Spectrum120KVP of the ADN repository (liaohaofu/adn, BSD license); 20 to 120 keV, the table "
        "behind the SynDeepLesion benchmark",
        "energies_kev": table[inside, 0].round().astype(int).tolist(),
        "weights": _normalized(table[inside, 1]),
    }
    for kvp in (80, 100, 120, 140):
        tube = spekpy.Spek(kvp=kvp, th=8, dk=1).filter("Al", 3.0).filter("Ti", 0.9)
        energies, fluence = tube.get_spectrum(edges=False)
        keep = (energies >= 10) & (energies <= kvp)
        binned = np.interp(ENERGIES[kvp >= ENERGIES], energies[keep], fluence[keep], left=0.0, right=0.0)
        first = int(np.flatnonzero(binned > 1e-6 * binned.max())[0])
        spectra[f"tungsten-{kvp}"] = {
            "kvp": kvp,
            "source": "spekpy 2.5.4 (MIT license): tungsten anode, 8 degrees, 3 mm Al and 0.9 mm Ti filtration",
            "energies_kev": ENERGIES[kvp >= ENERGIES][first:].tolist(),
            "weights": _normalized(binned[first:]),
        }
    return spectra


def _normalized(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values / values.sum()]


def _mat(path: Path) -> np.ndarray:
    return next(value for key, value in scipy.io.loadmat(path).items() if not key.startswith("_"))


if __name__ == "__main__":
    main()
