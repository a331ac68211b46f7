"""The page on what is installed, without Slicer: what it offers, asks for and says."""
# ruff: noqa: N802

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from core.fake_process import FakeProcess, FakeTimer

from ctrestoration.environment import PACKAGES, Found
from CTRestorationLib.jobs.runner import JobRunner
from CTRestorationLib.presenters.dependencies import Declined, DependencyPresenter, InstallFailed, Row

PIP = [package.name for package in PACKAGES if package.source == "pip"]


class FakePage:
    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.verdict = self.status = self.clipboard = ""
        self.buttons: dict[str, tuple[bool, str]] = {}
        self.errors: list[tuple[str, str]] = []

    def showRows(self, rows: Sequence[Row]) -> None:
        self.rows = {row.name: row for row in rows}

    def showVerdict(self, text: str) -> None:
        self.verdict = text

    def showStatus(self, text: str) -> None:
        self.status = text

    def setButton(self, name: str, enabled: bool, toolTip: str) -> None:
        self.buttons[name] = (enabled, toolTip)

    def showError(self, sentence: str, detail: str) -> None:
        self.errors.append((sentence, detail))

    def copy(self, text: str) -> None:
        self.clipboard = text


class FakeInstaller:
    def __init__(self, versions: dict[str, str | None]) -> None:
        self.versions = versions
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None

    def install(self, requirements: Sequence[str], constraints: Sequence[str]) -> None:
        self._do("install", requirements, constraints)

    def installFromFolder(self, requirements: Sequence[str], constraints: Sequence[str], folder: Path) -> None:
        self._do("folder", requirements, constraints, folder)

    def installPyTorch(self, minimum: str) -> None:
        self._do("pytorch", [f"torch>={minimum}"])

    def application(self) -> dict[str, Any]:
        return {"version": "5.13.0"}

    def _do(self, what: str, requirements: Sequence[str], *more: Any) -> None:
        self.calls.append((what, list(requirements), *more))
        if self.error is not None:
            raise self.error
        self.versions.update({text.split(">=")[0]: "99.0" for text in requirements})


class Opened:
    """The page in an application that has what Slicer brings, and `versions`."""

    def __init__(self, root: Path, **versions: str | None) -> None:
        slicers = {package.name: "9.9" for package in PACKAGES if package.source == "slicer"}
        self.page, self.process = FakePage(), FakeProcess()
        self.installer = FakeInstaller({**slicers, **versions})
        timer = FakeTimer()
        self.presenter = DependencyPresenter(
            self.page,
            self.installer,
            lambda: JobRunner(self.process, timer, timer.clock),
            lambda: root,
            lambda: [Found(package, self.installer.versions.get(package.name)) for package in PACKAGES],
        )


def test_the_table_says_what_is_missing_and_what_for(tmp_path: Path) -> None:
    page = Opened(tmp_path, numba="0.50").page
    assert set(page.rows) == {package.name for package in PACKAGES}
    assert page.rows["numba"].installed == "0.50, 0.60 or newer is needed"
    assert not page.rows["numba"].serves
    assert page.rows["torch"].installed == "missing"
    assert page.rows["numpy"].serves
    assert all(row.purpose for row in page.rows.values())
    assert "about 9 times faster" in page.rows["numba"].purpose


