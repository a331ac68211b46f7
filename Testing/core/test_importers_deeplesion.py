"""DeepLesion: orientation, lesions, and a `DL_info.csv` with the columns as published."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")

from ctrestoration.cli.main import main
from ctrestoration.errors import InputError
from ctrestoration.io.importers import importer
from ctrestoration.volume import LabelMap, Volume

COLUMNS = [
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates",
    "Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy",
    "Slice_range", "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
]  # fmt: skip


def lesion(key_slice: int, box: str, kind: int = 3, noisy: int = 0, split: int = 3) -> dict[str, object]:
    values = (
        f"000001_01_01_{key_slice:03d}.png", 1, 1, 1, key_slice, "8, 9, 12, 13, 9, 12, 11, 10", box, "5.6, 2.8",
        "0.44, 0.28, 0.43", kind, noisy, "103, 107", "0.74, 0.74, 5", "20, 24", "-175, 275", "F", 62, split,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def info(folder: Path, *rows: dict[str, object], columns: list[str] = COLUMNS) -> None:
    with (folder / "DL_info.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def slices(folder: Path, *numbers: int) -> Path:
    import SimpleITK

    series = folder / "Images_png" / "000001_01_01"
    series.mkdir(parents=True)
    for number in numbers:
        image = SimpleITK.GetImageFromArray(np.full((20, 24), 32768 - 1000 + number, dtype=np.uint16))
        SimpleITK.WriteImage(image, str(series / f"{number:03d}.png"))
    return series


def test_hu_are_shifted_and_runs_split_at_gaps(tmp_path: Path) -> None:
    import SimpleITK

    series = slices(tmp_path, 103, 104, 107)
    (series / "108.png").write_bytes((series / "107.png").read_bytes()[:40])
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((6, 8), dtype=np.uint8)), str(series / "109.png"))
    info(tmp_path, lesion(103, "3, 4, 17, 18"), columns=["File_name", "Spacing_mm_px_"])
    survey = importer("deeplesion").survey(tmp_path)
    assert [case.name for case in survey.cases] == ["000001_01_01-103", "000001_01_01-107"]
    assert {one.path.name for one in survey.skipped} == {"108.png", "109.png"}
    loaded = survey.cases[0].load()
    assert loaded.labels is None
    assert isinstance(loaded.volume, Volume)
    assert loaded.volume.grid.spacing == pytest.approx((0.74, 0.74, 5.0))


def test_slices_run_from_head_to_feet(tmp_path: Path) -> None:
    """As the publishers' own conversion to NIfTI has them, whose third axis is -spacing in RAS."""
    slices(tmp_path, 103, 104, 107)
    info(tmp_path, lesion(103, "3, 4, 17, 18"))
    first, second = (case.load().volume for case in importer("deeplesion").survey(tmp_path).cases)
    assert isinstance(first, Volume)
    assert isinstance(second, Volume)
    assert np.linalg.det(first.grid.affine[:3, :3]) > 0
    assert first.grid.affine[2, 2] == 5.0
    for volume, z, number in ((first, 1, 103), (first, 0, 104), (second, 0, 107)):
        assert (volume.array[z] == number - 1000).all()
        world = volume.grid.affine @ (0, 0, z, 1)
        assert world[2] == -5.0 * number, "a later slice lies further down, also across runs"


def test_lesions_become_boxes_with_their_facts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("scipy", reason="SciPy is not installed")
    pytest.importorskip("monai", reason="MONAI is not installed")
    from ctrestoration.training.recipes._heads import _centers

    slices(tmp_path, 103, 104, 105)
    rows = lesion(103, "3.2, 4, 9, 12", kind=4), lesion(103, "15, 2, 23.9, 8"), lesion(104, "3, 3, 9, 9", noisy=1)
    info(tmp_path, *rows, lesion(105, "1, 1, 30, 30", kind=-1))
    (case,) = importer("deeplesion").survey(tmp_path).cases
    assert case.split == "test"
    assert case.notes == ("1 of 4 lesions possibly noisy, without label.",)
    loaded = case.load()
    labels = loaded.labels
    assert isinstance(labels, LabelMap)
    assert labels.names == {3: "lesion_mediastinum", 4: "lesion_liver", 9: "lesion"}
    assert (labels.array[0] == 9).all(), "slice 105 comes first; a box beyond the edge is cut there"
    assert not labels.array[1].any()
    # The file counts from 1: columns 3.2..9 are 2.2..8 from 0, rows 4..12 are 3..11.
    centers = _centers(torch.from_numpy(labels.array[2].astype(np.float32)), 4)
    assert centers == pytest.approx(np.array([[7.0, 5.0]]))
    facts = loaded.facts
    assert facts["split"] == "test"
    assert [one["possibly_noisy"] for one in facts["lesions"]] == [False, False, True, False]
    first = facts["lesions"][0]
    assert first["box_px"] == [2.2, 3.0, 8.0, 11.0]
    assert first["window_hu"] == [-175.0, 275.0]
    assert (first["slice"], first["z_index"], first["name"]) == (103, 2, "lesion_liver")
    assert first["measurement_px"][:2] == [7.0, 8.0]


def test_a_small_lesion_stays_visible_in_a_large_one(tmp_path: Path) -> None:
    slices(tmp_path, 103)
    info(tmp_path, lesion(103, "8, 8, 12, 12", kind=5), lesion(103, "2, 2, 18, 18", kind=8))
    labels = importer("deeplesion").survey(tmp_path).cases[0].load().labels
    assert isinstance(labels, LabelMap)
    assert labels.array[0, 9, 9] == 5
    assert labels.array[0, 3, 3] == 8


def test_the_command_keeps_facts_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slices(tmp_path / "data", 103)
    info(tmp_path / "data", lesion(103, "3, 4, 9, 12", split=2))
    arguments = ["dataset", "import", "deeplesion", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["split"] == "validation"
    facts = json.loads((tmp_path / "out" / "000001_01_01-103" / "facts.json").read_text())
    assert facts["lesions"][0]["box_px"] == [2.0, 3.0, 8.0, 11.0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"Spacing_mm_px_": "0.74"}, "line 2: Spacing_mm_px_ must be 3 numbers, not '0.74'"),
        ({"Spacing_mm_px_": ""}, "three lengths as Spacing_mm_px_"),
        ({"File_name": "103.png"}, "give File_name as 000001_01_01_103.png"),
        ({"Bounding_boxes": "3, 4, x, 9"}, "Bounding_boxes must be 4 numbers"),
        ({"Coarse_lesion_type": "liver"}, "Coarse_lesion_type must be 1 number, not 'liver'"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(change: dict[str, object], told: str, tmp_path: Path) -> None:
    info(tmp_path, {**lesion(103, "3, 4, 9, 12"), **change})
    with pytest.raises(InputError, match=told):
        importer("deeplesion").survey(tmp_path)


def test_a_file_without_the_column_or_in_another_format_is_refused(tmp_path: Path) -> None:
    info(tmp_path, lesion(103, "3, 4, 9, 12"), columns=["File_name"])
    with pytest.raises(InputError, match="no column Spacing_mm_px_"):
        importer("deeplesion").survey(tmp_path)
    (tmp_path / "DL_info.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no readable CSV"):
        importer("deeplesion").survey(tmp_path)


def test_a_box_off_the_image_is_refused(tmp_path: Path) -> None:
    slices(tmp_path, 103)
    info(tmp_path, lesion(103, "300, 4, 310, 12"))
    (case,) = importer("deeplesion").survey(tmp_path).cases
    with pytest.raises(InputError, match=r"slice 103, is off the image"):
        case.load()
