"""The commands `phantom spine` and `segment spine`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ctrestoration.cli.main import main
from ctrestoration.io.images import read_labels, read_volume


def test_phantom_and_spine_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ct, labels, truth = (str(tmp_path / name) for name in ("ct.nii.gz", "labels.nii.gz", "truth.json"))
    words = ["phantom", "spine", ct, "--labels", labels, "--truth", truth, "--json", "--seed", "4"]
    assert main([*words, "--size", "60", "80", "80", "--spacing", "2", "2", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete_levels"]
    assert json.loads(Path(truth).read_text())["levels"].keys() >= set(told["complete_levels"])
    assert read_volume(ct).array.shape == (60, 80, 80)

    out, canal = str(tmp_path / "spine.seg.nrrd"), str(tmp_path / "canal.nii.gz")
    assert main(["segment", "spine", ct, out, "--labels", labels, "--canal", canal, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [level["name"] for level in found["levels"] if level["complete"]] == told["complete_levels"]
    assert read_labels(out).names[29] == "vertebrae_L3"
    assert np.array_equal(read_labels(canal).array.astype(bool).sum(), found["canal_voxels"])

    assert main(["segment", "spine", ct, out, "--method", "fallback"]) == 0
    assert "vertebra 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["phantom", "spine", "OUT", "--size", "0", "1", "1"], "size must be three numbers"),
        (["phantom", "spine", "OUT", "--labels", "OUT"], "named for two outputs"),
        (["phantom", "spine", "OUT.txt"], "must end in"),
        (["phantom", "spine", "OUT", "--age", "3"], "age must lie in"),
        (["segment", "spine", "MISSING", "OUT"], "MISSING"),
        (["segment", "spine", "MISSING", "OUT", "--name", "L3"], "e.g. 2=L3"),
        (["segment", "spine", "OUT", "OUT"], "inputs are never overwritten"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    places = {"OUT": tmp_path / "out.nii.gz", "OUT.txt": tmp_path / "out.txt", "MISSING": tmp_path / "MISSING.nii.gz"}
    assert main([str(places.get(word, word)) for word in words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len([line for line in error.splitlines() if line.startswith("ctrestoration:")]) == 1
    assert not list(tmp_path.iterdir())
