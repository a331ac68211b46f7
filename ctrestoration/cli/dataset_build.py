"""`ctrestoration dataset build`: simulate training pairs from phantoms and clean CT volumes.

Pairs with and without metal artifacts, or (`--task lowdose`) at a low and the full dose with labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.cli.terminal import print_json, say, terminal_control

if TYPE_CHECKING:
    from ctrestoration.training.data.dataset import BuildSettings

COMMAND = "dataset build"
HELP = "simulate pairs with and without metal artifacts, or of low dose; split by patient; interrupted builds go on"
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
    parser.add_argument("--preset", help="scanner preset (default clinical; of low dose true-scale)")
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
    parser.add_argument("--task", choices=("mar", "lowdose"), default="mar", help="which pairs (default mar)")
    lowdose = parser.add_argument_group("low dose")
    lowdose.add_argument(
        "--labels", metavar="SEG", nargs="+", default=[],
        help="segmentation of each of the volumes; not needed with --classes body=1, which is all but air",
    )  # fmt: skip
    lowdose.add_argument(
        "--dataset", metavar=("NAME", "FOLDER"), nargs=2, help="add the labeled cases of a public data set (lits, msd)"
    )
    lowdose.add_argument(
        "--classes", metavar="NAME[=N,N]", nargs="+", default=["liver=1", "lesion=2"],
        help="classes and their numbers in the segmentations (default liver=1 lesion=2); without numbers, by the names "
        "that the segmentations have",
    )  # fmt: skip
    lowdose.add_argument("--photons", metavar="N", type=float, default=4096.0, help="per bin (default 4096)")
    lowdose.add_argument(
        "--photons-to", metavar="N", type=float,
        help="draw each slice's photons from --photons up to this, for a network that is to know several doses",
    )  # fmt: skip
    lowdose.add_argument("--views", metavar="N", type=int, default=1000, help="divides 1000 (default 1000)")
    lowdose.add_argument(
        "--bins", metavar="N", type=int, default=513, help="of the detector; coarse pixels need fewer (default 513)"
    )
    lowdose.add_argument(
        "--fine-pixels", metavar="N", type=int, default=1000, help="grid that is projected (default 1000)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Build the data set."""
    from ctrestoration.errors import OutputError
    from ctrestoration.training.data.dataset import build_dataset

    settings = _settings(arguments)
    try:
        counts = build_dataset(arguments.out, settings, arguments.workers, terminal_control())
    except OSError as error:
        raise OutputError(f"Cannot write the data set {arguments.out}: {error.strerror or error}.") from error
    if arguments.json:
        print_json({"folder": str(arguments.out), "pairs": counts})
    else:
        say(f"{arguments.out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + " pairs.")
    return 0


def _settings(arguments: argparse.Namespace) -> BuildSettings:
    from ctrestoration.errors import InputError
    from ctrestoration.physics.presets import scanner_preset
    from ctrestoration.simulate.lowdose import SIZE_KEEPING
    from ctrestoration.training.data.dataset import BuildSettings
    from ctrestoration.training.data.lowdose_dataset import LowDoseBuild

    common: dict[str, Any] = {
        "phantoms": arguments.phantoms,
        "volumes": _resolved(arguments.volumes),
        "cases": arguments.cases,
        "slices": arguments.slices,
        "size": arguments.size,
        "pixel_mm": arguments.pixel,
        "seed": arguments.seed,
        "corrected": tuple(name.strip() for name in arguments.corrected.split(",") if name.strip()),
    }
    if arguments.task == "mar":
        if arguments.labels or arguments.dataset:
            raise InputError("--labels and --dataset belong to low-dose pairs: add --task lowdose.")
        preset = arguments.preset or "clinical"
        scanner_preset(preset)
        return BuildSettings(**common, preset=preset, clean=arguments.clean)
    preset = arguments.preset or "true-scale"
    if preset not in SIZE_KEEPING:
        raise InputError(f"Unknown low-dose preset {preset!r}: known ones are {', '.join(SIZE_KEEPING)}.")
    name, folder = arguments.dataset or (None, "")
    return LowDoseBuild(
        **common, preset=preset, labels=_resolved(arguments.labels), dataset=name, dataset_folder=folder,
        classes=_classes(arguments.classes), photons=arguments.photons,
        photons_to=arguments.photons_to, views=arguments.views, bins=arguments.bins,
        fine_pixels=arguments.fine_pixels,
    )  # fmt: skip


def _classes(words: list[str]) -> dict[str, tuple[int, ...]]:
    from ctrestoration.errors import InputError

    found: dict[str, tuple[int, ...]] = {}
    for text in words:
        name, given, numbers = text.partition("=")
        try:
            values = tuple(int(number) for number in numbers.split(",")) if given else ()
        except ValueError as error:
            raise InputError(f"--classes takes NAME=N, NAME=N,N or NAME, such as liver=1, not {text!r}.") from error
        if not name or name in found:
            raise InputError(f"--classes takes every name once, such as liver=1,2, not {text!r}.")
        found[name] = values
    return found


def _resolved(paths: list[str]) -> tuple[str, ...]:
    return tuple(str(Path(path).resolve()) for path in paths)
