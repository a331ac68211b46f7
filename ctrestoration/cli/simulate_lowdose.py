"""`ctrestoration simulate lowdose`: fewer photons, fewer views."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.inputs import add_reading_options, seed_number

COMMAND = "simulate lowdose"
HELP = "simulate a CT at a lower dose or from fewer views, and reconstruct it"
EXAMPLE = "ctrestoration simulate lowdose ct.nii.gz --photons 4096 --out lowdose"

_FILES = ("lowdose.nii.gz", "reference.nii.gz", "acquisition.npz", "settings.json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume in HU")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the results")
    parser.add_argument(
        "--preset",
        default="true-scale",
        help="true-scale; lodopab: every image as 26 cm wide; lodopab-strict: "
        "the central 362 x 362 pixels as published (default: %(default)s)",
    )
    parser.add_argument("--photons", type=float, default=4096.0, help="per detector bin (default: %(default)g)")
    parser.add_argument("--views", type=int, default=1000, help="views kept of 1000 (default: %(default)s)")
    parser.add_argument(
        "--bins",
        type=int,
        default=513,
        help="of the detector; pixels of 2 mm and more need fewer (default: %(default)s)",
    )
    parser.add_argument("--window", default="ram-lak", help="FBP window (default: %(default)s)")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the photon noise (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the settings as one JSON object")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, simulate, write."""
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.files import atomic_folder, check_writable, refuse_overwrite, write_json
    from ctrestoration.io.images import write_volume
    from ctrestoration.simulate.lowdose import simulate_lowdose

    out = Path(arguments.out)
    check_writable(out / "acquisition.npz")
    for name in _FILES:
        refuse_overwrite(out / name, arguments.input)
    volume = read_input(arguments.input, arguments)
    simulation = simulate_lowdose(
        volume,
        preset=arguments.preset,
        seed=arguments.seed,
        photons=arguments.photons,
        views=arguments.views,
        bins=arguments.bins,
        window=arguments.window,
        control=terminal_control(),
    )
    with atomic_folder(out) as folder:
        write_volume(simulation.acquisition.image.in_order_of(volume.grid), folder / "lowdose.nii.gz")
        write_volume(simulation.truth.in_order_of(volume.grid), folder / "reference.nii.gz")
        simulation.acquisition.save(folder / "acquisition.npz")
        write_json(folder / "settings.json", simulation.settings)
    if arguments.json:
        print_json(simulation.settings)
    else:
        print(f"wrote {out}: {', '.join(_FILES)}")
    return 0
