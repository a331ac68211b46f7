"""`ctrestoration correct`: reduce the metal artifacts of a CT volume."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.cli.inputs import add_reading_options, add_uncertainty_options
from ctrestoration.errors import InputError
from ctrestoration.volume import LabelMap, Volume, axial_part

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.control import Control
    from ctrestoration.registry import Method

COMMAND = "correct"
HELP = "reduce the metal artifacts of a CT volume, with or without its sinogram"
EXAMPLE = "ctrestoration correct ct.nii.gz corrected.nii.gz --method nmar"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume in HU: NRRD, NIfTI, MHA or a DICOM folder")
    parser.add_argument("output", metavar="OUT", help="corrected volume to write, on the same grid")
    parser.add_argument(
        "--method",
        metavar="NAME",
        required=True,
        help="li, nmar, ..., or a .safetensors file of trained weights; an unknown name lists them all",
    )
    parser.add_argument(
        "--acquisition", metavar="F", help="measured or simulated sinograms of IN; without it, IN is forward projected"
    )
    parser.add_argument("--metal", metavar="MASK", help="metal mask on the grid of IN (default: found by threshold)")
    parser.add_argument(
        "--threshold", type=float, metavar="HU", help="metal threshold (default: chosen from the image)"
    )
    add_uncertainty_options(parser)
    parser.add_argument("--synthesized", metavar="F", help="write the mask of voxels whose rays were mostly filled in")
    parser.add_argument(
        "--slices", type=int, nargs=2, metavar=("FIRST", "LAST"),
        help="correct these axial slices only, counted from 0 at the feet; the others stay bit for bit",
    )  # fmt: skip
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="where the method computes, if it can choose (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, correct, write."""
    from ctrestoration.cli.inputs import check_uncertainty, chosen_method, read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.files import refuse_overwrite
    from ctrestoration.io.images import check_output, write_labels, write_volume

    method = chosen_method(
        "mar", arguments.method, arguments.device, arguments.uncertainty is not None, arguments.calibration
    )
    outputs = [path for path in (arguments.output, arguments.uncertainty, arguments.synthesized) if path is not None]
    for number, output in enumerate(outputs):
        refuse_overwrite(output, arguments.input, arguments.acquisition, arguments.metal, arguments.calibration)
        check_output(output)
        if output in outputs[:number]:
            raise InputError(f"{output} is asked for twice: every output needs a name of its own.")
    check_uncertainty(method, arguments.uncertainty is not None)
    volume = read_input(arguments.input, arguments)
    where = (slice(None),) * 3 if arguments.slices is None else axial_part(volume.grid, *arguments.slices)
    control = terminal_control()
    facts: dict[str, Any] = {"method": method.name, "slices": arguments.slices}
    acquisition = _acquisition(arguments, volume, where, facts, control.part(0.0, 0.4))
    if acquisition is None:
        # Nothing to correct, but a front end finds every file that it asked for.
        restored, mask = volume, np.zeros(volume.grid.shape, dtype=bool)
        uncertainty = None
        if arguments.uncertainty:
            uncertainty = volume.replaced(mask.astype(np.float32))
            facts["uncertainty"] = "zero, since nothing was corrected"
    else:
        restored, uncertainty, mask = _restored(method, acquisition, volume, where, facts, control.part(0.4, 1.0))
    write_volume(restored, arguments.output)
    facts["files"] = [arguments.output]
    if uncertainty is not None and arguments.uncertainty:
        write_volume(uncertainty, arguments.uncertainty)
        facts["files"].append(arguments.uncertainty)
    if arguments.synthesized:
        write_labels(LabelMap(mask.astype(np.uint16), volume.grid, {1: "synthesized"}), arguments.synthesized)
        facts["files"].append(arguments.synthesized)
    if arguments.json:
        print_json(facts)
    else:
        said = [f"uncertainty: {facts['uncertainty']}"] if arguments.uncertainty else []
        print("\n".join([facts["metal"], *said, *(f"wrote {path}" for path in facts["files"])]))
    return 0


def _restored(
    method: Method,
    acquisition: Acquisition,
    volume: Volume,
    where: tuple[slice, slice, slice],
    facts: dict[str, Any],
    control: Control,
) -> tuple[Volume, Volume | None, NDArray[np.bool_]]:
    """Image, uncertainty and mask of synthesized voxels on the whole grid, changed in the wanted part only."""
    from ctrestoration.cli.inputs import tell_scope

    restoration = method.restore(acquisition, control)
    part = volume.part(where)

    def whole(found: Volume, background: NDArray[np.float32]) -> Volume:
        array = np.array(background)
        array[where] = found.in_order_of(part.grid).array
        return Volume(array, volume.grid, found.name, found.provenance)

    nothing = np.zeros(volume.grid.shape, dtype=np.float32)
    mask = restoration.synthesized
    mask = np.zeros(acquisition.image.grid.shape, dtype=bool) if mask is None else mask
    found = whole(acquisition.image.replaced(mask.astype(np.float32)), nothing).array > 0
    uncertainty = None if restoration.uncertainty is None else whole(restoration.uncertainty, nothing)
    facts |= {"synthesized_voxels": int(found.sum()), "provenance": restoration.provenance}
    if uncertainty is not None:
        facts["uncertainty"] = restoration.uncertainty_meaning()
        tell_scope(restoration)
    return whole(restoration.image, volume.array), uncertainty, found


def _acquisition(
    arguments: argparse.Namespace,
    volume: Volume,
    where: tuple[slice, slice, slice],
    facts: dict[str, Any],
    control: Control,
) -> Acquisition | None:
    """The data to correct from; None where there is no metal, and so nothing to correct."""
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.anatomy.metal import segment_metal
    from ctrestoration.io.images import read_fraction

    if arguments.acquisition:
        for option in ("metal", "threshold"):
            if getattr(arguments, option) is not None:
                raise InputError(f"--{option} cannot be given with --acquisition, which brings its own metal trace.")
        acquisition = Acquisition.load(arguments.acquisition)
        difference = acquisition.image.grid.mismatch(volume.axial().grid)
        if difference is not None:
            raise InputError(f"{arguments.acquisition} was not made from {arguments.input}: {difference}.")
        facts["metal"] = f"metal: the trace of {arguments.acquisition}"
        return acquisition if arguments.slices is None else acquisition.part(*arguments.slices)
    if arguments.metal:
        metal = read_fraction(arguments.metal, volume.grid) >= 0.5
        facts["metal"] = f"metal: {int(metal.sum()) * volume.grid.voxel_mm3 / 1000:.2f} ml of {arguments.metal}"
        reason = f"the metal mask {arguments.metal} is empty: nothing to correct"
    else:
        found = segment_metal(volume, threshold=arguments.threshold)
        metal = found.mask
        facts["metal"] = f"metal: {found.volume_mm3 / 1000:.2f} ml above {found.threshold:.0f} HU"
        reason = f"no metal found, nothing to correct; threshold {found.reason}"
    if metal.any() and not metal[where].any():
        reason = f"no metal in slices {arguments.slices[0]} to {arguments.slices[1]}: nothing to correct"
    if not metal[where].any():
        facts["metal"] = f"{reason.rstrip('.')}; the image is unchanged"
        return None
    return Acquisition.from_image(volume.part(where), metal[where], control=control)
