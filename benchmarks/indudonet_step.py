"""One training step of InDuDoNet: share of the projections in its CPU time; the same step with astra in their place.

    python benchmarks/indudonet_step.py [--size 416] [--stages 1,2] [--repeats 3] [--json]

Preset syndeeplesion-640 (640 views x 641 bins), batch 1, the published losses, one thread. The step's convolutions keep
about 2 GB a stage for the backward pass, so fewer stages than the published ten are measured; time and projections grow
by the same amount with every stage, and the row "10 (extrapolated)" continues the straight line through the first and
the last measured number of stages. astra-toolbox (line_fanflat, CPU) is used where it is installed, never at run time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import peers
import torch
from unrolled_recipe import PRESET, PUBLISHED_STAGES, batch_of_disks, indudonet

from ctrestoration.networks._operator import NetworkOperator
from ctrestoration.physics.presets import scanner_preset
from ctrestoration.physics.projector import Projector
from ctrestoration.training.config import HardwareConfig
from ctrestoration.training.hardware import prepare

SHARE, ASTRA = 0.2, 1.5
"""Targets: share of the projections at most, and the step with astra at least so many times ours."""


class Counted(Projector):
    """Our projector, which counts its CPU time and calls."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seconds, self.calls = 0.0, 0

    def forward(self, images: Any) -> Any:
        return super().forward(images) if torch.is_tensor(images) else self._timed(self.project_host, images)

    def adjoint(self, sinograms: Any) -> Any:
        return super().adjoint(sinograms) if torch.is_tensor(sinograms) else self._timed(self.adjoint_host, sinograms)

    def project_host(self, images: np.ndarray) -> np.ndarray:
        return super().forward(images)

    def adjoint_host(self, sinograms: np.ndarray) -> np.ndarray:
        return super().adjoint(sinograms)

    def _timed(self, operation: Any, array: np.ndarray) -> np.ndarray:
        start = time.process_time()
        result = operation(array)
        self.seconds += time.process_time() - start
        self.calls += 1
        return result


class WithAstra(Counted):
    """The same with astra's kernels, which know pixels only."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        import astra

        self._astra, pixel, geometry = astra, self.grid.spacing[0], self.geometry
        self._pixel = np.float32(pixel)
        volume = astra.create_vol_geom(*self.grid.shape)
        scan = astra.create_proj_geom(
            "fanflat", geometry.pitch / pixel, geometry.n_bins, geometry.angles,
            geometry.source_distance / pixel, geometry.detector_distance / pixel,
        )  # fmt: skip
        self._images, self._scans = astra.data2d.create("-vol", volume), astra.data2d.create("-sino", scan)
        projector = astra.create_projector("line_fanflat", scan, volume)
        self._run = {}
        for what, key in (("FP", "VolumeDataId"), ("BP", "ReconstructionDataId")):
            settings = {**astra.astra_dict(what), "ProjectorId": projector, "ProjectionDataId": self._scans}
            self._run[what] = astra.algorithm.create({**settings, key: self._images})

    def project_host(self, images: np.ndarray) -> np.ndarray:
        return self._each("FP", images, self._images, self._scans)

    def adjoint_host(self, sinograms: np.ndarray) -> np.ndarray:
        return self._each("BP", sinograms, self._scans, self._images)

    def _each(self, what: str, stack: np.ndarray, source: int, target: int) -> np.ndarray:
        results = []
        for one in stack.reshape(-1, *stack.shape[-2:]):
            self._astra.data2d.store(source, np.ascontiguousarray(one, dtype=np.float32))
            self._astra.algorithm.run(self._run[what])
            results.append(self._astra.data2d.get(target) * self._pixel)
        return np.stack(results).reshape(*stack.shape[:-2], *results[0].shape)


def main() -> int:
    """Measure, print; 1 where a target is missed at the published number of stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--stages", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layout", choices=("last", "first"), default="last", help="of channels in memory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prepare(HardwareConfig(deterministic=True), 1, torch.device("cpu"))  # as a training does
    grid = scanner_preset(PRESET).image_grid((arguments.size,) * 2, (1.0, 1.0))
    geometry = scanner_preset(PRESET).geometry(grid)
    engines = {"ours": Counted(geometry, grid, threads=1)}
    if peers.there("astra"):
        engines["astra"] = WithAstra(geometry, grid, threads=1)
    checked = _agreement(engines)
    rows = [_measure(int(stages), engines, arguments) for stages in arguments.stages.split(",")]
    if len(rows) > 1:
        rows.append(_extrapolated(rows[0], rows[-1]))
    result = {"rows": rows, "targets": {"share": SHARE, "astra": ASTRA}, "agreement": checked}
    print(json.dumps(result, indent=2) if arguments.json else _table(result))
    last = rows[-1]
    return int(last["share"] > SHARE or (last["astra_ratio"] or ASTRA) < ASTRA)


