"""Entry point of the `ctrestoration` command."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, NoReturn

from ctrestoration import cli
from ctrestoration._version import __version__
from ctrestoration.cli.terminal import say
from ctrestoration.errors import CTRestorationError, CTRestorationWarning

_GROUP_HELP = {
    "segment": "find metal or the spine in a CT volume",
    "phantom": "make a synthetic CT with known truth",
    "implants": "plan, grade, scatter, place and list implants",
    "simulate": "simulate what the scanner makes of metal or of a lower dose",
    "dataset": "build and check training data",
    "models": "list, check and export weights",
    "reproduce": "repeat the studies of published papers, with controls",
}


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one sentence, like every other error of ours."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command found in this folder."""
    parser = _Parser(
        prog="ctrestoration",
        description="Simulate, reduce and measure CT artifacts of metal and of low dose. "
        "Research use only; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"ctrestoration {__version__}")
    top = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    groups: dict[str, Any] = {}
    for module in _command_modules():
        *group, word = module.COMMAND.split()
        where = top
        if group:
            if group[0] not in groups:
                outer = top.add_parser(
                    group[0], help=_GROUP_HELP.get(group[0], ""), description=_sentence(_GROUP_HELP.get(group[0], ""))
                )
                groups[group[0]] = outer.add_subparsers(metavar="WHAT", required=True, parser_class=_Parser)
            where = groups[group[0]]
        command = where.add_parser(
            word,
            help=module.HELP,
            description=_sentence(module.HELP),
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(command)
        command.set_defaults(run_command=module.run)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 2 bad input, 130 cancelled)."""
    try:
        arguments = build_parser().parse_args(words)
    except KeyboardInterrupt as error:
        say(f"ctrestoration: {explained(error)[0]}")
        return explained(error)[1]
    with reported():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        code = int(arguments.run_command(arguments) or 0)
        sys.stdout.flush()
        return code
    except (CTRestorationError, MemoryError, KeyboardInterrupt) as error:
        sentence, code = explained(error)
        say(f"ctrestoration: {sentence}")
        return code
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; without this, Python complains about it once more while exiting.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def explained(error: BaseException) -> tuple[str, int]:
    """One sentence and the exit code of an error that a user can do something about."""
    if isinstance(error, CTRestorationError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return "not enough memory for this volume: crop it, or give coarser voxels.", 2
    return "Cancelled; nothing half-written was left.", 130


@contextmanager
def reported() -> Iterator[None]:
    """Within the block, notices go to the user and a polite request to end cleans up as Ctrl-C does."""
    with warnings.catch_warnings(), _terminable():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        warnings.simplefilter("always", CTRestorationWarning)
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """A polite request to end (SIGTERM) cleans up as Ctrl-C does; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _command_modules() -> list[ModuleType]:
    names = sorted(found.name for found in pkgutil.iter_modules(cli.__path__) if found.name != "main")
    modules = [importlib.import_module(f"ctrestoration.cli.{name}") for name in names]
    return [module for module in modules if hasattr(module, "COMMAND")]


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show_warning(message: Any, category: type[Warning], *where: Any) -> None:
    if issubclass(category, CTRestorationWarning):
        say(str(message), "notice")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text else ""
