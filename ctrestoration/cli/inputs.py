"""Options that several commands share: how to read a CT volume, and the seed of what is random."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctrestoration.volume import Volume


def seed_number(text: str) -> int:
    """The argparse type of a seed: a whole number from 0 on."""
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if seed < 0:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 on, not {text!r}")
    return seed


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `read_input`."""
    group = parser.add_argument_group("reading the CT")
    group.add_argument("--series", metavar="NAME", help="DICOM series to read: its number, description or UID")
    group.add_argument(
        "--hu-offset",
        type=float,
        metavar="HU",
        help="add this to every value of a CT that is not in HU (0: take as is)",
    )
    group.add_argument("--frame", type=int, metavar="N", help="which volume of a 4D file, from 0")
    group.add_argument(
        "--resample", action="store_true", help="interpolate DICOM slices at uneven positions instead of refusing them"
    )


def read_input(path: str, arguments: argparse.Namespace) -> Volume:
    """Read a CT volume as the options of `add_reading_options` say.

    Raises:
        InputError: see `ctrestoration.io.images.read_volume`.
    """
    from ctrestoration.io.images import read_volume

    return read_volume(
        path,
        series=arguments.series,
        hu_offset=arguments.hu_offset,
        frame=arguments.frame,
        resample=arguments.resample,
    )
