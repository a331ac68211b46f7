"""What the commands that reproduce a published table share: options, and how they end."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctrestoration.cli.terminal import print_json, say
from ctrestoration.errors import CTRestorationError, InputError


def add_scale_and_folder(parser: argparse.ArgumentParser, scales: str) -> None:
    """Declare --scale, whose help is `scales`, and --out."""
    parser.add_argument("--scale", choices=("tiny", "small", "paper"), required=True, help=scales)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the study, new or begun")


def add_selection(parser: argparse.ArgumentParser, variants: str, tables: str) -> None:
    """Declare --variants (with examples), --seeds, --workers and --json, in place of the `tables` that are printed."""
    parser.add_argument("--variants", metavar="NAMES", default="", help=f"only these, e.g. {variants}")
    parser.add_argument("--seeds", metavar="N", type=int, help="repetitions (default: those of the scale)")
    parser.add_argument("--workers", metavar="N", type=int, help="trainings at a time (default: up to 2)")
    parser.add_argument("--json", action="store_true", help=f"print JSON instead of the {tables}")


def names(text: str) -> tuple[str, ...]:
    """The words of a comma-separated option."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def worker_count(arguments: argparse.Namespace) -> int:
    """How many trainings run at a time.

    Raises:
        InputError: fewer than one.
    """
    workers = min(2, os.cpu_count() or 1) if arguments.workers is None else arguments.workers
    if workers < 1:
        raise InputError(f"--workers has to be 1 or more, not {workers}.")
    return int(workers)


def conclude(
    arguments: argparse.Namespace, out: Path, result: dict[str, Any], table: str, failed: Mapping[Path, str], count: int
) -> int:
    """Print what came out, and where it lies.

    Raises:
        CTRestorationError: some of the `count` trainings failed.
    """
    if arguments.json:
        print_json(result)
    else:
        print(table)
    if failed:
        first, message = next(iter(failed.items()))
        raise CTRestorationError(f"{len(failed)} of {count} trainings failed, the first one in {first}: {message}")
    say(f"Results are in {out}: results.json and results.md.")
    return 0
