"""`ctrestoration models list`: shipped and trained weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.terminal import print_json

COMMAND = "models list"
HELP = "list shipped weights, and trained ones in a folder of runs"
EXAMPLE = "ctrestoration models list --runs runs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("--runs", metavar="DIR", type=Path, help="also list the weights of the runs in this folder")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the list."""
    from ctrestoration.models.catalog import find_models

    models = find_models(arguments.runs)
    if arguments.json:
        print_json({"models": models})
        return 0
    if not models:
        print("No weights are shipped with this version; --runs DIR lists those of your own runs.")
    for model in models:
        print(f"{model['name']:<30} {model['task']:<16} {model['size_mb']:>8.2f} MB  {model['file']}")
    return 0
