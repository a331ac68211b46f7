"""`ctrestoration environment`: what is installed, what for, and whether PyTorch computes here."""

from __future__ import annotations

import argparse
from typing import Any

COMMAND = "environment"
HELP = "list what is installed and what it is for; with --probe, try PyTorch on every device"
EXAMPLE = "ctrestoration environment --probe"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--probe", action="store_true", help="compute something with PyTorch on every device")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Look, try, print."""
    from ctrestoration import environment
    from ctrestoration.cli.terminal import print_json

    found = environment.report()
    if arguments.probe:
        found["probe"] = environment.probe()
    if arguments.json:
        print_json(found)
    else:
        print(_told(found))
    return 0


def _told(found: dict[str, Any]) -> str:
    lines = [f"ctrestoration {found['ctrestoration']}, Python {found['python']}, {found['platform']}"]
    for package in found["packages"]:
        version = package["version"] or "missing"
        if package["version"] and not package["serves"]:
            version += f" (older than {package['minimum']})"
        lines.append(f"  {package['name']:<14}{version:<22}{package['purpose']}")
    for device in found.get("probe", {}).get("devices", []):
        state = f"works, {device['milliseconds']:.2f} ms" if device["works"] else f"fails: {device['error']}"
        lines.append(f"  {device['name']:<14}{device['title']}: {state}")
    if "probe" in found:
        lines.append(found["probe"]["verdict"])
    return "\n".join(lines)
