"""AAPM image pairs: both layouts, kernels, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
pytest.importorskip("pydicom", reason="pydicom is not installed")

from core.dicom_files import stored_ct, write_series

from ctrestoration.errors import InputError
from ctrestoration.io.importers import Survey, importer
from ctrestoration.volume import Volume


def series(folder: Path, seed: int = 0) -> None:
    for path in write_series(folder, stored_ct((2, 12, 10), seed)):
        path.rename(path.with_suffix(".IMA"))


def left_out(survey: Survey, root: Path) -> dict[str, str]:
    return {one.path.relative_to(root).as_posix(): one.reason for one in survey.skipped}


@pytest.mark.parametrize("layout", ["{kind}/{patient}/{kind}", "{kind}/{patient}", "{patient}/{kind}"])
def test_pairs_are_matched_by_patient_in_every_layout(layout: str, tmp_path: Path) -> None:
    for kind, patients in (("full_3mm", ("L067", "L096")), ("quarter_3mm", ("L067", "L109"))):
        for patient in patients:
            series(tmp_path / layout.format(kind=kind, patient=patient), int(kind[0] == "q"))
    survey = importer("aapm-ldct").survey(tmp_path)
    (case,) = survey.cases
    assert (case.name, case.patient) == ("L067-3mm", "mayo-L067")
    loaded = case.load()
    assert isinstance(loaded.volume, Volume)
    assert isinstance(loaded.low_dose, Volume)
    assert loaded.volume.grid.mismatch(loaded.low_dose.grid) is None
    assert (loaded.volume.array != loaded.low_dose.array).any()
    assert sorted(one.reason for one in survey.skipped) == [
        "has no full-dose series of 3mm", "has no quarter-dose series of 3mm",
    ]  # fmt: skip


def test_a_patients_own_folder_will_do(tmp_path: Path) -> None:
    series(tmp_path / "L067" / "full_1mm")
    series(tmp_path / "L067" / "quarter_1mm")
    assert [case.name for case in importer("aapm-ldct").survey(tmp_path / "L067").cases] == ["L067-1mm"]


def test_kernels_are_told_apart_and_archives_may_lie_in_two_folders(tmp_path: Path) -> None:
    for kind in ("full_1mm", "full_1mm_sharp", "quarter_1mm", "quarter_1mm_sharp"):
        series(tmp_path / f"{kind[0].upper()}D_{kind.partition('_')[2]}" / kind / "L067" / kind)
    survey = importer("aapm-ldct").survey(tmp_path)
    assert {case.name: case.notes for case in survey.cases} == {
        "L067-1mm": (), "L067-1mm-sharp": ("sharp kernel (D45).",),
    }  # fmt: skip
    assert not survey.skipped


def test_one_patient_under_two_parents_gives_two_names(tmp_path: Path) -> None:
    for parent in ("first copy", "second/again"):
        for kind in ("full_1mm", "quarter_1mm"):
            series(tmp_path / parent / kind / "L067")
    survey = importer("aapm-ldct").survey(tmp_path)
    assert [case.name for case in survey.cases] == ["L067-1mm-first-copy", "L067-1mm-second-again"]
    assert {case.patient for case in survey.cases} == {"mayo-L067"}


def test_everything_else_is_reported(tmp_path: Path) -> None:
    for kind in ("full_1mm", "quarter_1mm"):
        series(tmp_path / kind / "L067")
    series(tmp_path / "full_1mm" / "L067" / "more")
    series(tmp_path / "quarter_1mm_sharp" / "L096")
    series(tmp_path / "L067" / "full_DICOM-CT-PD")
    series(tmp_path / "phantom")
    (tmp_path / "full_1mm" / "L109").mkdir()
    (tmp_path / "full_3mm").mkdir()
    survey = importer("aapm-ldct").survey(tmp_path)
    assert [case.name for case in survey.cases] == ["L067-1mm"]
    reasons = left_out(survey, tmp_path)
    assert reasons.pop("phantom").startswith("lies in no folder like full_1mm")
    assert reasons == {
        "full_1mm/L067/more": "is a second series beside L067",
        "quarter_1mm_sharp/L096": "has no full-dose series of 1mm-sharp",
        "L067/full_DICOM-CT-PD": "holds projections, no images: import them as ct-pd",
        "full_1mm/L109": "holds no DICOM images",
        "full_3mm": "holds no DICOM images",
    }


def test_pairs_of_different_slices_are_refused(tmp_path: Path) -> None:
    series(tmp_path / "L067" / "full_1mm")
    for path in write_series(tmp_path / "L067" / "quarter_1mm", stored_ct((3, 12, 10))):
        path.rename(path.with_suffix(".IMA"))
    (case,) = importer("aapm-ldct").survey(tmp_path).cases
    with pytest.raises(InputError, match="does not cover the slices"):
        case.load()
