"""Stored low-dose pairs: with labels, not clipped at air, and the training reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="stored pairs need h5py")
pytest.importorskip("torch", reason="training needs PyTorch")

from core.test_lowdose_source import labeled_ct

from ctrestoration.cli.main import main
from ctrestoration.errors import InputError
from ctrestoration.io.images import write_labels, write_volume
from ctrestoration.io.pairs import PairReader, read_manifest, verify_pairs
from ctrestoration.training.data.dataset import build_dataset
from ctrestoration.training.data.lowdose_dataset import LowDoseBuild
from ctrestoration.training.keys import Key
from ctrestoration.training.sources import pairs

SMALL = LowDoseBuild(phantoms=3, cases=1, slices=2, size=32, pixel_mm=10.0, views=50, fine_pixels=32, photons=200.0)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lowdose") / "pairs"
    assert build_dataset(folder, SMALL) == {"train": 2, "validation": 2, "test": 2}
    return folder


def test_pairs_hold_labels_and_unclipped_noise(built: Path) -> None:
    assert verify_pairs(built) == []
    pair = PairReader(built, "train").read(0)
    assert set(pair) == {"input", "target", "labels", "metal"}
    assert set(np.unique(pair["labels"])) <= {0.0, 1.0, 2.0}
    assert 1.0 in pair["labels"]
    assert pair["input"].min() < -1030
    assert not pair["metal"].any()
    manifest = read_manifest(built)
    assert manifest["settings"]["task"] == "lowdose"
    patients = [patient for split in manifest["splits"].values() for patient in split["patients"]]
    assert len(set(patients)) == len(patients) == 3


def test_an_interrupted_build_gives_the_same_bits(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    build_dataset(again, SMALL)
    shards = list(built.glob("*.h5"))
    assert shards
    for path in shards:
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_training_reads_them(built: Path) -> None:
    source = pairs.Config(name="pairs", folder=built).create()
    sample = source.sample(Key(0, "main", 0, 1))
    assert sample["labels"].shape == (1, 32, 32)
    assert source.describe()["photons"] == 200.0


def test_the_command_builds_from_labeled_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume, labels = labeled_ct()
    write_volume(volume, tmp_path / "ct.nii.gz")
    write_labels(labels, tmp_path / "seg.nii.gz")
    command = ["dataset", "build", str(tmp_path / "out"), "--task", "lowdose", "--phantoms", "3", "--volumes",
               str(tmp_path / "ct.nii.gz"), "--cases", "1", "--slices", "1", "--size", "32", "--pixel", "8", "--views",
               "50", "--fine-pixels", "32"]  # fmt: skip
    assert main([*command, "--labels", str(tmp_path / "seg.nii.gz"), "--classes", "liver=5", "lesion=7"]) == 0
    assert verify_pairs(tmp_path / "out") == []
    command[2] = str(tmp_path / "other")
    assert main(command) == 2
    assert "knows no liver: give its labels" in capsys.readouterr().err
    assert main([*command, "--labels", str(tmp_path / "seg.nii.gz"), "other"]) == 2
    assert "one for each" in capsys.readouterr().err
    assert main([*command, "--labels", str(tmp_path / "seg.nii.gz")]) == 2
    assert "none of the labels [1, 2]" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert main(["dataset", "build", str(tmp_path / "x"), "--labels", "y"]) == 2
    assert "--task lowdose" in capsys.readouterr().err


def test_without_a_task_no_segmentation_is_needed_and_the_doses_differ(tmp_path: Path) -> None:
    write_volume(labeled_ct()[0], tmp_path / "ct.nii.gz")
    settings = replace(SMALL, volumes=(str(tmp_path / "ct.nii.gz"),), slices=3, classes={"body": (1,)}, photons_to=2e4)
    build_dataset(tmp_path / "out", settings)
    manifest = read_manifest(tmp_path / "out")
    doses = [photons for scan in _scans(manifest) for photons in scan["photons"]]
    assert all(200 <= photons <= 2e4 for photons in doses)
    assert max(doses) > 4 * min(doses), "log-uniform over two decades"
    sample = pairs.Config(name="pairs", folder=tmp_path / "out").create().sample(Key(0, "main", 0, 0))
    assert np.array_equal(sample["labels"] > 0, sample["target"] > -300)


def _scans(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [scan for split in manifest["splits"].values() for shard in split["shards"] for scan in shard["cases"]]


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match="from 4096 upwards: the upper end 5 "):
        LowDoseBuild(photons_to=5.0)
    with pytest.raises(InputError, match="divide 1000"):
        LowDoseBuild(views=7)
    with pytest.raises(InputError, match="at least 3 patients"):
        LowDoseBuild(phantoms=2)
    with pytest.raises(InputError, match="metal artifacts"):
        LowDoseBuild(corrected=("nmar",))
