"""`ctrestoration segment metal`: find metal in a CT volume by threshold."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ctrestoration.cli.inputs import add_reading_options

if TYPE_CHECKING:
    from ctrestoration.anatomy.metal import MetalComponent, MetalSegmentation

COMMAND = "segment metal"
HELP = "find metal in a CT volume, by a threshold that the scan's own scale justifies"
EXAMPLE = "ctrestoration segment metal ct.nii.gz metal.nii.gz"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume in HU: NRRD, NIfTI, MHA or a DICOM folder")
    parser.add_argument(
        "output",
        metavar="OUT",
        help="metal mask to write on the same grid (.nii.gz, .mha, .nrrd; .seg.nrrd for Slicer)",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="HU", help="metal lies above this (default: chosen, and why)"
    )
    parser.add_argument(
        "--min-volume", type=float, default=10.0, metavar="MM3", help="drop smaller pieces (default: %(default)s mm3)"
    )
    parser.add_argument(
        "--anywhere", action="store_true", help="keep metal outside the body and at the edge of the field of view, too"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, segment, write, and say what was found."""
    import numpy as np

    from ctrestoration.anatomy.metal import segment_metal
    from ctrestoration.cli.inputs import read_input
    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.files import refuse_overwrite
    from ctrestoration.io.images import check_output, write_labels
    from ctrestoration.volume import LabelMap

    refuse_overwrite(arguments.output, arguments.input)
    check_output(arguments.output)
    volume = read_input(arguments.input, arguments)
    found = segment_metal(
        volume,
        threshold=arguments.threshold,
        min_volume_mm3=arguments.min_volume,
        anywhere=arguments.anywhere,
        control=terminal_control(),
    )
    write_labels(LabelMap(found.mask.astype(np.uint16), volume.grid, {1: "metal"}, "metal"), arguments.output)
    if arguments.json:
        print_json(_summary(found))
    else:
        print(_told(found))
        print(f"wrote {arguments.output}")
    return 0


def _summary(found: MetalSegmentation) -> dict[str, Any]:
    return {
        "count": len(found.components),
        "volume_mm3": round(found.volume_mm3, 3),
        "threshold_hu": found.threshold,
        "reason": found.reason,
        "clip_level_hu": found.clip_level,
        "components": [_facts(component) for component in found.components],
        "rejected": [_facts(component) for component in found.rejected],
    }


def _facts(component: MetalComponent) -> dict[str, Any]:
    facts = {
        "volume_mm3": component.volume_mm3,
        "voxels": component.voxels,
        "center_lps_mm": [round(mm, 2) for mm in component.center],
        "highest_hu": component.highest_hu,
    }
    return facts if component.rejected is None else {**facts, "reason": component.rejected}


def _told(found: MetalSegmentation) -> str:
    lines = [f"threshold {found.reason}"]
    if found.components:
        count = len(found.components)
        pieces = f"{count} piece{'s' if count > 1 else ''}"
        lines.append(f"metal: {pieces}, {found.volume_mm3:.1f} mm3")
        lines += [_line(component) for component in found.components]
    else:
        lines.append("metal: none found; the mask is empty")
    if found.rejected:
        lines.append(f"left out: {len(found.rejected)}")
        lines += [f"{_line(component)}: {component.rejected}" for component in found.rejected]
    return "\n".join(lines)


def _line(component: MetalComponent) -> str:
    x, y, z = component.center
    return (
        f"  {component.volume_mm3:10.1f} mm3, up to {component.highest_hu:.0f} HU, "
        f"at ({x:.0f}, {y:.0f}, {z:.0f}) mm LPS"
    )
