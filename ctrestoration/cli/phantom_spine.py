"""`ctrestoration phantom spine`: make a synthetic CT of a spine whose truth is known."""

from __future__ import annotations

import argparse
from pathlib import Path

COMMAND = "phantom spine"
HELP = "make a synthetic CT of the trunk whose vertebrae, pedicle axes and lesions are known exactly"
EXAMPLE = "ctrestoration phantom spine spine.nii.gz --labels labels.nii.gz --truth truth.json --seed 7"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", metavar="OUT", help="CT volume to write (.nii.gz, .nrrd, .mha)")
    parser.add_argument(
        "--labels", metavar="F", help="write the labels here (TotalSegmentator's numbers; .seg.nrrd for Slicer)"
    )
    parser.add_argument("--parts", metavar="F", help="write body, pedicle, posterior elements and canal here")
    parser.add_argument("--lesions", metavar="F", help="write the liver lesions here")
    parser.add_argument("--truth", metavar="F", help="write pedicle axes, frames and all parameters here (JSON)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws the patient (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        default=(64, 256, 256),
        metavar=("Z", "Y", "X"),
        help="voxels (default: 64 256 256)",
    )
    parser.add_argument(
        "--spacing", type=float, nargs=3, default=(1.5, 1.5, 2.0), metavar=("X", "Y", "Z"),
        help="voxel size in mm (default: 1.5 1.5 2)",
    )  # fmt: skip
    parser.add_argument(
        "--region", default="lumbar", metavar="NAME",
        help="center: lumbar, lumbosacral, thoracolumbar, thoracic, upper-thoracic, or a level (default: %(default)s)",
    )  # fmt: skip
    patient = parser.add_argument_group("the patient (drawn from the seed where not given)")
    patient.add_argument("--age", type=float, metavar="YEARS", help="18 to 95; with age bone thins and vessels calcify")
    patient.add_argument("--sex", choices=("female", "male"), help="sets the size")
    patient.add_argument("--scoliosis", type=float, metavar="DEG", help="Cobb angle, positive = convex to the left")
    patient.add_argument("--fat", type=float, metavar="MM", help="subcutaneous fat at the flank")
    patient.add_argument("--contrast", choices=("yes", "no"), help="portal venous contrast agent")
    patient.add_argument("--liver-lesions", type=int, metavar="N", help="how many")
    patient.add_argument("--noise", type=float, default=12.0, metavar="HU", help="image noise (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Build the phantom and write what was asked for."""
    from ctrestoration.anatomy.phantom import PhantomOptions, spine_phantom
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.errors import InputError
    from ctrestoration.files import check_writable, write_json
    from ctrestoration.io.images import check_output, write_labels, write_volume

    images = (arguments.output, arguments.labels, arguments.parts, arguments.lesions)
    paths = [path for path in (*images, arguments.truth) if path]
    for path in images:
        if path:
            check_output(path)
    if arguments.truth:
        check_writable(arguments.truth)
    places = [Path(path).resolve() for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{path} is named for two outputs; each needs its own file.")
    phantom = spine_phantom(
        size=tuple(arguments.size),
        spacing=tuple(arguments.spacing),
        seed=arguments.seed,
        region=arguments.region,
        options=PhantomOptions(
            age=arguments.age,
            sex=arguments.sex,
            scoliosis_deg=arguments.scoliosis,
            fat_mm=arguments.fat,
            contrast=None if arguments.contrast is None else arguments.contrast == "yes",
            lesions=arguments.liver_lesions,
            noise_hu=arguments.noise,
        ),
        control=terminal_control(),
    )
    write_volume(phantom.volume, arguments.output)
    for labels, path in (
        (phantom.labels, arguments.labels),
        (phantom.sublabels, arguments.parts),
        (phantom.lesions, arguments.lesions),
    ):
        if path:
            write_labels(labels, path)
    if arguments.truth:
        write_json(arguments.truth, phantom.truth.to_json())
    complete = list(phantom.truth.complete_levels)
    cut = [name for name, level in phantom.truth.levels.items() if not level.complete]
    if arguments.json:
        print_json({"files": paths, "seed": arguments.seed, "complete_levels": complete, "cut_levels": cut})
    else:
        print(f"complete vertebrae: {', '.join(complete) or 'none'}; cut by the edge: {', '.join(cut) or 'none'}")
        print("wrote " + ", ".join(paths))
    return 0
