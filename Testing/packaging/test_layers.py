"""`make test` runs one process a layer, and says what a bare machine lacks instead of failing over it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import run_layers
from extension_lists import ROOT


def test_missing_libraries_are_named_by_their_packages(monkeypatch) -> None:
    monkeypatch.setattr(run_layers.sys, "platform", "linux")
    monkeypatch.setattr(run_layers, "_loads", lambda library: "EGL.so.1" not in library)
    assert run_layers.missing_packages() == ["libegl1"]
    monkeypatch.setattr(run_layers.sys, "platform", "darwin")
    assert run_layers.missing_packages() == []


def test_layers_that_draw_are_skipped_with_the_command_that_helps(monkeypatch, capsys) -> None:
    monkeypatch.setattr(run_layers, "missing_packages", lambda: ["libegl1", "libgl1"])
    ran: list[list[str]] = []

    def run(words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        ran.append(words)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(run_layers.subprocess, "run", run)
    assert run_layers.main(["gui", "packaging"]) == 0
    assert [words[-1] for words in ran] == [str(ROOT / "Testing" / "packaging")]
    assert "apt-get install libegl1 libgl1" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "words"), [(1, "FAILED (pytest ended with 1)"), (5, "FAILED: no tests were found")])
def test_a_layer_that_fails_or_finds_nothing_fails_the_run(code: int, words: str, monkeypatch, capsys) -> None:
    done = subprocess.CompletedProcess([], code)
    monkeypatch.setattr(run_layers.subprocess, "run", lambda *_, **__: done)
    assert run_layers.main(["packaging"]) == 1
    assert words in capsys.readouterr().out


def test_an_unknown_layer_is_named(capsys) -> None:
    assert run_layers.main(["cor"]) == 2
    assert "'cor'; there are core, mrml" in capsys.readouterr().err


def test_continuous_integration_installs_what_is_missing_and_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert "--missing-packages" in text
    assert text.rstrip().endswith("make test")
    listed = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "LAYERS ?= " + " ".join(run_layers.LAYERS) in listed
    present = {path.name for path in (ROOT / "Testing").iterdir() if list(Path(path).glob("test_*.py"))}
    assert present - {"Python"} == set(run_layers.LAYERS) & present
