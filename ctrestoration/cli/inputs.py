"""Options that several commands share: how to read a CT volume, which method, and the seed of what is random."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctrestoration.registry import Method, Task
    from ctrestoration.restoration import Restoration
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


def add_uncertainty_options(parser: argparse.ArgumentParser) -> None:
    """Declare --uncertainty and --calibration."""
    parser.add_argument(
        "--uncertainty", metavar="F",
        help="write the uncertainty in HU, where the method gives one: the half-width of an interval where its weights "
        "are calibrated, else a standard deviation, which is no error bar; what is printed says which",
    )  # fmt: skip
    parser.add_argument(
        "--calibration", metavar="FILE",
        help="calibration of the uncertainty (default: the one beside the weights, if there is one)",
    )  # fmt: skip


def check_uncertainty(method: Method, wanted: bool) -> None:
    """Refuse, before anything is computed, an uncertainty that the method does not give.

    Raises:
        InputError: it is wanted, and not given.
    """
    from ctrestoration.errors import InputError

    if wanted and not getattr(method, "gives_uncertainty", False):
        raise InputError(
            f"Method {method.name!r} gives no uncertainty: leave --uncertainty out, or choose another one."
        )


def tell_scope(restoration: Restoration) -> None:
    """Say on the terminal what tells that a calibrated uncertainty may not hold for this CT."""
    from ctrestoration.cli.terminal import say

    for sentence in (restoration.provenance.get("interval") or {}).get("outside_scope", []):
        say(f"the uncertainty's calibration may not hold: {sentence}", "notice")


def chosen_method(task: Task, name: str, device: str, uncertain: bool, calibration: str | None = None) -> Method:
    """The method of that name, set to compute where and what it was asked to.

    Args:
        task: what it is for.
        name: of a method, or the path of a weights file.
        device: "auto", "cpu" or "cuda".
        uncertain: whether its uncertainty is wanted, too.
        calibration: file for that uncertainty, or None.

    Raises:
        InputError: unknown method, one that computes on the CPU only although a GPU was asked for, or a calibration
            that is not its own.
    """
    from ctrestoration import registry
    from ctrestoration.errors import InputError

    method = registry.get(task, name)
    if calibration is not None and not uncertain:
        raise InputError("--calibration belongs to --uncertainty: give the file that the uncertainty is written to.")
    if calibration is not None and not hasattr(method, "path"):
        raise InputError(f"Method {name!r} has no weights that could be calibrated: leave --calibration out.")
    if uncertain and hasattr(method, "with_uncertainty"):
        method = method.with_uncertainty(*([] if calibration is None else [Path(calibration)]))
    choose = getattr(method, "on_device", None)
    if choose is not None:
        return choose(device)  # type: ignore[no-any-return]
    if device == "cuda":
        raise InputError(f"Method {name!r} computes on the CPU only: leave --device out, or choose a network.")
    return method
