"""Importers of public data sets, on small files in the exact published layouts, quirks included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
pytest.importorskip("h5py", reason="h5py is not installed")

from ctrestoration.cli.main import main
from ctrestoration.errors import InputError
from ctrestoration.io.images import read_labels, read_volume, write_labels, write_volume
from ctrestoration.io.importers import Survey, importer, importers
from ctrestoration.volume import Grid, LabelMap, Volume

GRID = Grid.from_parts((4, 6, 8), (0.8, 0.8, 2.5), (-10.0, 20.0, 30.0))


def ct(path: Path, grid: Grid = GRID) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    write_volume(Volume(rng.integers(-1000, 300, grid.shape).astype(np.float32), grid), path)


def mask(path: Path, values: tuple[int, ...], grid: Grid = GRID) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(grid.shape, dtype=np.uint16)
    for number, value in enumerate(values):
        array[number, 2:4, 2:5] = value
    write_labels(LabelMap(array, grid), path)


def by_name(survey: Survey) -> dict[str, object]:
    return {case.name: case for case in survey.cases}


def test_every_importer_says_where_its_data_come_from() -> None:
    assert sorted(importers()) == [
        "aapm-ldct", "ct-pd", "deeplesion", "lits", "lodopab", "msd", "totalsegmentator", "verse",
    ]  # fmt: skip
    for found in importers().values():
        assert found.TITLE
        assert "20" in found.SOURCE, "a year"


@pytest.mark.parametrize("name", sorted(importers()))
def test_an_empty_or_missing_folder_says_which_layout_was_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected|DL_info|dataset\.json"):
        importer(name).survey(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        importer(name).survey(tmp_path / "nowhere")


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"known ones are aapm-ldct.*Did you mean 'lits'"):
        importer("litz")


def test_lits_skips_test_volumes_and_never_guesses_a_spacing(tmp_path: Path) -> None:
    lost = Grid.from_parts((4, 6, 8), (1.0, 1.0, 1.0))
    for number, grid in ((0, GRID), (28, lost)):
        ct(tmp_path / "batch" / f"volume-{number}.nii", grid)
        mask(tmp_path / "batch" / f"segmentation-{number}.nii", (1, 2), grid)
    ct(tmp_path / "volume-131.nii")
    ct(tmp_path / "copy" / "volume-0.nii")
    for damaged in ("volume-7.nii", "segmentation-7.nii"):
        (tmp_path / damaged).write_bytes(b"cut off")
    survey = importer("lits").survey(tmp_path)
    cases = by_name(survey)
    assert list(cases) == ["lits-000", "lits-028"]
    assert [one.reason for one in survey.skipped] == [
        "is volume 0 once more, as batch/volume-0.nii", "is no readable NIfTI file",
        "has no segmentation (a test volume)",
    ]  # fmt: skip
    loaded = cases["lits-000"].load()  # type: ignore[attr-defined]
    assert loaded.labels.names == {1: "liver", 2: "liver_tumor"}
    assert loaded.volume.grid.mismatch(GRID) is None
    with pytest.raises(InputError, match="lost its spacing"):
        cases["lits-028"].load()  # type: ignore[attr-defined]
    given = importer("lits").survey(tmp_path, spacing=(0.7, 0.7, 1.6))  # type: ignore[call-arg]
    again = by_name(given)["lits-028"].load()  # type: ignore[attr-defined]
    assert again.volume.grid.spacing == pytest.approx((0.7, 0.7, 1.6))
    assert again.labels.grid == again.volume.grid


def test_msd_liver_names_its_patients_as_lits_does(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    ct(tmp_path / "imagesTr" / "liver_5.nii.gz")
    mask(tmp_path / "labelsTr" / "liver_5.nii.gz", (1, 2))
    (tmp_path / "imagesTr" / "._liver_5.nii.gz").write_bytes(b"mac")
    ct(tmp_path / "imagesTs" / "liver_131.nii.gz")
    ct(tmp_path / "imagesTr" / "liver_9.nii.gz")
    facts = {
        "name": "LIVER", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "training": [
            {"image": f"./imagesTr/liver_{n}.nii.gz", "label": f"./labelsTr/liver_{n}.nii.gz"} for n in (5, 6)
        ],
    }  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    survey = importer("msd").survey(tmp_path)
    (case,) = survey.cases
    assert case.patient == "lits-5"
    assert case.load().labels.names == {1: "liver", 2: "cancer"}  # type: ignore[union-attr]
    assert {one.path.name: one.reason for one in survey.skipped} == {
        "liver_6.nii.gz": "is listed in dataset.json and not there",
        "liver_9.nii.gz": "is not listed in dataset.json",
        "._liver_5.nii.gz": "is a leftover of macOS, no image",
        "liver_131.nii.gz": "has no segmentation (a test volume)",
    }
    facts["modality"] = {"0": "MRI"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="not of CT"):
        importer("msd").survey(tmp_path)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ([], "no JSON object"),
        ({"name": "LIVER", "channel_names": {"0": "CT"}}, "no list 'training'.*keys are name, channel_names"),
        ({"training": [], "labels": ["background", "liver"]}, "'labels' must be numbers with names"),
        ({"training": ["./imagesTr/liver_5.nii.gz"]}, "entry 0 of 'training' must have 'image' and 'label'"),
        ({"training": [{"image": "./imagesTr/liver_5.nii.gz"}]}, "entry 0 of 'training' must have"),
        ({"training": []}, "holds no case of msd"),
    ],
)
def test_msd_says_in_one_sentence_what_its_json_lacks(facts: object, told: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=told):
        importer("msd").survey(tmp_path)


def test_msd_takes_the_labels_of_nnunet_which_are_the_other_way_round(tmp_path: Path) -> None:
    ct(tmp_path / "imagesTr" / "spleen_2.nii.gz")
    mask(tmp_path / "labelsTr" / "spleen_2.nii.gz", (1,))
    facts = {
        "labels": {"background": 0, "spleen": 1},
        "training": [{"image": "./imagesTr/spleen_2.nii.gz", "label": "./labelsTr/spleen_2.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    (case,) = importer("msd").survey(tmp_path).cases
    assert case.load().labels.names == {1: "spleen"}  # type: ignore[union-attr]


def test_verse_numbers_become_levels(tmp_path: Path) -> None:
    ct(tmp_path / "rawdata" / "sub-verse004" / "sub-verse004_ct.nii.gz")
    derived = tmp_path / "derivatives" / "sub-verse004"
    mask(derived / "sub-verse004_seg-vert_msk.nii.gz", (19, 20, 28))
    ct(tmp_path / "rawdata" / "sub-verse005" / "sub-verse005_ct.nii.gz")
    ct(tmp_path / "verse012.nii.gz")
    mask(tmp_path / "verse012_seg.nii.gz", (24,))
    survey = importer("verse").survey(tmp_path)
    cases = by_name(survey)
    assert {case.patient for case in survey.cases} == {"verse-verse004", "verse-verse012"}
    names = cases["sub-verse004"].load().labels.names  # type: ignore[attr-defined]
    assert names == {32: "vertebrae_T12", 31: "vertebrae_L1", 304: "T13"}
    assert cases["verse012"].load().labels.names == {27: "vertebrae_L5"}  # type: ignore[attr-defined]
    assert [one.path.name for one in survey.skipped] == ["sub-verse005_ct.nii.gz"]


def test_totalsegmentator_merges_its_files(tmp_path: Path) -> None:
    ct(tmp_path / "s0001" / "ct.nii.gz")
    for name, where in (("liver", (1,)), ("vertebrae_L3", (0, 1)), ("face", (0, 0, 1))):
        mask(tmp_path / "s0001" / "segmentations" / f"{name}.nii.gz", where)
    ct(tmp_path / "s0002" / "ct.nii.gz")
    (tmp_path / "meta.csv").write_text("image_id;age;pathology\ns0001;60;tumor\n", encoding="utf-8-sig")
    survey = importer("totalsegmentator").survey(tmp_path)
    (case,) = survey.cases
    assert case.notes == ("1 of 3 classes have no number here and are left out.", "pathology: tumor.")
    labels = case.load().labels
    assert labels is not None
    assert labels.names == {5: "liver", 29: "vertebrae_L3"}
    assert labels.array[0, 2, 2] == 5
    assert labels.array[1, 2, 2] == 29
    assert [one.path.name for one in survey.skipped] == ["s0002"]


def lodopab_files(folder: Path) -> tuple[float, float]:
    """A disk right of and below the center of its DICOM slice, projected as the published geometry sees it."""
    import h5py

    mu_max, side, pixel = 0.08135858, 362, 260.0 / 362
    across, down, radius, mu = 40.0, 25.0, 30.0, 0.02
    rows, columns = (np.indices((side, side)) - (side - 1) / 2) * pixel
    dicom = np.where(np.hypot(rows - down, columns - across) < radius, mu, 0.00002)
    angles = (np.arange(1000) + 0.5) * np.pi / 1000
    bins = (np.arange(513) - 256) * (260.0 * np.sqrt(2) / 513)
    center = across * np.cos(angles) + down * np.sin(angles)
    chord = 2 * np.sqrt(np.maximum(radius**2 - (bins[None, :] - center[:, None]) ** 2, 0))
    with h5py.File(folder / "ground_truth_train_000.hdf5", "w") as file:
        file["data"] = (dicom.T / mu_max)[None].astype(np.float32)
    with h5py.File(folder / "observation_train_000.hdf5", "w") as file:
        file["data"] = (chord * mu / mu_max)[None].astype(np.float32)
    return across, down


def test_lodopab_images_and_sinograms_belong_together(tmp_path: Path) -> None:
    import h5py

    across, down = lodopab_files(tmp_path)
    (tmp_path / "patient_ids_rand_train.csv").write_text("17\n")
    with h5py.File(tmp_path / "ground_truth_test_000.hdf5", "w") as file:
        file["data"] = np.zeros((1, 362, 362), dtype=np.float32)
    survey = importer("lodopab").survey(tmp_path)
    (case,) = survey.cases
    assert (case.name, case.patient, case.notes) == ("train-00000", "lodopab-train-17", ())
    assert case.split == "train"
    assert [one.path.name for one in survey.skipped] == ["ground_truth_test_000.hdf5"]
    loaded = case.load()
    assert loaded.volume is not None
    assert loaded.low_dose is not None
    assert loaded.acquisition is not None
    row, column = (round((mm / (260.0 / 362)) + 180.5) for mm in (down, across))
    for image in (loaded.volume, loaded.low_dose):
        assert image.array[0, row, column] == pytest.approx(0.0, abs=8), "water at the disk's center"
        assert image.array[0, 361 - row, column] == pytest.approx(-1000, abs=12)
        assert image.array[0, row, 361 - column] == pytest.approx(-1000, abs=12)
    outside = np.ones((362, 362), dtype=bool)
    outside[row - 45 : row + 46, column - 45 : column + 46] = False
    assert float(np.abs(loaded.low_dose.array[0][outside] + 1001).max()) < 60


def test_lodopab_files_of_another_shape_are_skipped_and_a_bad_list_of_patients_is_named(tmp_path: Path) -> None:
    import h5py

    lodopab_files(tmp_path)
    for number, data in ((1, np.zeros(())), (2, np.zeros((1, 300, 300))), (3, None)):
        with h5py.File(tmp_path / f"ground_truth_train_{number:03d}.hdf5", "w") as file:
            if data is None:
                file.create_group("data")
            else:
                file["data"] = data
        with h5py.File(tmp_path / f"observation_train_{number:03d}.hdf5", "w") as file:
            file["data"] = np.zeros((1, 1000, 513), dtype=np.float32)
    survey = importer("lodopab").survey(tmp_path)
    assert [case.name for case in survey.cases] == ["train-00000"]
    assert [one.path.name for one in survey.skipped] == [f"ground_truth_train_{n:03d}.hdf5" for n in (1, 2, 3)]
    (tmp_path / "patient_ids_rand_train.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no readable CSV"):
        importer("lodopab").survey(tmp_path)


def test_totalsegmentator_names_a_table_that_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_bytes(b"image_id;a\xff")
    with pytest.raises(InputError, match=r"meta\.csv is no readable CSV"):
        importer("totalsegmentator").survey(tmp_path)


def test_the_command_lists_and_writes_with_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "lits", tmp_path / "cases"
    for number, grid in ((0, GRID), (28, Grid.from_parts((4, 6, 8)))):
        ct(source / f"volume-{number}.nii", grid)
        mask(source / f"segmentation-{number}.nii", (1, 2), grid)
    assert main(["dataset", "import", "lits", str(source)]) == 0
    assert "2 cases of 2 patients" in capsys.readouterr().out
    assert main(["dataset", "import", "lits", str(source), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["written"] == 1
    assert "lost its spacing" in report["skipped"][0]["reason"]
    assert json.loads((out / "report.json").read_text()) == report
    assert read_volume(out / "lits-000" / "ct.nrrd").grid.mismatch(GRID) is None
    assert read_labels(out / "lits-000" / "labels.seg.nrrd").names == {1: "liver", 2: "liver_tumor"}
    assert not (out / "lits-028").exists()
    assert main(["dataset", "import", "verse", str(source), "--spacing", "1", "1", "1"]) == 2
    assert main(["dataset", "import", "lits", str(source), "--limit", "0"]) == 2
