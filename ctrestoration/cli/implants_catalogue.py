"""`ctrestoration implants catalogue`: what there is to plan and place."""

from __future__ import annotations

import argparse

COMMAND = "implants catalogue"
HELP = "list screws, rods and other implants with their sizes, materials and sources"
EXAMPLE = "ctrestoration implants catalogue --kind screws"
_KINDS = ("screws", "rods", "implants", "levels")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--kind", choices=_KINDS, help="only these")
    parser.add_argument("--json", action="store_true", help="print the whole catalogue as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the catalogue."""
    from ctrestoration.cli.terminal import print_json
    from ctrestoration.implants.catalogue import catalogue, screw_presets

    content = catalogue()
    if arguments.json:
        print_json(content if arguments.kind is None else content[arguments.kind])
        return 0
    kinds = _KINDS if arguments.kind is None else (arguments.kind,)
    if "screws" in kinds:
        for preset in screw_presets().values():
            diameters = ", ".join(f"{value:g}" for value in preset.diameters_mm)
            print(
                f"screw {preset.name:15} {diameters} mm; {preset.lengths_mm[0]:g}-{preset.lengths_mm[-1]:g} mm long; "
                f"{preset.levels[0]}..{preset.levels[-1]}"
            )
    if "rods" in kinds:
        print("rod   diameters " + ", ".join(f"{value:g}" for value in content["rods"]["diameters_mm"]) + " mm")
    if "implants" in kinds:
        for name, row in content["implants"].items():
            sizes = ", ".join(f"{key} {low:g}..{high:g}" for key, (low, high, _) in row["sizes"].items())
            print(f"{name:15} {row['material']:12} {sizes}")
    if "levels" in kinds:
        for name, row in content["levels"].items():
            low, high = row["diameter_mm"]
            print(
                f"level {name:4} pedicle {row['pedicle_width_mm']:g} mm, {row['transverse_deg']:g} deg medial, "
                f"{row['sagittal_deg']:g} caudal; screws {low:g}-{high:g} mm"
            )
    return 0
