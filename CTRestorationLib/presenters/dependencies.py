"""The page on what is installed: what is missing and what for, one button to install it, and whether the GPU works."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ctrestoration import environment
from ctrestoration.environment import Found
from CTRestorationLib.jobs.runner import JobRunner, jobFolder

INTRODUCTION = (
    "Segmenting, planning, simulation and classical correction need nothing but Slicer. With numba, simulation and "
    f"correction take about 1/{environment.NUMBA_SPEEDUP} of the time: install it before working on many slices."
)
NOT_TRIED = "PyTorch has not been tried yet: press Check GPU."


class InstallFailed(Exception):  # noqa: N818 - a message to the user
    """The message is one sentence, `detail` what pip said."""

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.detail = detail


class Declined(Exception):  # noqa: N818 - the user's answer
    """The user does not want it after all."""


class Installer(Protocol):
    """What the application can install; every call returns when it is done."""

    def install(self, requirements: Sequence[str], constraints: Sequence[str]) -> None:
        """From the package index, after asking. Raises Declined, InstallFailed."""
        ...

    def installFromFolder(self, requirements: Sequence[str], constraints: Sequence[str], folder: Path) -> None:
        """From wheels in a folder, without network. Raises InstallFailed."""
        ...

    def installPyTorch(self, minimum: str) -> None:
        """With the PyTorch extension, which is itself installed where it is missing. Raises Declined, InstallFailed."""
        ...

    def application(self) -> dict[str, Any]:
        """Facts of the application for a report."""
        ...


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    installed: str
    purpose: str
    serves: bool
    required: bool


class View(Protocol):
    """What the page shows."""

    def showRows(self, rows: Sequence[Row]) -> None:
        """The table."""
        ...

    def showVerdict(self, text: str) -> None:
        """Whether PyTorch computes here, in plain words."""
        ...

    def showStatus(self, text: str) -> None:
        """What is going on."""
        ...

    def setButton(self, name: str, enabled: bool, toolTip: str) -> None:
        """Of "install", "folder", "pytorch", "probe"."""
        ...

    def showError(self, sentence: str, detail: str) -> None:
        """What went wrong."""
        ...

    def copy(self, text: str) -> None:
        """To the clipboard."""
        ...


class DependencyPresenter:
    """Decides what the page shows and does.

    Args:
        view: the page.
        installer: of the application.
        makeRunner: a fresh JobRunner, for the child that tries PyTorch: it is never imported here.
        root: () -> folder for job files.
        found: () -> the packages as they are now.
    """

    def __init__(
        self,
        view: View,
        installer: Installer,
        makeRunner: Callable[[], JobRunner],
        root: Callable[[], Path],
        found: Callable[[], list[Found]] = environment.packages,
    ) -> None:
        self._view, self._installer = view, installer
        self._makeRunner, self._root, self._found = makeRunner, root, found
        self._runner: JobRunner | None = None
        self._probe: dict[str, Any] | None = None
        self._packages: list[Found] = []
        self._view.showVerdict(NOT_TRIED)
        self.refresh()

    @property
    def missing(self) -> list[Found]:
        """What is missing or too old and can be installed by pip now."""
        torch = self._has("torch")
        allowed = {"pip", "after pytorch"} if torch else {"pip"}
        return [found for found in self._packages if not found.serves and found.package.source in allowed]

    @property
    def probing(self) -> bool:
        """Whether the child that tries PyTorch runs."""
        return self._runner is not None and self._runner.running

    def refresh(self) -> None:
        """Look again, and draw everything."""
        self._packages = self._found()
        self._view.showRows([_row(found) for found in self._packages])
        names = ", ".join(found.package.name for found in self.missing)
        tip = f"Install {names}, after asking" if names else "Everything that pip can install here is installed."
        self._view.setButton("install", bool(names), tip)
        self._view.setButton("folder", True, "For a computer without internet: a folder of wheels made on another one")
        torch = self._has("torch")
        tip = (
            "PyTorch is installed." if torch else "Install PyTorch for this computer's GPU, with the PyTorch extension"
        )
        self._view.setButton("pytorch", not torch, tip)
        tip = "PyTorch is being tried." if self.probing else "Compute something with PyTorch on every device"
        self._view.setButton("probe", not self.probing, tip)

    def install(self) -> None:
        """The one button: what pip can install."""
        wanted = [found.package.requirement for found in self.missing]
        if wanted:
            self._run(
                f"Installing {', '.join(wanted)} ...", lambda: self._installer.install(wanted, self.constraints())
            )

    def installFromFolder(self, folder: Path | str) -> None:
        """Install what is missing from the wheels of a folder; an empty name is a canceled dialog."""
        if not str(folder):
            return
        folder = Path(folder)
        wheels = {_normal(path.name.split("-")[0]) for path in folder.glob("*.whl")}
        lacking = [found for found in self._packages if not found.serves and found.package.source != "slicer"]
        wanted = [found.package.requirement for found in lacking if _normal(found.package.name) in wheels]
        if not lacking:
            self._view.showStatus("Nothing is missing.")
        elif not wanted:
            names = " ".join(found.package.name for found in lacking)
            self._view.showError(
                f"{folder} holds no wheel of what is missing. On a computer with internet, the same system and the "
                f"same Python, run: python -m pip download --dest FOLDER {names}",
                f"wheels found: {', '.join(sorted(wheels)) or 'none'}",
            )
        else:
            self._run(
                f"Installing {', '.join(wanted)} from {folder} ...",
                lambda: self._installer.installFromFolder(wanted, self.constraints(), folder),
            )

    def installPyTorch(self) -> None:
        """With the extension that knows which build fits the GPU; pip alone would take any."""
        (minimum,) = [found.package.minimum for found in self._packages if found.package.name == "torch"]
        self._run("Installing PyTorch ...", lambda: self._installer.installPyTorch(minimum))

    def constraints(self) -> list[str]:
        """What pip must leave as it is: the versions that the application brought and has perhaps loaded."""
        held = {"slicer", "pytorch"}
        return [
            f"{found.package.name}=={found.version.split('+')[0]}"
            for found in self._packages
            if found.version is not None and found.package.source in held
        ]

    def probe(self) -> None:
        """Try PyTorch in a child process, and say what came of it."""
        if self.probing:
            return
        runner = self._runner = self._makeRunner()
        folder = jobFolder(self._root(), "environment")
        runner.finished.connect(lambda value: self._probed(value, folder))
        runner.failed.connect(lambda sentence, detail: self._notProbed(sentence, detail, folder))
        runner.cancelled.connect(lambda: self._notProbed("it was cancelled.", "", folder))
        self._view.showStatus("Trying PyTorch on every device ...")
        runner.start(["environment", "--probe", "--json"], folder)
        self.refresh()

    def copyReport(self) -> None:
        """Everything that helps to find out why something does not work, to the clipboard."""
        self._view.copy(self.report())
        self._view.showStatus("The report is in the clipboard: paste it into your message.")

    def report(self) -> str:
        """The environment as JSON text: versions, devices and the computer; no names of files or patients."""
        facts = {**environment.report(), "application": self._installer.application(), "cores": os.cpu_count()}
        facts["executable"] = Path(facts["executable"]).name
        facts["probe"] = self._probe or NOT_TRIED
        return json.dumps(facts, indent=2, default=str)

    def close(self) -> None:
        """The page goes: end the child, and hear no more of it."""
        if self._runner is not None:
            self._runner.abandon()

    def _has(self, name: str) -> bool:
        return any(found.serves for found in self._packages if found.package.name == name)

    def _run(self, status: str, work: Callable[[], None]) -> None:
        self._view.showStatus(status)
        try:
            work()
        except Declined:
            self._view.showStatus("Nothing was installed.")
        except InstallFailed as error:
            self._view.showStatus("")
            self._view.showError(str(error), error.detail)
        else:
            self.refresh()
            left = ", ".join(found.package.name for found in self.missing)
            text = f"Still missing: {left}." if left else "Done. Restart Slicer if it asks for it."
            self._view.showStatus(text)
            return
        self.refresh()

    def _probed(self, value: dict[str, Any], folder: Path) -> None:
        self._probe = value["probe"]
        self._ended(folder)
        self._view.showVerdict(str(value["probe"]["verdict"]))

    def _notProbed(self, sentence: str, detail: str, folder: Path) -> None:
        self._ended(folder)
        self._view.showVerdict(f"PyTorch could not be tried: {sentence}")
        if detail:
            self._probe = {"error": sentence, "detail": detail}

    def _ended(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._view.showStatus("")
        self.refresh()


def _row(found: Found) -> Row:
    package = found.package
    state = found.version or "missing"
    if found.version and not found.serves:
        state = f"{found.version}, {package.minimum} or newer is needed"
    return Row(package.name, state, package.purpose, found.serves, package.required)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
