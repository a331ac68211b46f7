"""`ctrestoration demo`: the main job end to end."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.inputs import add_reading_options, seed_number

COMMAND = "demo"
HELP = "the main job end to end: spine, screws and rods, artifact, corrections, numbers, a report"
EXAMPLE = "ctrestoration demo --out demo-output"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--ct", metavar="FILE", help="CT of a lumbar spine (default: the built-in phantom)")
    parser.add_argument(
        "--out", metavar="DIR", default="demo-output", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="of the phantom and of the photon noise (default: %(default)s)"
    )
    parser.add_argument(
        "--preset",
        default="syndeeplesion-640",
        help="scanner preset; an unknown name lists them all (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the metrics as one JSON object instead of a summary")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run it, and end with the path of the report."""
    from ctrestoration import demo
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.files import check_writable, refuse_overwrite
    from ctrestoration.physics.presets import scanner_preset

    out = Path(arguments.out)
    check_writable(out / "report.html")
    if arguments.ct:
        refuse_overwrite(out / "volumes" / Path(arguments.ct).name, arguments.ct)
    scanner_preset(arguments.preset)
    ct = read_input(arguments.ct, arguments) if arguments.ct else None
    outcome = demo.run(out, ct, arguments.seed, arguments.preset, terminal_control())
    if arguments.json:
        print_json(outcome.metrics)
        return 0
    for case in outcome.metrics["cases"]:
        low, high = case["window"]
        print(f"{case['name']}: outside the metal, window {low:g} to {high:g} HU")
        for name, scores in case["methods"].items():
            psnr = "infinite" if scores["psnr_db"] is None else f"{scores['psnr_db']:.2f} dB"
            print(f"  {name:<8} PSNR {psnr}, SSIM {scores['ssim']:.4f}, RMSE {scores['rmse_hu']:.1f} HU")
    print(f"report: {outcome.report.resolve()}")
    return 0
