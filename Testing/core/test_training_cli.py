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
        (GOOD, ["--set", "ema={modules: [h]}"], "no network h; it has g"),
        (GOOD, ["--set", "method.stages.main={frozen: [q.*]}"], "'q.*' fits no parameter"),
        (GOOD, ["--set", "method.stages.main={frozen: [g.*]}"], "leaves the optimizer 'g' nothing"),
        (GOOD, ["--set", "method.stages.main={lr: {d: 0.1}}"], "no optimizer d moves here, only g"),
        (GOOD, ["--set", "method.network={name: unet, widths: [4]}"], "method.network.widths"),
        (GOOD, ["--set", "method.network={name: unet, widths: [4, 0]}"], "at least one channel"),
        (GOOD, ["--set", "method.initial_weights=none.safetensors"], "no weights file"),
        (GOOD, ["--processes", "0"], "at least 1"),
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


def test_a_misspelled_metric_is_told_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = tmp_path / "run.yaml", tmp_path / "run"
    path.write_text(GOOD.replace("{train: {name: discs}}", "{train: {name: discs}, validation: {name: discs}}"))
    words = ["--set", "validation.metric=pnsr_db", "--set", "data.train.size=8", "--set", "data.validation.size=8"]
    words += ["--set", "method.network={name: unet, widths: [2, 2]}"]
    assert main(["train", str(path), "--run-dir", str(run), "--quiet", *words]) == 2
    assert "'pnsr_db' is not measured" in capsys.readouterr().err
    assert not (run / "metrics.jsonl").read_text()


def test_check_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(GOOD)
    assert main(["train", str(path), "--run-dir", str(tmp_path / "run"), "--check"]) == 0
    assert not (tmp_path / "run").exists()
