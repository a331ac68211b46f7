"""`ctrestoration simulate metal`: put metal into a CT and see what the scanner makes of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ctrestoration.cli.inputs import add_reading_options, seed_number
from ctrestoration.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ctrestoration.volume import Volume

COMMAND = "simulate metal"
HELP = "put metal into a CT and simulate the scan: artifact, sinograms, and the same scan without metal"
EXAMPLE = "ctrestoration simulate metal ct.nii.gz --mask metal.nii.gz --material titanium --out simulated"

_FILES = ("input.nii.gz", "reference.nii.gz", "metal.seg.nrrd", "acquisition.npz", "settings.json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume in HU, without metal")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--plan", metavar="P", help="implant plan (JSON)")
    where.add_argument("--mask", metavar="M", help="metal mask or fraction image on the grid of IN")
    parser.add_argument(
        "--material", metavar="NAME", default=None, help="of --mask (default: titanium); an unknown name lists them all"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the results")
    parser.add_argument(
        "--preset", default="syndeeplesion-640", help="scanner; an unknown name lists them all (default: %(default)s)"
    )
    parser.add_argument("--spectrum", default="adn-120", help="adn-120, or a tube voltage 80, 100, 120, 140")
    parser.add_argument(
        "--photons", type=float, default=2e7, help="per detector bin; 0: no noise (default: %(default)g)"
    )
    parser.add_argument("--scatter", type=float, default=20.0, help="photons added to every bin (default: %(default)g)")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the photon noise (default: %(default)s)")
    parser.add_argument(
        "--slices", type=int, nargs=2, metavar=("FIRST", "LAST"),
        help="scan these axial slices only, counted from 0 at the feet; the results hold only them",
    )  # fmt: skip
    _add_advanced(parser)
    parser.add_argument("--json", action="store_true", help="print the settings as one JSON object")
    add_reading_options(parser)


_ADVANCED = {
    "mu_water": ("PER_MM", "attenuation of water that stands for 0 HU at 70 keV, 0.005..0.1 per mm"),
    "scatter_ratio": ("SHARE", "scatter of the patient as a share of the primary photons, 0..10"),
    "electronic_noise": ("PHOTONS", "standard deviation of the detector's own noise in photons a bin, 0..1e6"),
    "metal_edge": ("FACTOR", "the metal path at the edge of its trace is divided by this, 1..100; 1: leave it alone"),
}


def _add_advanced(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("advanced settings of the scan")
    for name, (metavar, text) in _ADVANCED.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=float, metavar=metavar, help=text)
    group.add_argument("--fbp-mode", choices=("exact", "odl-compat"), help="reconstruction (default: the preset's)")
    group.add_argument(
        "--fbp-window", metavar="NAME", help="filter window; an unknown name lists them all (default: the preset's)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Read, simulate, write."""
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.files import atomic_folder, check_writable, refuse_overwrite, write_json
    from ctrestoration.io.images import write_labels, write_volume
    from ctrestoration.physics.materials import material
    from ctrestoration.simulate.metal import simulate_metal
    from ctrestoration.volume import LabelMap, axial_part

    if arguments.plan and arguments.material:
        raise InputError("--material cannot be given with --plan, which names the material of every part.")
    material(arguments.material or "titanium")
    out = Path(arguments.out)
    check_writable(out / "acquisition.npz")
    for name in _FILES:
        refuse_overwrite(out / name, arguments.input, arguments.mask, arguments.plan)
    volume = read_input(arguments.input, arguments)
    implants = _implants(arguments, volume)
    first = 0
    if arguments.slices is not None:
        first = arguments.slices[0]
        where = axial_part(volume.grid, *arguments.slices)
        volume = volume.part(where)
        implants = {name: fraction[where] for name, fraction in implants.items()}
        _check_metal(arguments, implants, f"slices {first} to {arguments.slices[1]} of {arguments.input}")
    advanced = {name: getattr(arguments, name) for name in (*_ADVANCED, "fbp_mode", "fbp_window")}
    simulation = simulate_metal(
        volume,
        implants,
        preset=arguments.preset,
        seed=arguments.seed,
        first_slice=first,
        spectrum=arguments.spectrum,
        photons=arguments.photons or None,
        scatter=arguments.scatter,
        control=terminal_control(),
        **{name: value for name, value in advanced.items() if value is not None},
    )
    if arguments.slices is not None:
        simulation.settings["slices"] = list(arguments.slices)
    with atomic_folder(out) as folder:
        write_volume(simulation.acquisition.image.in_order_of(volume.grid), folder / "input.nii.gz")
        write_volume(simulation.reference.in_order_of(volume.grid), folder / "reference.nii.gz")
        simulation.acquisition.save(folder / "acquisition.npz")
        metal = simulation.reference.replaced(simulation.acquisition.metal).in_order_of(volume.grid).array > 0
        write_labels(LabelMap(metal.astype("uint16"), volume.grid, {1: "metal"}), folder / "metal.seg.nrrd")
        write_json(folder / "settings.json", simulation.settings)
    if arguments.json:
        print_json(simulation.settings)
    else:
        files = "input.nii.gz (with metal), reference.nii.gz (without), metal.seg.nrrd, acquisition.npz, settings.json"
        print(f"wrote {out}: {files}")
    return 0


def _implants(arguments: argparse.Namespace, volume: Volume) -> dict[str, NDArray[np.float32]]:
    from ctrestoration.implants import load_plan, place
    from ctrestoration.io.images import read_fraction

    if arguments.plan:
        implants = place(load_plan(arguments.plan), volume.grid)
    else:
        implants = {arguments.material or "titanium": read_fraction(arguments.mask, volume.grid)}
    _check_metal(arguments, implants, arguments.input)
    return implants


def _check_metal(arguments: argparse.Namespace, implants: dict[str, NDArray[np.float32]], place: str) -> None:
    if not any((fraction > 0).any() for fraction in implants.values()):
        raise InputError(f"{arguments.plan or arguments.mask} puts no metal into {place}: nothing to simulate.")
