"""`ctrestoration dataset build`: simulate training pairs from phantoms and clean CT volumes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.terminal import print_json, say, terminal_control

COMMAND = "dataset build"
HELP = "simulate pairs with and without metal artifacts, split by patient; an interrupted build goes on"
EXAMPLE = "ctrestoration dataset build pairs --phantoms 8 --cases 4 --size 256"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of the data set")
    parser.add_argument("--phantoms", metavar="N", type=int, default=8, help="procedural phantoms (default 8)")
    parser.add_argument("--volumes", metavar="CT", nargs="+", default=[], help="clean CT files or DICOM folders to add")
    parser.add_argument("--cases", metavar="N", type=int, default=4, help="implant placements for each (default 4)")
    parser.add_argument("--slices", metavar="N", type=int, default=2, help="slices of each placement (default 2)")
    parser.add_argument("--size", metavar="N", type=int, default=256, help="rows and columns (default 256)")
    parser.add_argument("--pixel", metavar="MM", type=float, default=1.5, help="pixel size in mm (default 1.5)")
    parser.add_argument("--preset", default="clinical", help="scanner preset (default clinical)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="same seed, same bits (default 0)")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="processes; the bits do not depend on it")
    parser.add_argument(
        "--with", metavar="NAMES", default="", dest="corrected",
        help="store the slices corrected by nmar, li or both (nmar,li), for networks that look at them",
    )  # fmt: skip
    parser.add_argument(
        "--clean", metavar="SHARE", type=float, default=0.1,
        help="share of training pairs without artifact, half of them with a mask (default 0.1)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build the data set."""
    from ctrestoration.errors import OutputError
    from ctrestoration.physics.presets import scanner_preset
    from ctrestoration.training.dataset import BuildSettings, build_dataset

    scanner_preset(arguments.preset)
    settings = BuildSettings(
        arguments.phantoms,
        tuple(str(Path(path).resolve()) for path in arguments.volumes),
        arguments.cases,
        arguments.slices,
        arguments.size,
        arguments.pixel,
        arguments.preset,
        arguments.seed,
        clean=arguments.clean,
        corrected=tuple(name.strip() for name in arguments.corrected.split(",") if name.strip()),
    )
    try:
        counts = build_dataset(arguments.out, settings, arguments.workers, terminal_control())
    except OSError as error:
        raise OutputError(f"Cannot write the data set {arguments.out}: {error.strerror or error}.") from error
    if arguments.json:
        print_json({"folder": str(arguments.out), "pairs": counts})
    else:
        say(f"{arguments.out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + " pairs.")
    return 0
