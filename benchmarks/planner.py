"""Plan pedicle screws on real vertebra masks, or judge them on phantoms whose pedicles are known.

    python benchmarks/planner.py VERTEBRA_SEG --json
    python benchmarks/planner.py --phantom 20 --json

With masks, the grade is judged on the masks themselves: it says whether a plan was found, not whether it is right.
With phantoms, the planner sees the labels only; entry and angle are compared with the true axis of each pedicle, and
the grade and the canal are judged by the true surfaces of bone and canal.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from ctrestoration.anatomy.phantom import PhantomOptions, spine_phantom
from ctrestoration.errors import CTRestorationError
from ctrestoration.implants.grading import judge
from ctrestoration.implants.plan import Plan
from ctrestoration.implants.planner import plan_screws
from ctrestoration.io.labels import read_labels

LEVELS = ("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")
FIRST_SEED = 8000
"""Phantoms from this seed on were never looked at while the planner was made."""

SIZE, SPACING = (190, 100, 96), (1.2, 1.2, 1.8)


def on_masks(path: str, mode: str) -> dict[str, Any]:
    """The plan on a file of vertebra masks."""
    labels = read_labels(path)
    started = time.perf_counter()
    plan = plan_screws(labels, mode=mode)
    seconds = time.perf_counter() - started
    levels = max(1, len(plan.settings["levels"]))
    rows = [_row(screw) for screw in plan.screws]
    return {"screws": rows, "seconds_per_vertebra": round(seconds / levels, 3), "warnings": list(plan.warnings)}


def _row(screw: Any) -> dict[str, Any]:
    row = {key: value for key, value in asdict(screw).items() if value is not None}
    return {**row, "length_mm": round(screw.length_mm, 2)}


def on_phantoms(count: int, first_seed: int, mode: str) -> dict[str, Any]:
    """The planner against the truth of `count` phantoms."""
    rows: list[dict[str, Any]] = []
    seconds, vertebrae, expected, warnings = 0.0, 0, 0, []
    for seed in range(first_seed, first_seed + count):
        options = PhantomOptions(noise_hu=0, table=False)
        phantom = spine_phantom(size=SIZE, spacing=SPACING, seed=seed, region="L1", options=options)
        levels = [name for name in phantom.truth.complete_levels if name in LEVELS]
        started = time.perf_counter()
        plan = plan_screws(phantom.labels, levels=levels, mode=mode)
        seconds += time.perf_counter() - started
        vertebrae += len(levels)
        expected += 2 * len(levels)
        warnings += [f"seed {seed}: {text}" for text in plan.warnings if "no screw" in text]
        rows += judged(plan, phantom.truth, seed)
        print(f"phantom {seed}: {len(plan.screws)} of {2 * len(levels)} screws", file=sys.stderr)
    grades = dict(sorted(collections.Counter(row["grade"] for row in rows).items()))
    return {
        "screws": rows,
        "seconds_per_vertebra": round(seconds / vertebrae, 3),
        "phantoms": count,
        "first_seed": first_seed,
        "spacing_mm": list(SPACING),
        "pedicles": expected,
        "entry_error_mm": _spread(row["entry_error_mm"] for row in rows),
        "angle_error_deg": _spread(row["angle_error_deg"] for row in rows),
        "grades": grades,
        "in_canal": sum(row["canal_mm"] < 0 for row in rows),
        "through_anterior_cortex": sum(row["tip_mm"] < 0 for row in rows),
        "not_placed": warnings,
    }


def judged(plan: Plan, truth: Any, seed: int) -> list[dict[str, Any]]:
    """Every screw against the true pedicle, bone and canal."""
    rows = []
    for screw in plan.screws:
        level = truth.levels[screw.level]
        pedicle = level.pedicles[screw.side]
        axes = np.array([level.left, level.posterior, level.up]).T
        verdict = judge(
            screw.entry, screw.target, screw.diameter_mm, patient_side=1 if screw.side == "left" else -1,
            isthmus=pedicle.isthmus, axes=axes,
            depth=lambda points, name=screw.level: -truth.bone_distance(name, points),
            canal=truth.canal_distance,
        )  # fmt: skip
        direction = (np.array(screw.target) - screw.entry) / screw.length_mm
        angle = np.degrees(np.arccos(np.clip(direction @ np.array(pedicle.direction), -1, 1)))
        row = {
            **_row(screw), "seed": seed, "grade": verdict.grade, "breach_mm": verdict.breach_mm,
            "planned_grade": screw.grade, "canal_mm": verdict.canal_mm, "tip_mm": verdict.tip_mm,
            "entry_error_mm": round(float(np.linalg.norm(np.array(screw.entry) - pedicle.entry)), 2),
            "angle_error_deg": round(float(angle), 2), "true_width_mm": pedicle.width,
        }  # fmt: skip
        if verdict.side:
            row["breach_side"] = verdict.side
        rows.append(row)
    return rows


def _spread(values: Any) -> dict[str, float]:
    found = np.array(list(values))
    return {"median": round(float(np.median(found)), 2), "p90": round(float(np.percentile(found, 90)), 2)}


def main() -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("masks", nargs="?", metavar="VERTEBRA_SEG", help="vertebra masks by name or number")
    parser.add_argument("--phantom", type=int, metavar="N", help="judge on N phantoms instead")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="default: %(default)s")
    parser.add_argument("--mode", choices=("clinical", "conservative"), default="clinical")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if (arguments.masks is None) == (arguments.phantom is None):
        parser.error("give either VERTEBRA_SEG or --phantom N")
    try:
        if arguments.masks:
            result = on_masks(arguments.masks, arguments.mode)
        else:
            result = on_phantoms(arguments.phantom, arguments.first_seed, arguments.mode)
    except CTRestorationError as error:
        print(f"planner: {error}", file=sys.stderr)
        return error.exit_code
    if arguments.json:
        print(json.dumps(result, indent=1, allow_nan=False))
    else:
        for row in result.pop("screws"):
            print({k: row[k] for k in ("level", "side", "grade", "breach_mm", "diameter_mm", "length_mm")})
        print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