def _agreement(engines: dict[str, Counted]) -> dict[str, float]:
    """Normalized correlation of astra's projection and backprojection with ours: they have to be the same operation."""
    if "astra" not in engines:
        return {}
    rng = np.random.default_rng(0)
    image = rng.random(engines["ours"].grid.shape, dtype=np.float32)
    image[:20] = 0
    sinogram = engines["ours"].project_host(image)
    pairs = {"forward": (sinogram, engines["astra"].project_host(image))}
    pairs["adjoint"] = tuple(engine.adjoint_host(sinogram) for engine in engines.values())
    found = {name: float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for name, (a, b) in pairs.items()}
    scale = {name: float((a * b).sum() / (a * a).sum()) for name, (a, b) in pairs.items()}
    assert min(found.values()) > 0.99, found
    assert all(abs(value - 1) < 0.02 for value in scale.values()), scale
    return found


def _measure(stages: int, engines: dict[str, Counted], arguments: argparse.Namespace) -> dict[str, Any]:
    method, parts = indudonet(stages, arguments.size)
    if arguments.layout == "last":
        parts.modules["g"].to(memory_format=torch.channels_last)  # as `hardware.channels_last: true` does
    optimizer = torch.optim.Adam(parts.modules["g"].parameters(), lr=2e-4)
    batch = batch_of_disks(engines["ours"])
    times: dict[str, list[float]] = {name: [] for name in engines}
    projections: dict[str, list[float]] = {name: [] for name in engines}
    for repeat in range(arguments.repeats + 1):
        for name, engine in engines.items():
            method._operator = NetworkOperator(engine)  # its strength is computed once and kept
            engine.seconds, engine.calls = 0.0, 0
            start = time.process_time()
            optimizer.zero_grad(set_to_none=True)
            method.step(method.stages[0], "g", batch, parts).total.backward()
            optimizer.step()
            if repeat:  # the first one warms up
                times[name].append(time.process_time() - start)
                projections[name].append(engine.seconds)
    ratios = [b / a for a, b in zip(times["ours"], times.get("astra", []), strict=False)]
    return {
        "stages": str(stages),
        "step_cpu_s": statistics.median(times["ours"]),
        "projections_cpu_s": statistics.median(projections["ours"]),
        "calls": engines["ours"].calls,
        "share": statistics.median(p / t for p, t in zip(projections["ours"], times["ours"], strict=True)),
        "astra_step_cpu_s": statistics.median(times["astra"]) if ratios else None,
        "astra_projections_cpu_s": statistics.median(projections["astra"]) if ratios else None,
        "astra_ratio": statistics.median(ratios) if ratios else None,
    }


def _extrapolated(first: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    low, high = int(first["stages"]), int(last["stages"])

    def at_ten(key: str) -> float | None:
        if first[key] is None:
            return None
        return first[key] + (last[key] - first[key]) * (PUBLISHED_STAGES - low) / (high - low)

    keys = ("step_cpu_s", "projections_cpu_s", "calls", "astra_step_cpu_s", "astra_projections_cpu_s")
    row: dict[str, Any] = {"stages": f"{PUBLISHED_STAGES} (extrapolated)", **{key: at_ten(key) for key in keys}}
    row["share"] = row["projections_cpu_s"] / row["step_cpu_s"]
    row["astra_ratio"] = None if row["astra_step_cpu_s"] is None else row["astra_step_cpu_s"] / row["step_cpu_s"]
    return row


def _table(result: dict[str, Any]) -> str:
    lines = [
        "| stages | step, CPU s | projections | share | with astra, CPU s | projections | ratio |",
        "|---" * 7 + "|",
    ]
    for row in result["rows"]:
        ours = f"| {row['stages']} | {row['step_cpu_s']:.2f} | {row['projections_cpu_s']:.2f} | {row['share']:.3f} | "
        missing = row["astra_ratio"] is None
        theirs = "- | - | - |" if missing else (
            f"{row['astra_step_cpu_s']:.2f} | {row['astra_projections_cpu_s']:.2f} | {row['astra_ratio']:.2f} |"
        )  # fmt: skip
        lines.append(ours + theirs)
    return "\n".join([*lines, "", f"targets: {result['targets']}; agreement with astra: {result['agreement']}"])


if __name__ == "__main__":
    sys.exit(main())
