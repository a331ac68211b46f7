"""`ctrestoration correct`: reduce the metal artifacts of a CT volume."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from ctrestoration.cli.inputs import add_reading_options
from ctrestoration.errors import InputError

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.control import Control
    from ctrestoration.volume import Volume

COMMAND = "correct"
HELP = "reduce the metal artifacts of a CT volume, with or without its sinogram"
EXAMPLE = "ctrestoration correct ct.nii.gz corrected.nii.gz --method nmar"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume in HU: NRRD, NIfTI, MHA or a DICOM folder")
    parser.add_argument("output", metavar="OUT", help="corrected volume to write, on the same grid")
    parser.add_argument("--method", metavar="NAME", required=True, help="li, nmar, ...; an unknown name lists them all")
    parser.add_argument(
        "--acquisition", metavar="F", help="measured or simulated sinograms of IN; without it, IN is forward projected"
    )
    parser.add_argument("--metal", metavar="MASK", help="metal mask on the grid of IN (default: found by threshold)")
    parser.add_argument(
        "--threshold", type=float, metavar="HU", help="metal threshold (default: chosen from the image)"
    )
    parser.add_argument("--uncertainty", metavar="F", help="write the uncertainty in HU, where the method gives one")
    parser.add_argument("--synthesized", metavar="F", help="write the mask of voxels whose rays were mostly filled in")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, correct, write."""
    from ctrestoration import registry
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import terminal_control
    from ctrestoration.files import refuse_overwrite
    from ctrestoration.io.images import check_output, write_labels, write_volume
    from ctrestoration.volume import LabelMap

    method = registry.get("mar", arguments.method)
    outputs = [path for path in (arguments.output, arguments.uncertainty, arguments.synthesized) if path is not None]
    for number, output in enumerate(outputs):
        refuse_overwrite(output, arguments.input, arguments.acquisition, arguments.metal)
        check_output(output)
        if output in outputs[:number]:
            raise InputError(f"{output} is asked for twice: every output needs a name of its own.")
    volume = read_input(arguments.input, arguments)
    control = terminal_control()
    acquisition = _acquisition(arguments, volume, control.part(0.0, 0.4))
    if acquisition is None:
        write_volume(volume, arguments.output)
        print(f"wrote {arguments.output}, the image unchanged")
        return 0
    restoration = method.restore(acquisition, control.part(0.4, 1.0))
    if arguments.uncertainty and restoration.uncertainty is None:
        raise InputError(
            f"Method {method.name!r} gives no uncertainty: leave --uncertainty out, or choose another one."
        )
    write_volume(restoration.image.in_order_of(volume.grid), arguments.output)
    print(f"wrote {arguments.output}")
    if restoration.uncertainty is not None and arguments.uncertainty:
        write_volume(restoration.uncertainty.in_order_of(volume.grid), arguments.uncertainty)
        print(f"wrote {arguments.uncertainty}")
    if arguments.synthesized:
        mask = (
            restoration.synthesized if restoration.synthesized is not None else np.zeros(acquisition.image.grid.shape)
        )
        turned = acquisition.image.replaced(mask.astype(np.float32)).in_order_of(volume.grid)
        labels = LabelMap(turned.array.astype(np.uint16), volume.grid, {1: "synthesized"})
        write_labels(labels, arguments.synthesized)
        print(f"wrote {arguments.synthesized}")
    return 0


def _acquisition(arguments: argparse.Namespace, volume: Volume, control: Control) -> Acquisition | None:
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
        return acquisition
    if arguments.metal:
        metal = read_fraction(arguments.metal, volume.grid) >= 0.5
        if not metal.any():
            print(f"the metal mask {arguments.metal} is empty: nothing to correct")
            return None
    else:
        found = segment_metal(volume, threshold=arguments.threshold)
        metal = found.mask
        if not metal.any():
            print(f"no metal found, nothing to correct; threshold {found.reason}")
            return None
        print(f"metal: {int(metal.sum()) * volume.grid.voxel_mm3 / 1000:.2f} ml above {found.threshold:.0f} HU")
    return Acquisition.from_image(volume, metal, control=control)
