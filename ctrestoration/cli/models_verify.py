"""`ctrestoration models verify`: are these weights what their digest says?"""

from __future__ import annotations

import argparse
from pathlib import Path

from ctrestoration.cli.terminal import print_json, say

COMMAND = "models verify"
HELP = "check weights against their digests"
EXAMPLE = "ctrestoration models verify runs/first/weights/g.safetensors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "files", metavar="WEIGHTS", type=Path, nargs="*", help=".safetensors files (default: all shipped)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify; the first file that is not whole ends with exit code 3."""
    from ctrestoration.models.catalog import find_models
    from ctrestoration.models.weights import verify

    files = arguments.files or [Path(model["file"]) for model in find_models()]
    digests = {str(path): verify(path) for path in files}
    if arguments.json:
        print_json({"models": [{"file": path, "sha256": digest, "ok": True} for path, digest in digests.items()]})
    else:
        for path, digest in digests.items():
            say(f"{path} is whole: {digest}")
        if not digests:
            say("No weights are shipped with this version.")
    return 0
