"""The page on what is installed, clicked."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer

from ctrestoration import environment
from CTRestorationLib.presenters.dependencies import Declined, InstallFailed
from CTRestorationLib.widgets.dependencies import DependencyPage
from CTRestorationLib.widgets.installer import SlicerInstaller


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        slicer.app.processEvents()
        time.sleep(0.005)


@pytest.fixture
def missing(monkeypatch) -> set[str]:
    """Packages that seem to be missing."""
    names = {"numba", "torch", "safetensors", "monai"}
    real = environment.installed_version
    monkeypatch.setattr(environment, "installed_version", lambda name: None if name in names else real(name))
    return names


class Recorded:
    """slicer.packaging's functions, recorded."""

    def __init__(self, monkeypatch, missing: set[str]) -> None:
        self.calls: list[Any] = []
        self.error: Exception | None = None
        self.missing = missing
        self.constraints = ""
        monkeypatch.setattr(slicer.packaging, "pip_ensure", self.ensure)
        monkeypatch.setattr(slicer.util, "pip_install", self.install)

    def ensure(self, requirements: list[str], constraints: str, **options: Any) -> None:
        self.calls.append((requirements, options))
        self.constraints = Path(constraints).read_text(encoding="utf-8")
        self._end(requirements)

    def install(self, words: list[str]) -> None:
        self.calls.append(words)
        self.constraints = Path(words[words.index("-c") + 1]).read_text(encoding="utf-8")
        self._end(words)

    def _end(self, requirements: list[str]) -> None:
        if self.error is not None:
            raise self.error
        self.missing.difference_update(text.split(">=")[0] for text in requirements)


@pytest.fixture
def pip(monkeypatch, missing) -> Recorded:
    return Recorded(monkeypatch, missing)


def texts(page: DependencyPage) -> dict[str, tuple[str, str]]:
    table = page.table
    rows = [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]
    return {name: (installed, purpose) for name, installed, purpose in rows}


def test_the_page_installs_what_is_missing_and_says_so(pip: Recorded) -> None:
    page = DependencyPage()
    assert texts(page)["numba"][0] == "missing (optional)"
    assert page.buttons["install"].enabled
    page.buttons["install"].click()
    requirements, options = pip.calls[0]
    assert requirements == ["numba>=0.60"]
    assert options == {"requester": "CTRestoration", "skip_in_testing": False}
    assert f"numpy=={environment.installed_version('numpy')}" in pip.constraints
    assert "missing" not in texts(page)["numba"][0]
    assert not page.buttons["install"].enabled
    assert page.statusLabel.text.startswith("Done")


def test_declining_is_no_error(pip: Recorded, dialogs) -> None:
    page = DependencyPage()
    pip.error = RuntimeError("User declined")
    page.buttons["install"].click()
    assert page.statusLabel.text == "Nothing was installed."
    assert not dialogs.told


def test_a_failing_pip_is_told_in_one_sentence_with_its_output(pip: Recorded, dialogs) -> None:
    page = DependencyPage()
    pip.error = subprocess.CalledProcessError(1, ["pip"], output="ERROR: proxy")
    page.buttons["install"].click()
    kind, text = dialogs.told[0]
    assert kind == "errorDisplay"
    assert "exit status 1" in text
    assert "folder of wheels" in text
    assert "ERROR: proxy" in text


def test_before_pip_ensure_the_page_asks_itself(pip: Recorded, dialogs, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    page = DependencyPage()
    page.buttons["install"].click()
    assert pip.calls == []
    assert "numba>=0.60" in dialogs.told[0][1]
    dialogs.answers.append(True)
    page.buttons["install"].click()
    assert pip.calls[0][-1] == "numba>=0.60"


def test_wheels_from_a_folder_are_installed_without_network(pip: Recorded, dialogs, tmp_path: Path) -> None:
    (tmp_path / "numba-0.68.1-cp312-cp312-any.whl").touch()
    page = DependencyPage()
    dialogs.answers.append("")
    page.buttons["folder"].click()
    assert pip.calls == []
    dialogs.answers.append(str(tmp_path))
    page.buttons["folder"].click()
    assert pip.calls[0][:3] == ["--no-index", "--find-links", str(tmp_path)]
    assert pip.calls[0][-1] == "numba>=0.60"


def test_pytorch_comes_with_its_extension(pip: Recorded, dialogs, monkeypatch) -> None:
    page = DependencyPage()
    asked: list[dict[str, Any]] = []

    class Logic:
        def installTorch(self, **options: Any) -> Any:
            asked.append(options)
            pip.missing.discard("torch")
            return object()

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=Logic))
    page.buttons["pytorch"].click()
    assert asked == [{"askConfirmation": True, "torchVersionRequirement": ">=2.2"}]
    assert not page.buttons["pytorch"].enabled
    assert page.buttons["install"].enabled  # safetensors and monai are now possible
    assert pip.calls == []


def test_a_missing_extension_is_offered_or_explained(monkeypatch, dialogs) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    installer = SlicerInstaller()
    installed: list[str] = []

    class Model:
        answer = True

        def installExtensionFromServer(self, name: str) -> bool:
            installed.append(name)
            return self.answer

    app = types.SimpleNamespace(extensionsManagerModel=lambda: model)
    model: Any = None
    monkeypatch.setattr(slicer, "app", app)
    with pytest.raises(InstallFailed, match="no Extensions Manager"):
        installer.installPyTorch("2.2")
    model = Model()
    with pytest.raises(Declined):
        installer.installPyTorch("2.2")
    dialogs.answers.append(True)
    installer.installPyTorch("2.2")
    assert installed == ["PyTorch"]
    model.answer = False
    dialogs.answers.append(True)
    with pytest.raises(InstallFailed, match="could not be installed"):
        installer.installPyTorch("2.2")


def test_the_gpu_is_checked_in_a_child(tmp_path: Path) -> None:
    page = DependencyPage()
    page.buttons["probe"].click()
    assert not page.buttons["probe"].enabled
    wait(lambda: not page.presenter.probing)
    assert page.buttons["probe"].enabled
    assert "PyTorch" in page.verdictLabel.text
    assert "has not been tried" not in page.verdictLabel.text
    assert "could not be tried" not in page.verdictLabel.text


def test_the_report_reaches_the_clipboard() -> None:
    page = DependencyPage()
    page.copyButton.click()
    assert '"packages"' in slicer.app.clipboard().text()


def test_a_page_that_goes_ends_its_child() -> None:
    page = DependencyPage()
    page.buttons["probe"].click()
    page.cleanup()
    wait(lambda: not page.presenter.probing)
    assert "has not been tried" in page.verdictLabel.text
