"""`ctrestoration segment spine`: vertebrae and canal of a CT volume."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ctrestoration.cli.inputs import add_reading_options

if TYPE_CHECKING:
    from ctrestoration.anatomy.spine import SpineSegmentation

COMMAND = "segment spine"
HELP = "find the vertebrae in a CT volume: from labels, with TotalSegmentator where installed, or by shape"
EXAMPLE = "ctrestoration segment spine ct.nii.gz vertebrae.nii.gz"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume in HU: NRRD, NIfTI, MHA or a DICOM folder")
    parser.add_argument("output", metavar="OUT", help="vertebrae to write on the same grid (.seg.nrrd for Slicer)")
    parser.add_argument(
        "--labels", metavar="SEG", help="read the vertebrae from this segmentation instead of finding them"
    )
    parser.add_argument(
        "--numbering", default="auto", choices=("auto", "names", "totalsegmentator", "verse"),
        help="what the numbers in SEG mean (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--method", default="auto", choices=("auto", "labels", "points", "totalsegmentator", "fallback"),
        help="default: labels or points if given, else TotalSegmentator if installed, else the fallback by shape",
    )  # fmt: skip
    parser.add_argument(
        "--points", metavar="F", help="cut out the levels of this file (.json): front of the body and both isthmuses"
    )
    parser.add_argument(
        "--name", metavar="N=LEVEL", help="fallback only: the Nth vertebra from the top is LEVEL, e.g. 2=L3"
    )
    parser.add_argument("--canal", metavar="F", help="write the spinal canal here")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, segment, write, and say what was found."""
    import numpy as np

    from ctrestoration.anatomy.spine import load_points, segment_spine
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.errors import InputError
    from ctrestoration.files import refuse_overwrite
    from ctrestoration.io.images import check_output, read_labels, write_labels
    from ctrestoration.volume import LabelMap

    named = parse_name(arguments.name)
    if arguments.canal and arguments.canal == arguments.output:
        raise InputError(f"{arguments.output} is named for two outputs; each needs its own file.")
    for output in (arguments.output, arguments.canal):
        if output:
            refuse_overwrite(output, arguments.input, arguments.labels, arguments.points)
            check_output(output)
    volume = read_input(arguments.input, arguments)
    found = segment_spine(
        volume,
        method=arguments.method,
        labels=read_labels(arguments.labels, volume.grid) if arguments.labels else None,
        scheme=arguments.numbering,
        named=named,
        points=load_points(arguments.points) if arguments.points else None,
        control=terminal_control(),
    )
    write_labels(found.labels, arguments.output)
    if arguments.canal:
        write_labels(
            LabelMap(found.canal.astype(np.uint16), volume.grid, {1: "spinal_canal"}, "canal"), arguments.canal
        )
    if arguments.json:
        print_json(found.to_json())
    else:
        print(_told(found))
        print(f"wrote {arguments.output}" + (f", {arguments.canal}" if arguments.canal else ""))
    return 0


def parse_name(text: str | None) -> tuple[int, str] | None:
    """(2, "L3") of "2=L3".

    Raises:
        InputError: anything else.
    """
    from ctrestoration.errors import InputError

    if text is None:
        return None
    number, _, level = text.partition("=")
    if not number.strip().isdigit() or not level.strip():
        raise InputError(f"--name {text!r} is not understood: write the number from the top and the level, e.g. 2=L3.")
    return int(number), level.strip().upper()


def _told(found: SpineSegmentation) -> str:
    lines = [f"method: {found.method}"]
    for level in found.levels:
        x, y, z = level.center
        state = "complete" if level.complete else level.note
        lines.append(f"  {level.name:<12} {level.volume_ml:7.1f} ml at ({x:.0f}, {y:.0f}, {z:.0f}) mm LPS, {state}")
    return "\n".join([*lines, *found.notes])
