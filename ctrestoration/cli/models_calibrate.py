"""`ctrestoration models calibrate`: make an error bar of a network's uncertainty."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ctrestoration.cli.terminal import print_json, say, terminal_control
from ctrestoration.errors import InputError, MissingDependencyError

COMMAND = "models calibrate"
HELP = "measure how far a network's uncertainty is off, so that it becomes an interval in HU"
EXAMPLE = "ctrestoration models calibrate runs/first/weights/g.safetensors --data pairs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("weights", metavar="WEIGHTS", help="name of shipped weights, or a .safetensors file")
    parser.add_argument(
        "--data", metavar="FOLDER", type=Path, nargs="+", required=True,
        help="pairs of 'dataset build', or stored scans, of patients that the network was not trained on: of the data "
        "set that it was trained on the test split is used",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="calibration to write (default: beside the weights, where it is found)"
    )
    parser.add_argument(
        "--coverage", type=float, default=0.9, metavar="SHARE", help="of the pixels, nominal (default: %(default)s)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network computes (default: auto)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Apply the network to everything, calibrate, write."""
    from importlib.util import find_spec

    from ctrestoration import registry
    from ctrestoration.evaluate.calibration import least_patients
    from ctrestoration.models.calibrate import calibrate
    from ctrestoration.models.calibration import beside
    from ctrestoration.models.catalog import find_model, read_header

    if find_spec("torch") is None:
        raise MissingDependencyError("torch", "torch", "Calibrating a network")
    path = find_model(arguments.weights)
    if not path.is_file():
        raise InputError(f"There is no weights file {path}.")
    task: Any = read_header(path).get("task")
    if task not in ("mar", "reconstruction"):
        raise InputError(f"{path} is for the task {task!r}: only networks that restore images have an uncertainty.")
    out = beside(path) if arguments.out is None else arguments.out
    if not out.parent.is_dir():
        raise InputError(f"There is no folder {out.parent} to write {out.name} to.")
    if out.suffix != ".json":
        raise InputError(f"{out} has to end in .json.")
    method: Any = registry.get(task, str(path))
    found = calibrate(method.on_device(arguments.device), arguments.data, arguments.coverage, terminal_control())
    found.write(out)
    if arguments.json:
        print_json({"file": str(out), "scope": found.scope, "measured": found.measured})
        return 0
    print(_told(found.measured, found.half_width.coverage))
    patients = found.scope["patients"]
    if patients < 5 * least_patients(arguments.coverage):
        say(f"{patients} patients are few: the half-widths are larger than the nominal coverage needs.", "notice")
    say(f"Wrote {out}.")
    return 0


def _told(measured: dict[str, Any], nominal: float) -> str:
    """The coverage on patients left out, as lines."""
    lines = [
        f"{'pixels':<16}{'coverage':>10}{'lowest':>8}{'half-width':>12}   ({nominal:.0%} nominal, patients left out)"
    ]
    for place, found in measured["coverage"].items():
        if found is not None:
            width = measured["median_half_width_hu"][place]
            lines.append(f"{place:<16}{found['mean']:>10.1%}{found['lowest']:>8.1%}{width:>9.0f} HU")
    known = {"rank correlation": measured["spearman"], "AUSE": measured["ause"]}
    return "\n".join([*lines, *(f"{name} {value:.2f}" for name, value in known.items() if value is not None)])