def test_one_button_installs_what_pip_may_and_never_torch(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    assert opened.page.buttons["install"][0]
    opened.presenter.install()
    ((what, requirements, constraints),) = opened.installer.calls
    assert what == "install"
    assert [text.split(">=")[0] for text in requirements] == PIP
    assert "numpy==9.9" in constraints  # what the application brought stays
    assert not opened.page.buttons["install"][0]
    assert opened.page.buttons["install"][1] == "Everything that pip can install here is installed."
    assert opened.page.status.startswith("Done")


def test_what_needs_torch_is_offered_once_it_is_there(tmp_path: Path) -> None:
    opened = Opened(tmp_path, **dict.fromkeys(PIP, "99"))
    assert not opened.page.buttons["install"][0]
    assert opened.page.buttons["pytorch"][0]
    opened.presenter.installPyTorch()
    assert opened.installer.calls == [("pytorch", ["torch>=2.2"])]
    assert not opened.page.buttons["pytorch"][0]
    opened.presenter.install()
    assert opened.installer.calls[-1][1] == ["safetensors>=0.4", "monai>=1.3"]
    assert "torch==99.0" in opened.installer.calls[-1][2]  # pip must not replace the build for this GPU


def test_a_declined_or_failed_installation_is_told_and_changes_nothing(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.installer.error = Declined("no")
    opened.presenter.install()
    assert opened.page.status == "Nothing was installed."
    assert opened.page.errors == []
    opened.installer.error = InstallFailed("pip could not.", "ERROR: no network")
    opened.presenter.install()
    assert opened.page.errors == [("pip could not.", "ERROR: no network")]
    assert opened.page.buttons["install"][0]


def test_a_folder_of_wheels_gives_what_it_holds(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("numba-0.68.1-cp312-cp312-any.whl", "PyYAML-6.0-py3-none-any.whl", "llvmlite-1-py3-none-any.whl"):
        (wheels / name).touch()
    opened.presenter.installFromFolder(str(wheels))
    what, requirements, _, folder = opened.installer.calls[0]
    assert (what, requirements, folder) == ("folder", ["numba>=0.60", "PyYAML>=6"], wheels)
    assert "Still missing: h5py" in opened.page.status


def test_a_folder_without_wheels_is_explained_and_a_canceled_dialog_is_nothing(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.presenter.installFromFolder("")
    assert opened.page.errors == []
    opened.presenter.installFromFolder(tmp_path)
    sentence, detail = opened.page.errors[0]
    assert "pip download --dest FOLDER numba" in sentence
    assert detail == "wheels found: none"
    assert opened.installer.calls == []
    full = Opened(tmp_path, **{package.name: "99" for package in PACKAGES})
    full.presenter.installFromFolder(tmp_path)
    assert full.page.status == "Nothing is missing."


def test_the_gpu_is_tried_in_a_child_and_told_in_plain_words(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    assert opened.page.verdict.startswith("PyTorch has not been tried")
    opened.presenter.probe()
    opened.presenter.probe()
    assert not opened.page.buttons["probe"][0]
    job = json.loads(Path(opened.process.arguments[-1]).read_text(encoding="utf-8"))
    assert job["words"] == ["environment", "--probe", "--json"]
    opened.process.says("result", value={"probe": {"verdict": "works on RTX 5090", "devices": []}})
    opened.process.ends()
    assert opened.page.verdict == "works on RTX 5090"
    assert opened.page.buttons["probe"][0]
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_crashes_over_torch_is_a_verdict_too(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.presenter.probe()
    opened.process.errorOutput.emit(b"Illegal instruction\n")
    opened.process.ends(4, crashed=True)
    assert opened.page.verdict.startswith("PyTorch could not be tried: The job crashed")
    assert json.loads(opened.presenter.report())["probe"]["detail"] == "Illegal instruction"


def test_the_report_holds_what_support_asks_and_no_paths(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.presenter.copyReport()
    report = json.loads(opened.page.clipboard)
    assert report["application"] == {"version": "5.13.0"}
    assert {"ctrestoration", "python", "platform", "packages", "cores", "probe"} <= set(report)
    assert str(Path.home()) not in opened.page.clipboard
    assert "clipboard" in opened.page.status


def test_a_closed_page_hears_nothing_more(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.presenter.probe()
    opened.presenter.close()
    before = opened.page.verdict
    opened.process.says("result", value={"probe": {"verdict": "late", "devices": []}})
    opened.process.ends()
    assert opened.page.verdict == before


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_requirements_are_what_pip_understands(package) -> None:
    from packaging.requirements import Requirement

    assert Requirement(package.requirement).name == package.name
