"""Modules and widgets in the stand-in for Slicer: fresh scene a test, nothing raised in silence, no process left."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "Testing" / "standin"), str(Path(__file__).parent)]
pytest.importorskip("slicer", reason="the stand-in needs slicer-core: pip install slicer-core", exc_type=ImportError)

import slicerstandin  # noqa: E402

# Test files import qt and slicer at their top: install before they are collected.
try:
    slicerstandin.install()
except ImportError as missing:
    pytest.skip(f"the stand-in needs Qt (pip install PySide6-Essentials): {missing}", allow_module_level=True)

import slicer  # noqa: E402
from PySide6 import QtCore  # noqa: E402

# What Qt says of mistakes in widgets and connections; other messages come from the platform without a screen.
COMPLAINTS = ("QObject", "QLayout", "QWidget", "QProcess: Destroyed", "QMetaObject", "QTimer", "QBasicTimer")


def pytest_sessionstart(session: pytest.Session) -> None:
    """VTK took over the signals of crashes, in silence: give them back, so that a crash shows where it was."""
    from _pytest.faulthandler import fault_handler_stderr_fd_key

    faulthandler.enable(file=session.config.stash.get(fault_handler_stderr_fd_key, 2))


@pytest.fixture(autouse=True)
def raised(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Slots, timers and VTK observers never raise to their caller: their exceptions fail the test here."""
    errors: list[BaseException] = []
    complaints: list[str] = []

    def hear(_kind: Any, _context: Any, text: str) -> None:
        if text.startswith(COMPLAINTS):
            complaints.append(text)

    monkeypatch.setattr(sys, "excepthook", lambda _kind, value, _trace: errors.append(value))
    previous = QtCore.qInstallMessageHandler(hear)
    yield errors
    QtCore.qInstallMessageHandler(previous)
    assert not errors, f"raised in slots or observers: {errors!r}" + _trace(errors[0])
    assert not complaints, f"Qt complains: {complaints}"


def _trace(error: BaseException) -> str:
    import traceback

    return "\n" + "".join(traceback.format_exception(error))


def children() -> set[int]:
    """Living child processes (Linux; elsewhere none are seen)."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        found.update(int(pid) for pid in task.read_text().split())
    return {pid for pid in found if _state(pid) != "Z"}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "Z"


@pytest.fixture(autouse=True)
def _no_processes(raised: Any) -> Iterator[None]:
    """Every child that a test started has ended 15 s later (a child is asked to stop before it is killed)."""
    before = children()
    yield
    end = time.monotonic() + 15.0
    while children() - before and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.02)
    left = [f"{pid}: {_command(pid)}" for pid in children() - before]
    assert not left, f"processes left running: {left}"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return "?"


@pytest.fixture(autouse=True)
def scene(_no_processes: Any) -> Any:
    """The application's scene, empty."""
    slicerstandin.reset()
    return slicer.mrmlScene


@pytest.fixture
def dialogs() -> Any:
    """Answers to questions, and what was told: see slicerstandin/dialogs.py."""
    return slicerstandin.dialogs


@pytest.fixture
def load_module(scene: Any) -> Iterator[Callable[..., Any]]:
    """`load_module("MARInpaint")`: load, set up and enter a module; gives its Python widget. Unloaded afterwards."""
    loaded: list[Any] = []

    def load(name: str, folder: str | os.PathLike[str] | None = None, enter: bool = True) -> Any:
        module = slicerstandin.load_module(Path(folder or ROOT / name) / f"{name}.py")
        loaded.append(module)
        panel = module.widgetRepresentation()
        if enter:
            panel.enter()
        return panel.self()

    yield load
    for module in loaded:
        slicerstandin.unload_module(module)
    slicer.mrmlScene.Clear(True)
    slicer.app.processEvents()
