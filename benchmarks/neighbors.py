"""Do corrections of neighboring slices fit together? Methods work slice by slice; a reader scrolls, and sees flicker.

    python benchmarks/neighbors.py [--methods input,nmar,unet-uc,...] [--seed 200] [--slices 12] [--preset P] [--json]

A phantom that no shipped network was trained on gets planned screws and rods; neighboring slices with metal are scanned
and corrected. The error is the difference from the same scan without metal, in the body outside the metal and its edge:

    error          its root mean square in HU
    step           root mean square of what it changes from a slice to the next, in HU: what flickers
    near metal     the same within 10 pixels of the metal
    correlation    of the errors of neighbors: 1 would be an artifact that stays, 0 one that every slice draws anew
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
from mar import methods_by_name
from numpy.typing import NDArray
from shipped import PIXEL_MM, SIZE

from ctrestoration.errors import CTRestorationError
from ctrestoration.evaluate.masks import body_mask, metal_ring
from ctrestoration.evaluate.metrics import RING_PIXELS
from ctrestoration.simulate.metal import MetalSimulation, simulate_metal
from ctrestoration.training.data.cases import implanted, phantom_patient, slab_of, slices_with_metal

COLUMNS = {"error": "error_hu", "step": "step_hu", "error near": "near_error_hu", "step near": "near_step_hu",
           "correlation": "correlation", "corr. near": "near_correlation"}  # fmt: skip


def main() -> int:
    """Scan, correct, compare neighbors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="input,li,nmar,unet-uc,guided-unet", help="comma-separated")
    parser.add_argument("--seed", type=int, default=200, help="of the phantom, its implants and the noise")
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--preset", default="syndeeplesion-640")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        methods = methods_by_name(arguments.methods.split(","))
        scan = scanned(arguments.seed, arguments.slices, arguments.preset)
        rows = {name: scores(scan, method) for name, method in methods.items()}
    except CTRestorationError as error:
        print(f"neighbors: {error}", file=sys.stderr)
        return error.exit_code
    result = {"seed": arguments.seed, "slices": len(scan.reference.array), "preset": arguments.preset, "methods": rows}
    print(json.dumps(result, indent=2) if arguments.json else table(result))
    return 0


def scanned(seed: int, most: int, preset: str) -> MetalSimulation:
    """The longest run of slices with metal of a phantom with a planned construct, or the middle of it."""
    patient = phantom_patient(seed, SIZE, PIXEL_MM)
    volume, metals, _ = implanted(patient, np.random.default_rng(seed), ("spine",))
    with_metal = slices_with_metal(volume, metals)
    runs = np.split(with_metal, np.flatnonzero(np.diff(with_metal) > 1) + 1)
    longest = max(runs, key=len)
    first = int(longest[max(0, (len(longest) - most) // 2)])
    slab, here = slab_of(volume, metals, first, min(first + most, int(longest[-1]) + 1))
    return simulate_metal(slab, here, preset=preset, seed=seed)


def scores(scan: MetalSimulation, method: Any) -> dict[str, float]:
    """Errors of every slice and between neighbors; None is the uncorrected scan."""
    acquisition, reference = scan.acquisition, scan.reference.array
    image = (acquisition if method is None else method.restore(acquisition)).image.array
    error = image.astype(np.float64) - reference
    metal = acquisition.metal
    hidden = metal | metal_ring(metal, 1)  # pixels at the edge are partly metal
    body, near = body_mask(reference) & ~hidden, metal_ring(metal, RING_PIXELS) & ~hidden
    return {**_of(error, body, ""), **_of(error, near, "near_")}


def _of(error: NDArray[np.float64], where: NDArray[np.bool_], prefix: str) -> dict[str, float]:
    both = where[1:] & where[:-1]
    above, below = error[1:][both], error[:-1][both]
    return {
        f"{prefix}error_hu": float(np.sqrt(np.mean(error[where] ** 2))),
        f"{prefix}step_hu": float(np.sqrt(np.mean((above - below) ** 2))),
        f"{prefix}correlation": float(np.corrcoef(above, below)[0, 1]),
    }


def table(result: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{result['slices']} neighboring slices of phantom {result['seed']}, {result['preset']}; HU",
        f"{'method':<20}" + "".join(f"{name:>13}" for name in COLUMNS),
    ]
    for name, row in result["methods"].items():
        lines.append(f"{name:<20}" + "".join(f"{row[key]:>13.2f}" for key in COLUMNS.values()))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
