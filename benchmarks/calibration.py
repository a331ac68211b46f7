"""How well the calibrated uncertainty of a network against metal artifacts covers its errors, on patients left out.

    python benchmarks/calibration.py data DATA --out WORK      simulate the scans (12 minutes of CPU; goes on if killed)
    python benchmarks/calibration.py fit --out WORK            calibrate and measure (3 minutes of CPU a network)
    python benchmarks/calibration.py ship --out WORK           put the calibrations beside the package's weights

DATA is that of `shipped_mar.py`: the shipped networks were trained on the caudal two thirds of its three volumes and on
phantoms of seeds 0 to 7. Here are the cranial thirds, and phantoms of other seeds; every second phantom is scanned as
the benchmark's scanner does, the others as a clinical CT without raw data. A patient is never on both sides.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from shipped import PIXEL_MM, SIZE, VOLUMES, split_volumes

from ctrestoration.cli.terminal import terminal_control
from ctrestoration.control import Control
from ctrestoration.errors import CTRestorationError
from ctrestoration.evaluate.calibration import COVERAGE, Errors
from ctrestoration.jobs.durable import sha256_of
from ctrestoration.models.calibrate import apply, cross_fitted, made_of, measured_by, stored_cases
from ctrestoration.models.calibration import beside
from ctrestoration.training.sources import scans

FIRST_SEED = 300
SCANNERS = ({"preset": "syndeeplesion-640"}, {"preset": "clinical", "projected": True})
SEED = 7


def stores(volumes: list[Path], phantoms: int, count: int) -> dict[str, scans.Config]:
    """A store for each patient and scanner: name -> what is simulated; a part of them can be calibrated on, too."""
    common = {"name": "scans", "size": SIZE, "pixel_mm": PIXEL_MM}
    found = {}
    for path in volumes:
        for scanner in SCANNERS:
            name = f"{path.stem}-{scanner['preset']}"
            found[name] = scans.Config(**common, **scanner, phantoms=0, volumes=(path,), count=count)
    for seed in range(FIRST_SEED, FIRST_SEED + phantoms):
        found[f"phantom-{seed}"] = scans.Config(
            **common, **SCANNERS[seed % 2], first_seed=seed, phantoms=1, count=count
        )
    return found


def build(data: Path, out: Path, phantoms: int, count: int, control: Control) -> None:
    from ctrestoration.training.data.scan_store import build_scans

    _, volumes = split_volumes(data, out / "volumes")
    wanted = stores(volumes, phantoms, count)
    for number, (name, config) in enumerate(wanted.items()):
        part = control.part(number / len(wanted), (number + 1) / len(wanted))
        # A seed for each store: with one for all, every patient would get the same implant.
        build_scans(out / "scans" / name, config, SEED + number, "validation", part)


def calibrated(out: Path, name: str, control: Control) -> dict[str, Any]:
    """Calibrate one network on every patient; the coverage is that of patients left out, by scanner and kind."""
    from ctrestoration.registry import get

    method = get("mar", name)
    folders = sorted(path.parent for path in (out / "scans").glob("*/manifest.json"))
    if not folders:
        raise CTRestorationError(f"{out} holds no scans: run the step 'data' first.")
    cases = [case for folder in folders for case in stored_cases(folder, method)]
    run = apply(method, cases, control)
    widths = cross_fitted(run.scans, method.task)
    measured = measured_by(run.scans, widths)
    data = [{"what": "benchmarks/calibration.py", "sha256": _digest(folders), "seed": SEED}]
    calibration = made_of(method, run, COVERAGE, data, measured)
    calibration.write(out / beside(method.path).name)
    groups: dict[str, list[Errors]] = {}
    for one, case in zip(run.scans, cases, strict=True):
        kind = "phantoms" if one.patient.startswith("phantom") else "real"
        groups.setdefault(f"{kind}, {case.settings.preset}", []).append(one)
    by_group = {name: measured_by(some, widths) for name, some in sorted(groups.items())}
    return {"method": method.name, "facts": run.facts, "all": measured, **by_group}


def _digest(folders: list[Path]) -> str:
    import hashlib

    digests = "".join(sha256_of(folder / "manifest.json") for folder in folders)
    return hashlib.sha256(digests.encode("ascii")).hexdigest()


def ship(out: Path, names: list[str]) -> None:
    from ctrestoration.registry import get

    for name in names:
        target = beside(get("mar", name).path)
        shutil.copyfile(out / target.name, target)
        print(f"wrote {target}")


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| network | patients, scanner | n | body | within 5 px | within 10 px | smallest spread | half-width, HU: "
        "body | within 10 px | Spearman | AUSE |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for group, found in result.items():
            if group in ("method", "facts"):
                continue
            places = [_percent(found["coverage"][name]) for name in ("body", "within 5 px", "within 10 px")]
            widths = [found["median_half_width_hu"][name] for name in ("body", "within 10 px")]
            lines.append(
                f"| `{result['method']}` | {group} | {found['patients']} | {' | '.join(places)} | "
                f"{_percent(found['coverage']['smallest spread'])} | {widths[0]:.0f} | {widths[1]:.0f} | "
                f"{found['spearman']:.2f} | {found['ause']:.2f} |"
            )
    return "\n".join(lines)


def _percent(found: dict[str, float] | None) -> str:
    """Mean over patients, its standard error, and the patient that is covered least."""
    if found is None:
        return ""
    error = found["sd"] / np.sqrt(found["patients"])
    return f"{100 * found['mean']:.1f} ± {100 * error:.1f} (least {100 * found['lowest']:.0f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("data", "fit", "ship"))
    parser.add_argument("data", type=Path, nargs="?", help=f"folder with {', '.join(VOLUMES)} (.nii.gz)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default="unet-uc,guided-unet", help="comma-separated, weights files by path")
    parser.add_argument("--phantoms", type=int, default=44)
    parser.add_argument("--count", type=int, default=2, help="scans of each patient by a scanner")
    arguments = parser.parse_args()
    names = arguments.methods.split(",")
    try:
        if arguments.step == "data":
            build(arguments.data, arguments.out, arguments.phantoms, arguments.count, terminal_control())
        elif arguments.step == "ship":
            ship(arguments.out, names)
        else:
            results = []
            for name in names:
                results.append(calibrated(arguments.out, name, terminal_control()))
                (arguments.out / "calibration.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
                print(table(results[-1:]), flush=True)
    except CTRestorationError as error:
        print(f"calibration: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
