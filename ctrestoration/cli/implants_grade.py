"""`ctrestoration implants grade`: judge screws that were moved or added by hand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctrestoration.anatomy.spine import SpineSegmentation
    from ctrestoration.control import Control
    from ctrestoration.implants.plan import Plan

COMMAND = "implants grade"
HELP = "grade every screw of an edited plan again, on the segmented vertebrae"
EXAMPLE = "ctrestoration implants grade edited.json --spine labels.nii.gz graded.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_plan_arguments(parser)
    parser.add_argument("--rods", action="store_true", help="lay the rods anew through the heads")
    parser.add_argument("--json", action="store_true", help="print the plan")


def run(arguments: argparse.Namespace) -> int:
    """Read, judge, write."""
    from ctrestoration.cli.terminal import terminal_control
    from ctrestoration.implants.regrade import regrade

    control = terminal_control()
    plan, spine = read_plan_and_spine(arguments, control.part(0.0, 0.4))
    graded = regrade(plan, spine, rods=arguments.rods, control=control.part(0.4, 1.0))
    write_and_tell(graded, arguments)
    return 0


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the plan, its spine and the output, as the commands that change a plan share them."""
    parser.add_argument("plan", metavar="PLAN", help="plan (.json)")
    parser.add_argument("output", metavar="OUT", help="plan to write (.json); another file than PLAN")
    parser.add_argument("--spine", metavar="SEG", required=True, help="vertebra masks by name or number")


def read_plan_and_spine(arguments: argparse.Namespace, control: Control) -> tuple[Plan, SpineSegmentation]:
    """What `add_plan_arguments` declared, read and checked.

    Raises:
        InputError: an output that is no .json file or one of the inputs; a plan without screws; labels on another
            grid than the CT that the plan was made on.
    """
    from ctrestoration.anatomy.spine.from_labels import segment_from_labels
    from ctrestoration.errors import InputError
    from ctrestoration.files import check_writable, refuse_overwrite
    from ctrestoration.implants.plan import load_plan
    from ctrestoration.io.labels import read_labels

    if not arguments.output.lower().endswith(".json"):
        raise InputError(f"{arguments.output}: a plan is a .json file.")
    refuse_overwrite(arguments.output, arguments.plan, arguments.spine)
    check_writable(arguments.output)
    plan = load_plan(arguments.plan)
    if not plan.screws:
        raise InputError(f"{arguments.plan} holds no screws: there is nothing to grade.")
    labels = read_labels(arguments.spine, None if plan.patient is None else plan.patient.grid)
    return plan, segment_from_labels(labels.grid, labels, control=control)


def write_and_tell(plan: Plan, arguments: argparse.Namespace) -> None:
    """Write the plan; print it as JSON, or a line for each screw and warning."""
    from ctrestoration.cli.terminal import print_json
    from ctrestoration.implants.plan import save_plan, to_json

    save_plan(plan, arguments.output)
    if arguments.json:
        print_json(to_json(plan))
        return
    for screw in plan.screws:
        told = "not graded"
        if screw.grade is not None:
            told = f"grade {screw.grade}, breach {screw.breach_mm:.1f} mm, {screw.canal_mm:.1f} mm from the canal"
        print(f"{screw.level} {screw.side:5} {screw.diameter_mm:g} x {screw.length_mm:.0f} mm  {told}")
    for warning in plan.warnings:
        print(f"! {warning}")
    print(f"wrote {arguments.output}: {len(plan.screws)} screws, {len(plan.rods)} rods; research use only")
