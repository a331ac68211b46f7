"""CPU time of one simulated metal slice, and memory of a whole volume.

    python benchmarks/simulation_speed.py [--gecatsim PYTHON] [--volume] [--json]

One slice: 416x416, preset syndeeplesion-640, 101 energies, three materials, photon noise, both scans (with and without
metal), FBP of both, and LI with its FBP. --gecatsim names a Python that has gecatsim 1.6.9 (XCIST), which then scans
and reconstructs one slice between our runs, over-sampling cut to the minimum: 1000 views x 900 columns x 1 row, 20
energies, 512x512. --volume also simulates 512x512x200 and reports time and peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import time

import numpy as np

from ctrestoration import registry
from ctrestoration.cli.terminal import terminal_control
from ctrestoration.control import Control
from ctrestoration.simulate.metal import simulate_metal
from ctrestoration.volume import Grid, Volume

GECATSIM = """
import time, os, sys, tempfile
os.chdir(tempfile.mkdtemp())
import gecatsim
import gecatsim.reconstruction.pyfiles.recon as recon
scan = gecatsim.CatSim(os.path.join(os.path.dirname(gecatsim.__file__), "examples", "cfg", "Phantom_Sample"))
scan.resultsName = "slice"
scan.scanner.detectorRowsPerMod = scan.scanner.detectorRowCount = 1
for name in ("colSampleCount", "rowSampleCount", "srcXSampleCount", "srcYSampleCount", "viewSampleCount"):
    setattr(scan.physics, name, 1)
scan.phantom.projectorNumThreads = 1
start = time.process_time()
scan.run_all()
middle = time.process_time()
scan.do_Recon, scan.recon.sliceCount = 1, 1
recon.recon(scan)
print("SECONDS", middle - start, time.process_time() - middle)
"""


def main() -> None:
    """Time and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gecatsim", metavar="PYTHON", help="a Python interpreter that has gecatsim")
    parser.add_argument("--volume", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    patient, metal = _patient((1, 416, 416))
    _slice(patient, metal)  # compiles
    times = [_slice(patient, metal) for _ in range(3)]
    result: dict[str, object] = {"gecatsim": "missing: give --gecatsim PYTHON"}
    if arguments.gecatsim:
        scan, reconstruction = _gecatsim(arguments.gecatsim)
        times += [_slice(patient, metal) for _ in range(3)]
        ours = statistics.median(times)
        result["gecatsim"] = {"scan_cpu_s": scan, "reconstruction_cpu_s": reconstruction}
        result["ratio"] = ours / (scan + reconstruction)
    result["slice_cpu_s"] = statistics.median(times)
    result["slices_per_cpu_second"] = 1.0 / statistics.median(times)
    if arguments.volume:
        patient, metal = _patient((200, 512, 512))
        start, cpu = time.monotonic(), time.process_time()
        simulate_metal(patient, {"Ti6Al4V": metal}, control=terminal_control())
        result["volume_512x512x200"] = {
            "wall_s": time.monotonic() - start,
            "cpu_s": time.process_time() - cpu,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    print(json.dumps(result, indent=2) if arguments.json else result)


def _gecatsim(python: str) -> tuple[float, float]:
    """CPU seconds of its scan and of its reconstruction."""
    done = subprocess.run([python, "-c", GECATSIM], capture_output=True, text=True, check=True)
    words = next(line for line in done.stdout.splitlines() if line.startswith("SECONDS")).split()
    return float(words[1]), float(words[2])


def _slice(patient: Volume, metal: np.ndarray) -> float:
    start = time.process_time()
    simulation = simulate_metal(patient, {"Ti6Al4V": metal}, control=Control())
    registry.get("mar", "li").restore(simulation.acquisition)
    return time.process_time() - start


def _patient(shape: tuple[int, int, int]) -> tuple[Volume, np.ndarray]:
    n = shape[1]
    y, x = (np.mgrid[:n, :n] - n / 2) / n
    hu = np.where((x / 0.45) ** 2 + (y / 0.36) ** 2 < 1, 40.0, -1000.0)
    hu[x**2 + (y - 0.1) ** 2 < 0.06**2] = 500.0
    metal = np.zeros((n, n), dtype=np.float32)
    for center in (-0.06, 0.06):
        metal[(np.abs(x - center) < 0.006) & (np.abs(y - 0.12) < 0.06)] = 1.0
    grid = Grid.from_parts(shape, (0.8, 0.8, 1.0))
    every = np.broadcast_to(hu.astype(np.float32), shape)
    return Volume(every, grid, "oval"), np.ascontiguousarray(np.broadcast_to(metal, shape))


if __name__ == "__main__":
    main()
