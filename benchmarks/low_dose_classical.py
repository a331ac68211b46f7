"""How the classical low-dose methods compare on phantoms, over dose; where the strengths of the denoisers come from.

    python benchmarks/low_dose_classical.py [--phantoms 2] [--json]

True-scale parallel geometry of the LoDoPaB chain at 256x256 pixels of 1.5 mm. PSNR over the centered circle, data range
4072 HU (1.0 on the scale of LoDoPaB), against the truth without noise.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from ctrestoration.anatomy.phantom import PhantomOptions, spine_phantom
from ctrestoration.errors import CTRestorationError
from ctrestoration.reconstruct.methods import denoisers
from ctrestoration.registry import get, methods
from ctrestoration.simulate.lowdose import LowDoseSimulation, simulate_lowdose

DOSES = (1e3, 4096, 2e4, 1e5)
STRENGTHS = {"nlm": (0.4, 0.6, 0.8, 1.0, 1.3), "tv": (0.5, 0.8, 1.1, 1.6, 2.2)}
DATA_RANGE_HU = 4072.0


def main() -> None:
    """Print a row for every method, and for every strength of the denoisers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantoms", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    scans = {dose: [_scan(seed, dose) for seed in range(900, 900 + arguments.phantoms)] for dose in DOSES}
    rows: dict[str, list[float]] = {"low dose": [_mean(scans[dose], None) for dose in DOSES]}
    for name in methods("reconstruction"):
        try:
            rows[name] = [_mean(scans[dose], name) for dose in DOSES]
        except CTRestorationError as error:
            print(f"left out: {error}")
    for name, strengths in STRENGTHS.items():
        usual = getattr(denoisers, f"{name.upper()}_STRENGTH")
        for strength in strengths:
            setattr(denoisers, f"{name.upper()}_STRENGTH", strength)
            rows[f"{name}, strength {strength:g}"] = [_mean(scans[dose], name) for dose in DOSES]
        setattr(denoisers, f"{name.upper()}_STRENGTH", usual)
    if arguments.json:
        print(json.dumps({"photons": DOSES, "data_range_hu": DATA_RANGE_HU, "psnr_db": rows}, indent=2))
        return
    print(f"| PSNR dB | {' | '.join(f'{dose:g} photons' for dose in DOSES)} |\n|---|{'---|' * len(DOSES)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")


def _scan(seed: int, photons: float) -> LowDoseSimulation:
    phantom = spine_phantom(
        size=(1, 256, 256), spacing=(1.5, 1.5, 5.0), seed=seed, region="L1", options=PhantomOptions(noise_hu=0)
    )
    return simulate_lowdose(phantom.volume, photons=photons, fine_pixels=512, seed=seed)


def _mean(scans: list[LowDoseSimulation], name: str | None) -> float:
    return float(np.mean([_psnr(scan, name) for scan in scans]))


def _psnr(scan: LowDoseSimulation, name: str | None) -> float:
    image = scan.acquisition.image if name is None else get("reconstruction", name).restore(scan.acquisition).image
    rows, columns = np.indices(image.array.shape[1:]) - 127.5
    circle = np.hypot(rows, columns) < 128
    error = (image.array - scan.truth.array)[:, circle] / DATA_RANGE_HU
    return float(-10.0 * np.log10(np.mean(error.astype(np.float64) ** 2)))


if __name__ == "__main__":
    main()
