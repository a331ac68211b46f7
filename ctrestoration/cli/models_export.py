"""`ctrestoration models export`: weights for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.terminal import print_json, say
from ctrestoration.errors import MissingDependencyError

COMMAND = "models export"
HELP = "write weights as a MONAI bundle or as ONNX"
EXAMPLE = "ctrestoration models export runs/first/weights/g.safetensors bundle --format monai"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("weights", metavar="WEIGHTS", help="name of shipped weights, or a .safetensors file")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of the bundle, or the .onnx file")
    parser.add_argument("--format", choices=["monai", "onnx"], default="monai", help="default: monai")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Export."""
    from importlib.util import find_spec

    from ctrestoration.models.catalog import find_model
    from ctrestoration.models.export import export_bundle, export_onnx

    if find_spec("torch") is None:
        raise MissingDependencyError("torch", "torch", "Exporting weights")
    path = find_model(arguments.weights)
    if arguments.format == "monai":
        export_bundle(path, arguments.out)
    else:
        export_onnx(path, arguments.out)
    if arguments.json:
        print_json({"weights": str(path), "format": arguments.format, "out": str(arguments.out)})
    else:
        say(f"Wrote {arguments.out}.")
    return 0
