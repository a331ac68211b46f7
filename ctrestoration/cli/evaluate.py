"""`ctrestoration evaluate`: every image metric, with the window and the mask it was computed in."""

from __future__ import annotations

import argparse
from typing import Any

from ctrestoration.cli.inputs import add_reading_options
from ctrestoration.errors import InputError

COMMAND = "evaluate"
HELP = "measure an image against its reference: PSNR, SSIM, RMSE in HU, near-metal ring, bone Dice"
EXAMPLE = "ctrestoration evaluate corrected.nii.gz --reference truth.nii.gz --metal metal.nii.gz --json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="the CT volume to measure, in HU; or several")
    parser.add_argument(
        "--reference", metavar="REF", required=True, help="the volume it should equal, on the same grid"
    )
    parser.add_argument("--metal", metavar="MASK", help="metal mask on the same grid, left out of every number")
    parser.add_argument(
        "--window",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="HU window of PSNR and SSIM (default: -1000 1604, the linear range of the public benchmarks)",
    )
    parser.add_argument(
        "--challenge",
        action="store_true",
        help="also the measures of the AAPM CT-MAR challenge, means over the slices with metal; image and reference "
        "have to contain it",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object; of several images, a list in it")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, measure, print."""
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.evaluate.challenge import challenge_of_volume
    from ctrestoration.evaluate.metrics import BENCHMARK_WINDOW, evaluate
    from ctrestoration.io.images import read_fraction

    if arguments.challenge and not arguments.metal:
        raise InputError("--challenge needs --metal MASK: where the metal is.")
    reference = read_input(arguments.reference, arguments)
    metal = None
    if arguments.metal:
        mask = read_fraction(arguments.metal, reference.grid) >= 0.5
        metal = reference.replaced(mask).axial().array > 0
    window = (arguments.window[0], arguments.window[1]) if arguments.window else BENCHMARK_WINDOW
    control, scores = terminal_control(), []
    for path in control.track(arguments.images, "Measuring"):
        image = read_input(path, arguments)
        difference = image.grid.mismatch(reference.grid)
        if difference is not None:
            raise InputError(
                f"{path} and {arguments.reference} lie on different grids: {difference}; "
                "resample one onto the other first."
            )
        shown, true = image.axial(), reference.axial()
        scores.append(evaluate(shown.array, true.array, metal, window))
        if arguments.challenge and metal is not None:
            scores[-1]["challenge"] = challenge_of_volume(shown.array, true.array, metal, true.grid.spacing[:2])
    if not arguments.json:
        for path, found in zip(arguments.images, scores, strict=True):
            print((f"{path}\n" if len(scores) > 1 else "") + _table(found))
    elif len(scores) == 1:
        print_json(scores[0])
    else:
        named = zip(arguments.images, scores, strict=True)
        print_json({"images": [{"image": path, **found} for path, found in named]})
    return 0


def _table(scores: dict[str, Any]) -> str:
    low, high = scores["window"]
    lines = [
        f"window {low:g} to {high:g} HU, linear",
        f"{'':<16}{'PSNR dB':>10}{'SSIM':>10}{'RMSE HU':>10}{'voxels':>12}",
    ]
    for name, region in scores["regions"].items():
        psnr = "infinite" if region["psnr_db"] is None else f"{region['psnr_db']:.2f}"
        numbers = f"{psnr:>10}{region['ssim']:>10.4f}{region['rmse_hu']:>10.1f}{region['voxels']:>12}"
        lines.append(f"{name.replace('_', ' '):<16}{numbers}")
    if scores["dice"] is not None:
        lines.append(f"bone Dice {scores['dice']:.4f} ({scores['mask']['dice']})")
    if "challenge" in scores:
        measures = dict(scores["challenge"])
        lines.append(f"measures of the AAPM CT-MAR challenge, means over {measures.pop('slices')} slices with metal")
        lines += [f"  {name:<20}{'-' if value is None else f'{value:.4g}':>10}" for name, value in measures.items()]
    return "\n".join(lines)
