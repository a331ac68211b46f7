"""`ctrestoration reconstruct`: restore a low-dose CT volume."""

from __future__ import annotations

import argparse

from ctrestoration.cli.inputs import add_reading_options, add_uncertainty_options
from ctrestoration.errors import InputError

COMMAND = "reconstruct"
HELP = "restore a low-dose CT volume, from its sinogram or from the image alone"
EXAMPLE = "ctrestoration reconstruct lowdose.nii.gz restored.nii.gz --method nlm"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="low-dose CT volume in HU")
    parser.add_argument("output", metavar="OUT", help="restored volume to write, on the same grid")
    parser.add_argument(
        "--method",
        metavar="NAME",
        required=True,
        help="fbp-hann, nlm, tv, ... or WEIGHTS.safetensors; an unknown name lists them all",
    )
    parser.add_argument("--acquisition", metavar="F", help="the sinograms of IN; some methods need them")
    add_uncertainty_options(parser)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where networks compute (default auto)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, restore, write."""
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.cli.inputs import check_uncertainty, chosen_method, read_input, tell_scope
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.files import refuse_overwrite
    from ctrestoration.io.images import check_output, write_volume
    from ctrestoration.reconstruct.slices import acquisition_of_image

    method = chosen_method(
        "reconstruction", arguments.method, arguments.device, arguments.uncertainty is not None, arguments.calibration
    )
    outputs = [path for path in (arguments.output, arguments.uncertainty) if path is not None]
    for output in outputs:
        refuse_overwrite(output, arguments.input, arguments.acquisition, arguments.calibration)
        check_output(output)
    if len(set(outputs)) < len(outputs):
        raise InputError(f"{outputs[0]} is asked for twice: every output needs a name of its own.")
    check_uncertainty(method, arguments.uncertainty is not None)
    volume = read_input(arguments.input, arguments)
    if arguments.acquisition:
        acquisition = Acquisition.load(arguments.acquisition)
        difference = acquisition.image.grid.mismatch(volume.axial().grid)
        if difference is not None:
            raise InputError(f"{arguments.acquisition} was not made from {arguments.input}: {difference}.")
    else:
        acquisition = acquisition_of_image(volume)
    restoration = method.restore(acquisition, terminal_control())
    write_volume(restoration.image.in_order_of(volume.grid), arguments.output)
    facts = {"files": outputs, "provenance": restoration.provenance}
    if restoration.uncertainty is not None and arguments.uncertainty:
        write_volume(restoration.uncertainty.in_order_of(volume.grid), arguments.uncertainty)
        facts["uncertainty"] = restoration.uncertainty_meaning()
        tell_scope(restoration)
    if arguments.json:
        print_json(facts)
    else:
        said = [f"uncertainty: {facts['uncertainty']}"] if "uncertainty" in facts else []
        print("\n".join([*said, f"wrote {', '.join(outputs)}"]))
    return 0
