"""`ctrestoration implants scatter`: screws as they end up, not as they were planned."""

from __future__ import annotations

import argparse

from ctrestoration.cli.implants_grade import add_plan_arguments
from ctrestoration.cli.inputs import seed_number

COMMAND = "implants scatter"
HELP = "move every screw off its plan as published deviations and grades say; rods follow the heads"
EXAMPLE = "ctrestoration implants scatter plan.json --spine labels.nii.gz placed.json --seed 3 --profile freehand"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_plan_arguments(parser)
    parser.add_argument("--seed", type=seed_number, default=0, help="same seed, same screws (default: %(default)s)")
    parser.add_argument(
        "--profile", choices=("robot", "freehand"), default="robot", help="how exact (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the plan")


def run(arguments: argparse.Namespace) -> int:
    """Read, move, write."""
    from ctrestoration.cli.implants_grade import read_plan_and_spine, write_and_tell
    from ctrestoration.cli.terminal import terminal_control
    from ctrestoration.implants.regrade import scattered

    control = terminal_control()
    plan, spine = read_plan_and_spine(arguments, control.part(0.0, 0.4))
    write_and_tell(scattered(plan, spine, arguments.seed, arguments.profile, control.part(0.4, 1.0)), arguments)
    return 0
