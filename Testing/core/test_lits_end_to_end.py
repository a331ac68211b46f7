"""LiTS in its published layout, from the folder to pairs that a training and a study use."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
pytest.importorskip("h5py", reason="training pairs are HDF5 files")
pytest.importorskip("torch", reason="training needs PyTorch")

from ctrestoration.cli.main import main
from ctrestoration.control import SILENT
from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.io.images import write_labels, write_volume
from ctrestoration.io.pairs import SPLITS, PairReader, read_manifest
from ctrestoration.studies.task_adaptive import SCALES, build_data, run_file
from ctrestoration.studies.task_adaptive import Run as StudyRun
from ctrestoration.training.data.lowdose_cases import split_of
from ctrestoration.training.sources.lowdose import Config
from ctrestoration.volume import Grid, LabelMap, Volume

SHAPE = (5, 24, 30)
SCANNER = {"views": 50, "fine_pixels": 32, "bins": 40}
STUDY = (0.7, 0.1, 0.2)
BUILD = (0.7, 0.15, 0.15)
LOST = 31


def write_case(folder: Path, number: int, flipped: bool) -> None:
    """A body with a liver in three slices and a tumor in one; files of the two batches run along other axes."""
    y, x = np.mgrid[:24, :30]
    hu = np.where(((y - 12) / 10) ** 2 + ((x - 15) / 13) ** 2 < 1, 40.0 + number % 7, -1000.0)
    array = np.stack([hu] * 5).astype(np.float32)
    labels = np.zeros(SHAPE, dtype=np.uint16)
    labels[1:4, 8:16, 6:16] = 1
    labels[2, 10:13, 9:12] = 2
    array[labels == 1] += 60
    array[labels == 2] -= 30
    spacing = (1.0, 1.0, 1.0) if number == LOST else (11.0, 11.0, 5.0)
    direction = np.diag([-1.0, -1.0, 1.0]) if flipped else np.eye(3)
    grid = Grid.from_parts(SHAPE, spacing, (0.0, 0.0, 0.0) if number == LOST else (50.0, -80.0, 700.0), direction)
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(Volume(array, grid), folder / f"volume-{number}.nii")
    write_labels(LabelMap(labels, grid), folder / f"segmentation-{number}.nii")


@pytest.fixture(scope="module")
def lits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """The folder, and the numbers in it: two patients for each split of either kind, and one without geometry."""
    numbers: set[int] = {LOST}
    for shares in (STUDY, BUILD):
        for split in SPLITS:
            there = [n for n in range(131) if not 28 <= n <= 47 and split_of(f"lits-{n}", 0, shares) == split]
            numbers |= set(there[:2])
    root = tmp_path_factory.mktemp("lits")
    for number in numbers:
        write_case(root / ("Training_Batch1" if number < 28 else "Training_Batch2"), number, number >= 28)
    write_volume(Volume(np.zeros(SHAPE, dtype=np.float32), Grid.from_parts(SHAPE)), root / "volume-131.nii")
    return root, sorted(numbers)


def check(folder: Path, numbers: list[int], shares: tuple[float, float, float]) -> None:
    """Patients are where their names put them, once; every pair has a liver where the body is."""
    manifest = read_manifest(folder)
    patients = {split: set(content["patients"]) for split, content in manifest["splits"].items()}
    everyone = [name for names in patients.values() for name in names]
    assert len(everyone) == len(set(everyone)) == len(numbers) - 1
    assert f"lits-{LOST}" not in everyone
    for split, names in patients.items():
        assert names
        assert all(split_of(name, 0, shares) == split for name in names)
        reader = PairReader(folder, split)
        for index in range(len(reader)):
            pair: dict[str, Any] = reader.read(index)
            assert set(np.unique(pair["labels"])) <= {0, 1, 2}
            liver = pair["target"][pair["labels"] == 1]
            assert liver.size > 10
            assert np.median(liver) == pytest.approx(104, abs=12)
            assert np.abs(pair["input"] - pair["target"]).max() > 20


def test_the_command_builds_pairs_and_says_who_was_left_out(
    lits: tuple[Path, list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, numbers = lits
    words = ["dataset", "build", str(tmp_path / "pairs"), "--task", "lowdose", "--phantoms", "0", "--dataset", "lits",
             str(root), "--cases", "1", "--slices", "2", "--size", "32", "--pixel", "10", "--views", "50", "--bins",
             "40", "--fine-pixels", "32", "--json"]  # fmt: skip
    assert main(words) == 0
    told = capsys.readouterr()
    assert f"1 of {len(numbers)} cases of lits are left out (lits-031: lost its spacing)" in told.err
    counts = json.loads(told.out)["pairs"]
    assert sum(counts.values()) == 2 * (len(numbers) - 1)
    check(tmp_path / "pairs", numbers, BUILD)


def test_a_study_takes_them_and_its_trainings_see_labels(lits: tuple[Path, list[int]], tmp_path: Path) -> None:
    root, numbers = lits
    scale = dataclasses.replace(SCALES["tiny"], size=32, pixel_mm=10.0, slices=2, scanner=SCANNER)
    folder = tmp_path / "study" / "data"
    with pytest.warns(CTRestorationWarning, match="left out"):
        build_data(scale, folder, ("lits", str(root)), 1, SILENT)
    check(folder, numbers, STUDY)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.warns(CTRestorationWarning, match="left out"):
        build_data(scale, folder, ("lits", str(root)), 1, SILENT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "a finished one stays"
    with pytest.raises(InputError, match="other patients"):
        build_data(scale, folder, None, 1, SILENT)
    assert run_file(scale, StudyRun("base", 0)).data.train.name == "pairs"


def test_slices_simulated_while_training_have_the_same_patients(lits: tuple[Path, list[int]]) -> None:
    root, numbers = lits
    settings = {"name": "lowdose", "phantoms": 0, "dataset": {"name": "lits", "folder": str(root)}, "size": 32,
                "pixel_mm": 10.0, "shares": STUDY, **SCANNER}  # fmt: skip
    with pytest.warns(CTRestorationWarning, match="left out"):
        sources = [Config.model_validate({**settings, "split": split}).create() for split in SPLITS]
    names = [set(source.names()) for source in sources]
    assert sum(len(some) for some in names) == len(set.union(*names)) == len(numbers) - 1
    assert set(np.unique(sources[0].patient(0).labels)) == {0, 1, 2}
    assert sources[0].patient(0).slices == [1, 2, 3]


def test_a_folder_of_lost_geometry_alone_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path, LOST, True)
    settings = {"name": "lowdose", "phantoms": 0, "dataset": {"name": "lits", "folder": str(tmp_path)}, "split": "all"}
    with pytest.raises(InputError, match=r"1 of 1 cases.*convert them by 'ctrestoration dataset import'"):
        Config.model_validate(settings).create()
