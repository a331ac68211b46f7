"""`ctrestoration runs`: a table of runs with state, progress and best metric."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.terminal import print_json
from ctrestoration.errors import InputError

COMMAND = "runs"
HELP = "list training runs with their state, progress and best metric"
EXAMPLE = "ctrestoration runs runs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("folder", metavar="DIR", type=Path, nargs="?", default=Path("runs"), help="default: runs")
    parser.add_argument("--cancel", action="store_true", help="ask the run in DIR for a clean stop")
    parser.add_argument("--force", action="store_true", help="with --cancel: end it at once, where it does not listen")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from ctrestoration.jobs.local import LocalBackend
    from ctrestoration.jobs.table import find_runs, format_table, summarize

    if not arguments.folder.is_dir():
        raise InputError(f"There is no folder {arguments.folder}: give the folder that holds run directories.")
    if arguments.cancel:
        LocalBackend().cancel(str(arguments.folder), force=arguments.force)
    elif arguments.force:
        raise InputError("--force goes with --cancel.")
    rows = [summarize(found) for found in find_runs(arguments.folder)]
    if arguments.json:
        print_json({"runs": rows})
    else:
        print(format_table(rows) if rows else f"No runs in {arguments.folder}.")
    return 0
