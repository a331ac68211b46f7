"""`ctrestoration train`: one YAML file describes a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.cli.terminal import say, terminal_control
from ctrestoration.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from ctrestoration.jobs.rundir import RunDirectory
    from ctrestoration.training.runfile import RunConfig

COMMAND = "train"
HELP = "train a network as a YAML file describes; kill it anywhere, 'resume' goes on with the same result"
EXAMPLE = "ctrestoration train run.yaml --run-dir runs/first --set optim.lr=3.0e-4"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "config", metavar="RUN.yaml", type=Path, help="the run file; docs/training.md explains each key"
    )
    parser.add_argument("--run-dir", metavar="DIR", required=True, help="new folder for everything the run writes")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="replace an entry of the file"
    )
    parser.add_argument("--scale", metavar="NAME", help="train this variant, which the file describes under 'scales'")
    parser.add_argument("--check", action="store_true", help="only check the run file; nothing is written")
    parser.add_argument("--detach", action="store_true", help="train in the background and return at once")
    parser.add_argument(
        "--backend", choices=["local", "ssh"], default="local", help="where to train; ssh: in the background on --host"
    )
    parser.add_argument("--host", metavar="USER@MACHINE", help="the other machine, as ssh takes it")
    parser.add_argument("--host-python", metavar="PATH", default="python3", help="Python with ctrestoration there")
    add_how(parser)


def add_how(parser: argparse.ArgumentParser) -> None:
    """Arguments that `train` and `resume` share."""
    parser.add_argument("--processes", metavar="N", type=int, default=1, help="processes on this machine (default 1)")
    parser.add_argument("--quiet", action="store_true", help="no progress on the terminal")


def run(arguments: argparse.Namespace) -> int:
    """Start a run."""
    from ctrestoration.jobs.local import LocalBackend
    from ctrestoration.jobs.ssh import SshBackend

    if arguments.scale is not None:
        require_torch()  # yaml is one of the packages that it brings
        from ctrestoration.training.yaml_file import scale_overrides

        arguments.overrides = [*scale_overrides(arguments.config, arguments.scale), *arguments.overrides]
    if arguments.backend == "ssh":
        if not arguments.host:
            raise InputError("--backend ssh needs --host user@machine.")
        backend = SshBackend(arguments.host, Path.cwd(), python=arguments.host_python)
        number = backend.submit(arguments.config, arguments.run_dir, arguments.overrides, arguments.processes)
        say(f"Training on {arguments.host} as process {number}, in {arguments.run_dir}.")
        return 0
    require_torch()
    from ctrestoration.training.launch import check_run, create_run
    from ctrestoration.training.runfile import load_config

    config = load_config(arguments.config, arguments.overrides)
    check_run(config, arguments.processes)
    if arguments.check:
        say(f"{arguments.config} is a valid run file.")
        return 0
    if arguments.detach:
        number = LocalBackend().submit(arguments.config, arguments.run_dir, arguments.overrides, arguments.processes)
        say(f"Training as process {number}; 'ctrestoration runs {arguments.run_dir}' shows how far it is.")
        return 0
    return train(create_run(config, Path(arguments.run_dir)), config, arguments)


def train(directory: RunDirectory, config: RunConfig, arguments: argparse.Namespace) -> int:
    """Train in a run directory, new or begun."""
    from ctrestoration.training.launch import train_here, train_in_group

    if arguments.processes > 1:
        train_in_group(directory, config, arguments.processes)
    else:
        train_here(directory, config, None if arguments.quiet else _progress())
    if not arguments.quiet:
        say(f"Finished. Weights and their card are in {directory.weights}.")
    return 0


def require_torch() -> None:
    """Say what to install where this Python cannot train."""
    from importlib.util import find_spec

    for package in ("torch", "yaml", "safetensors"):
        if find_spec(package) is None:
            raise MissingDependencyError(package, "torch", "Training")


def _progress() -> Any:
    """An observer that keeps one line on the terminal and prints what is worth reading."""
    control = terminal_control()
    shown: dict[str, Any] = {"total": None, "text": "Starting"}

    def observe(what: str, record: dict[str, Any]) -> None:
        if what == "status":
            shown["total"] = record.get("total")
        elif what == "event" and record["kind"] not in ("checkpoint", "failed", "cancelled", "done"):
            say(record["message"])
        elif what == "metrics" and record["kind"] == "val":
            values = record["values"]
            say(
                f"epoch {record['epoch'] + 1}: "
                + ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
            )
        elif what == "metrics" and record["kind"] == "train" and shown["total"]:
            control.report(record["step"] / shown["total"], f"Training, stage {record['stage']}")

    return observe
