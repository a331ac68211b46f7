"""Installs Python packages into Slicer, with Slicer's own dialogs and the PyTorch extension."""

from __future__ import annotations

import contextlib
import importlib
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from CTRestorationLib.presenters.dependencies import Declined, InstallFailed

REQUESTER = "CTRestoration"


class SlicerInstaller:
    """See `CTRestorationLib.presenters.dependencies.Installer`."""

    def install(self, requirements: Sequence[str], constraints: Sequence[str]) -> None:
        """From the package index; Slicer asks before, and offers a restart where it is needed."""
        with _constraintsFile(constraints) as path, _told():
            try:
                import slicer.packaging as packaging
            except ImportError:  # before Slicer 5.12
                self._asked(requirements)
                slicer.util.pip_install(["-c", str(path), *requirements])
                return
            try:
                packaging.pip_ensure(
                    list(requirements), constraints=str(path), requester=REQUESTER, skip_in_testing=False
                )
            except RuntimeError as error:  # pip_ensure's word for "declined"
                raise Declined(str(error)) from error

    def installFromFolder(self, requirements: Sequence[str], constraints: Sequence[str], folder: Path) -> None:
        """From wheels in a folder, without network."""
        with _constraintsFile(constraints) as path, _told():
            slicer.util.pip_install(["--no-index", "--find-links", str(folder), "-c", str(path), *requirements])

    def installPyTorch(self, minimum: str) -> None:
        """With the PyTorch extension, which chooses the build that fits the GPU."""
        try:
            utilities = importlib.import_module("PyTorchUtils")
        except ImportError:
            self._installExtension()
            return
        with _told():
            installed = utilities.PyTorchUtilsLogic().installTorch(
                askConfirmation=True, torchVersionRequirement=f">={minimum}"
            )
        if installed is None:
            raise Declined("PyTorch")

    def application(self) -> dict[str, Any]:
        """Version and revision of Slicer, and the system."""
        return {
            "version": str(slicer.app.applicationVersion),
            "revision": str(slicer.app.revision),
            "system": platform.platform(),
            "processor": platform.machine(),
        }

    def _installExtension(self) -> None:
        model = getattr(slicer.app, "extensionsManagerModel", None)
        manual = _("Open the Extensions Manager, install PyTorch, restart Slicer, and press this button again.")
        if model is None or model() is None:
            raise InstallFailed(_("This Slicer has no Extensions Manager."), manual)
        question = _(
            "PyTorch is installed by an extension of the same name, which is not here yet. Install it, and restart "
            "Slicer? Then press this button again."
        )
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=REQUESTER):
            raise Declined("PyTorch")
        if not model().installExtensionFromServer("PyTorch"):
            raise InstallFailed(_("The PyTorch extension could not be installed."), manual)

    def _asked(self, requirements: Sequence[str]) -> None:
        question = _("Install these Python packages into Slicer? {names}").format(names=", ".join(requirements))
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=REQUESTER):
            raise Declined("packages")


@contextlib.contextmanager
def _constraintsFile(constraints: Sequence[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ctrestoration-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("\n".join(constraints) + "\n", encoding="utf-8")
        yield path


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What pip raises, as one sentence with its output."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        output = "\n".join(str(text) for text in (error.output, error.stderr) if text)
        sentence = _("pip could not install the packages (exit status {code}).").format(code=error.returncode)
        if error.returncode == 1:
            sentence += _(" Often the network or a proxy is the reason: install from a folder of wheels instead.")
        raise InstallFailed(sentence, output or str(error)) from error
    finally:
        importlib.invalidate_caches()
