"""`ctrestoration resume`: go on with a stopped run, bit by bit as if it had never stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.terminal import say
from ctrestoration.cli.train import add_how, require_torch, train

COMMAND = "resume"
HELP = "go on with a run that was stopped, killed or cancelled"
EXAMPLE = "ctrestoration resume runs/first"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="the run directory")
    add_how(parser)


def run(arguments: argparse.Namespace) -> int:
    """Go on with a run."""
    require_torch()
    from ctrestoration.training.launch import check_sizes, open_run

    directory, config = open_run(arguments.run_dir)
    check_sizes(config, arguments.processes)
    if (directory.read_status() or {}).get("state") == "done":
        say(f"The run {arguments.run_dir} is finished; its weights are in {directory.weights}.")
        return 0
    return train(directory, config, arguments)
