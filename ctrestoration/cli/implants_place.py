"""`ctrestoration implants place`: a plan's metal on a CT's voxels."""

from __future__ import annotations

import argparse

COMMAND = "implants place"
HELP = "put a plan's implants on a CT's voxels, as the share of metal in each"
EXAMPLE = "ctrestoration implants place spine.nii.gz plan.json metal.nii.gz --mesh construct.stl"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("input", metavar="IN", help="CT volume")
    parser.add_argument("plan", metavar="PLAN", help="plan (.json), made by 'implants plan' or by hand")
    parser.add_argument("output", metavar="OUT", help="share of metal 0..1 (.nii.gz, .nrrd, .mha)")
    parser.add_argument(
        "--by-material", action="store_true", help="write one file a material, its name before the suffix, and no sum"
    )
    parser.add_argument("--mesh", metavar="F", help="write the implants' surfaces here (.stl or .vtp, LPS mm)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Place and write."""
    from pathlib import Path

    import numpy as np

    from ctrestoration.cli.terminal import print_json, terminal_control
    from ctrestoration.errors import InputError
    from ctrestoration.files import refuse_overwrite
    from ctrestoration.implants.checks import require_sound
    from ctrestoration.implants.construct import parts_of, place_parts
    from ctrestoration.implants.mesh import check_mesh_output, write_mesh
    from ctrestoration.implants.plan import load_plan, require_patient
    from ctrestoration.io._itk import image_suffix, write_image
    from ctrestoration.io.images import check_output, read_volume
    from ctrestoration.physics.materials import material

    check_output(arguments.output)
    if arguments.mesh:
        check_mesh_output(arguments.mesh)
    for path in (arguments.output, arguments.mesh):
        if path:
            refuse_overwrite(path, arguments.input, arguments.plan)
    plan = load_plan(arguments.plan)
    volume = read_volume(arguments.input)
    require_patient(plan, volume.grid, arguments.input)
    require_sound(plan)
    parts = parts_of(plan)
    if not parts:
        raise InputError(f"{arguments.plan} holds no screws, rods or devices: there is nothing to place.")
    for part in parts:
        material(part.material)
    maps = place_parts(parts, volume.grid, terminal_control())
    total = np.sum(list(maps.values()), axis=0, dtype=np.float32)
    if not total.any():
        raise InputError(f"All implants of {arguments.plan} lie outside {arguments.input}.")
    suffix = image_suffix(Path(arguments.output))
    stem = arguments.output[: -len(suffix)]
    files = {arguments.output: total}
    if arguments.by_material:
        files = {f"{stem}_{name.replace(' ', '_')}{suffix}": fraction for name, fraction in maps.items()}
    for path, fraction in files.items():
        write_image(np.clip(fraction, 0, 1), volume.grid, Path(path))
    if arguments.mesh:
        write_mesh([part.mesh for part in parts], arguments.mesh)
    facts = {
        "files": list(files) + ([arguments.mesh] if arguments.mesh else []),
        "solids": len(parts),
        "metal_ml": {name: round(float(f.sum()) * volume.grid.voxel_mm3 / 1000, 3) for name, f in maps.items()},
    }
    if arguments.json:
        print_json(facts)
    else:
        amounts = ", ".join(f"{ml:.2f} ml {name}" for name, ml in facts["metal_ml"].items())  # type: ignore[attr-defined]
        print(f"{len(parts)} solids, {amounts}\nwrote {', '.join(facts['files'])}")  # type: ignore[arg-type]
    return 0
