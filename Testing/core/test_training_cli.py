"""`train` as a stranger meets it: what is wrong is said in one sentence, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")

from ctrestoration.cli.main import main

GOOD = "schema_version: 1\nmethod: {name: supervised}\ndata: {train: {name: discs}}\n"


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (None, [], "Cannot read the run file"),
        ("", [], "key: value"),
        ("data: {}", [], "schema_version is missing"),
        (GOOD, ["--set", "data.train={name: pairs, folder: nowhere}"], "manifest.json"),
        (GOOD, ["--set", "data.train={name: simulated, volumes: [no.nrrd]}"], "no CT volume"),
        (GOOD, ["--set", "data.train={name: simulated, phantoms: 0}"], "needs phantoms or volumes"),
        (GOOD, ["--set", "data.batch_size=999"], "batch_size 999"),
        (GOOD, ["--backend", "ssh"], "needs --host"),
        (GOOD, ["--set", "data.train.naem=x"], "did you mean name"),
    ],
)
def test_bad_runs(
    tmp_path: Path, text: str | None, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["train", str(path), "--run-dir", str(tmp_path / "run"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_check_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(GOOD)
    assert main(["train", str(path), "--run-dir", str(tmp_path / "run"), "--check"]) == 0
    assert not (tmp_path / "run").exists()
