"""`ctrestoration implants plan`: where pedicle screws and rods go."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctrestoration.anatomy.spine import SpineSegmentation
    from ctrestoration.control import Control

COMMAND = "implants plan"
HELP = "plan pedicle screws and rods on segmented vertebrae, as a JSON file that can be read and edited"
EXAMPLE = "ctrestoration implants plan spine.nii.gz --spine labels.nii.gz --levels L3-L5 plan.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume, or the vertebra masks themselves")
    parser.add_argument("output", metavar="OUT", help="plan to write (.json)")
    parser.add_argument("--spine", metavar="SEG", help="vertebra masks by name or number, on the CT's voxels")
    parser.add_argument(
        "--points", metavar="F", help="three points a level (.json): front of the body and both isthmuses"
    )
    parser.add_argument(
        "--levels", metavar="L3-L5", help="levels or ranges, e.g. T12,L2-L4 (default: all complete ones)"
    )
    parser.add_argument(
        "--mode", choices=("clinical", "conservative"), default="clinical",
        help="clinical: not below the level's usual diameter while both walls hold; conservative: 80 %% of the pedicle",
    )  # fmt: skip
    parser.add_argument("--no-rods", action="store_true", help="screws only")
    parser.add_argument("--json", action="store_true", help="print the plan")


def run(arguments: argparse.Namespace) -> int:
    """Plan and write."""
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.errors import InputError
    from ctrestoration.files import check_writable, refuse_overwrite
    from ctrestoration.implants.plan import save_plan, to_json
    from ctrestoration.implants.planner import plan_screws

    if not arguments.output.lower().endswith(".json"):
        raise InputError(f"{arguments.output}: a plan is a .json file.")
    refuse_overwrite(arguments.output, arguments.input, arguments.spine, arguments.points)
    check_writable(arguments.output)
    control = terminal_control()
    if arguments.spine and arguments.points:
        raise InputError("--spine and --points are two ways to say where the vertebrae are: choose one of them.")
    spine = _spine(arguments, control.part(0.0, 0.5))
    chosen = None if arguments.levels is None else expand_levels(arguments.levels)
    plan = plan_screws(
        spine, levels=chosen, mode=arguments.mode, rods=not arguments.no_rods, control=control.part(0.5, 1.0)
    )
    save_plan(plan, arguments.output)
    if arguments.json:
        print_json(to_json(plan))
        return 0
    for screw in plan.screws:
        print(
            f"{screw.level} {screw.side:5} {screw.diameter_mm:g} x {screw.length_mm:.0f} mm  grade {screw.grade}  "
            f"{screw.canal_mm:.1f} mm from the canal  "
            f"{screw.transverse_deg:.0f} deg medial, {screw.sagittal_deg:.0f} caudal"
        )
    for warning in plan.warnings:
        print(f"! {warning}")
    print(f"wrote {arguments.output}: {len(plan.screws)} screws, {len(plan.rods)} rods; research use only")
    return 0


def _spine(arguments: argparse.Namespace, control: Control) -> SpineSegmentation:
    """The vertebrae, in the way that was asked for."""
    from ctrestoration.anatomy.spine import load_points, segment_spine
    from ctrestoration.anatomy.spine.from_labels import segment_from_labels
    from ctrestoration.errors import InputError
    from ctrestoration.io.images import read_volume
    from ctrestoration.io.labels import read_labels

    points = load_points(arguments.points) if arguments.points else None
    try:
        volume = read_volume(arguments.input)
    except InputError:
        if arguments.spine or arguments.points:
            raise
        try:  # masks hold no HU
            masks = read_labels(arguments.input)
            return segment_from_labels(masks.grid, masks, control=control)
        except InputError:
            pass
        raise
    labels = read_labels(arguments.spine, volume.grid) if arguments.spine else None
    return segment_spine(volume, labels=labels, points=points, control=control)


def expand_levels(text: str) -> list[str]:
    """Levels of "T12,L2-L4", cranial to caudal as given.

    Raises:
        InputError: an unknown level, or a range that runs upward.
    """
    from ctrestoration.anatomy.labels import LEVELS
    from ctrestoration.errors import InputError

    out: list[str] = []
    for part in text.upper().replace(" ", "").split(","):
        ends = part.split("-")
        if not 1 <= len(ends) <= 2 or any(end not in LEVELS for end in ends):
            raise InputError(
                f"--levels {text!r} is not understood: give levels C1..C7, T1..T12, L1..L5, S1 such as L3-L5."
            )
        first, last = LEVELS.index(ends[0]), LEVELS.index(ends[-1])
        if last < first:
            raise InputError(f"--levels {part} runs upward: name the upper level first, {ends[-1]}-{ends[0]}.")
        out.extend(level for level in LEVELS[first : last + 1] if level not in out)
    return out
