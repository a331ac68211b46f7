"""`ctrestoration segment organs`: organs of a CT volume by a trained network."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ctrestoration.cli.inputs import add_reading_options

if TYPE_CHECKING:
    from ctrestoration.anatomy.organs import OrganSegmentation

COMMAND = "segment organs"
HELP = "find organs in a CT volume with a trained network: the shipped liver segmenter, or one of yours"
EXAMPLE = "ctrestoration segment organs ct.nii.gz organs.seg.nrrd"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume in HU: NRRD, NIfTI, MHA or a DICOM folder")
    parser.add_argument("output", metavar="OUT", help="segmentation to write on the same grid (.seg.nrrd for Slicer)")
    parser.add_argument(
        "--weights",
        metavar="NAME_OR_FILE",
        default="liver-segmenter",
        help="weights with the task segmentation, by name or as a .safetensors file (default: %(default)s, which knows "
        "phantoms only)",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network computes (default auto)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, segment, write, and say what was found."""
    from ctrestoration.anatomy.organs import segment_organs, segmenter_header
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.files import refuse_overwrite
    from ctrestoration.io.images import check_output, write_labels
    from ctrestoration.models.catalog import find_model

    weights = find_model(arguments.weights)
    segmenter_header(weights)
    refuse_overwrite(arguments.output, arguments.input, str(weights))
    check_output(arguments.output)
    volume = read_input(arguments.input, arguments)
    found = segment_organs(volume, weights, arguments.device, terminal_control())
    write_labels(found.labels, arguments.output)
    if arguments.json:
        print_json(found.to_json())
    else:
        print(_told(found))
        print(f"wrote {arguments.output}")
    return 0


def _told(found: OrganSegmentation) -> str:
    own = "" if found.resampled else ": the CT's own, since the weights do not say what they were trained on"
    lines = [f"weights: {found.weights}, on pixels of {found.pixel_mm:.3g} mm{own}"]
    lines += [f"  {name:<12} {volume:9.1f} ml" for name, volume in found.volumes_ml.items()]
    if not found.labels.array.any():
        lines.append("nothing was found; the segmentation is empty")
    return "\n".join(lines)
