"""`ctrestoration dataset verify`: read every stored pair again and say what is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.terminal import print_json, say, terminal_control

COMMAND = "dataset verify"
HELP = "check digests, shapes, values and the split by patient of a data set"
EXAMPLE = "ctrestoration dataset verify pairs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the data set")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify the data set; exit code 3 where something is wrong."""
    from ctrestoration.io.pairs import verify_pairs
    from ctrestoration.jobs.outcome import ExitCode

    faults = verify_pairs(arguments.folder, terminal_control())
    if arguments.json:
        print_json({"folder": str(arguments.folder), "ok": not faults, "faults": faults})
    else:
        for fault in faults:
            say(fault)
        say(f"{arguments.folder}: {len(faults)} faults." if faults else f"{arguments.folder} is whole.")
    return int(ExitCode.DATA_REFUSED) if faults else 0
