"""DICOM-CT-PD: files with the VRs of the published dictionary, and damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="pydicom is not installed")
pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")

import pydicom
from core.dicom_files import stored_ct, write_series

from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.io.importers import importer
from ctrestoration.io.importers.projections import Projections

CHANNELS, ROWS = 10, 4
WATER = (0x7041, 0x1001)
CREATORS = (
    (0x7029, "DetectorSystemArrangementModule"), (0x7031, "DetectorDynamicsModule"),
    (0x7033, "SourceDynamicsModule"), (0x7041, "WaterAttenuationModule"),
)  # fmt: skip


def view(number: int, stored: np.ndarray, central: tuple[float, float]) -> Any:
    """One view: `stored` uint16 [detector row, channel]; every VR as in the published dictionary."""
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = pydicom.uid.CTImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = pydicom.uid.generate_uid()
    found.InstanceNumber, found.Rows, found.Columns = number + 1, stored.shape[1], stored.shape[0]
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 16, 16, 15, 0
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.RescaleSlope, found.RescaleIntercept = "0.001", "-0.5"
    found.PixelData = stored.astype("<u2").tobytes(order="F")
    for group, creator in CREATORS:
        found.add_new((group, 0x10), "LO", creator)
    angle = 3.1 * (number - 1) * 0.9 + 3.0
    for tag, vr, value in (
        ((0x7031, 0x1001), "FL", angle), ((0x7031, 0x1002), "FL", -5.0 * number), ((0x7031, 0x1003), "FL", 595.0),
        ((0x7031, 0x1031), "FL", 1085.6), ((0x7031, 0x1033), "FL", list(central)), ((0x7029, 0x1002), "FL", 1.28),
        ((0x7029, 0x1006), "FL", 1.09), ((0x7029, 0x1010), "US", stored.shape[0]),
        ((0x7029, 0x1011), "US", stored.shape[1]), ((0x7029, 0x100B), "CS", "CYLINDRICAL"),
        ((0x7033, 0x100B), "FL", 0.0), ((0x7033, 0x100C), "FL", 0.0), ((0x7033, 0x100D), "FL", 0.0),
        (WATER, "DS", "0.0192"),
    ):  # fmt: skip
        found.add_new(tag, vr, value)
    return found


def bright(row: int = 1, column: int = CHANNELS, value: int = 1500) -> np.ndarray:
    """One bright element, row and column counted from 1 as in the file."""
    stored = np.zeros((ROWS, CHANNELS), dtype=np.uint16)
    stored[row - 1, column - 1] = value
    return stored


def scan(folder: Path, *views: Any) -> Path:
    series = folder / "N001" / "01-31-2022-NA-NA-63397" / "1.000000-Full Dose Projections-25858"
    series.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(views):
        # File names do not tell the order.
        one.save_as(series / f"{len(views) - number}.dcm", enforce_file_format=True)
    return series


def loaded(folder: Path) -> Projections:
    (case,) = importer("ct-pd").survey(folder).cases
    found = case.load().projections
    assert isinstance(found, Projections)
    return found


@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian])
def test_geometry_is_read_whether_the_file_says_its_vrs_or_not(syntax: Any, tmp_path: Path) -> None:
    views = [view(number, bright(2, 10, 1500 + number), (5.5, 2.5)) for number in range(3)]
    for one in views:
        one.file_meta.TransferSyntaxUID = syntax
    scan(tmp_path, *views)
    (tmp_path / "N001" / "images").mkdir()
    write_series(tmp_path / "N001" / "images", stored_ct((1, 8, 8)))
    survey = importer("ct-pd").survey(tmp_path)
    (case,) = survey.cases
    assert (case.name, case.patient) == ("N001-full", "mayo-N001")
    assert [one.path.name for one in survey.skipped] == ["images"]
    raw = pydicom.dcmread(survey.cases[0].load.args[0] / "1.dcm")[WATER].value  # type: ignore[attr-defined]
    assert isinstance(raw, bytes) == (syntax == pydicom.uid.ImplicitVRLittleEndian), "text, or text as raw bytes"
    found = loaded(tmp_path)
    assert found.sinogram.shape == (3, ROWS, CHANNELS)
    assert found.sinogram[:, 1, 0] == pytest.approx([1.0, 1.001, 1.002]), "in order, channels the other way round"
    assert found.sinogram[0, 0, 0] == pytest.approx(-0.5)
    assert found.positions.tolist() == [0.0, -5.0, -10.0]
    assert found.pitch == pytest.approx((1.09, 1.28))
    assert found.mu_water == pytest.approx(0.0192)
    assert found.pitch_per_turn < 0
    assert not found.flying_focal_spot.any()


@pytest.mark.parametrize("column", [1, 3, 10])
def test_the_central_element_is_flipped_with_the_channels(column: int, tmp_path: Path) -> None:
    """A bright element at the stated center is at the center after loading, whichever way it lies off the middle."""
    scan(tmp_path, view(0, bright(2, column), (float(column), 2.0)))
    found = loaded(tmp_path)
    row, channel = found.central_element
    assert (row, channel) == (1.0, CHANNELS - column)
    assert found.sinogram[0, int(row), int(channel)] == pytest.approx(1.0)
    assert (found.sinogram > 0).sum() == 1


def test_the_quarter_detector_offset_keeps_its_sign(tmp_path: Path) -> None:
    """Center 0.125 after the middle in the file (10 channels: 5.5) lies as far before it among flipped channels."""
    scan(tmp_path, view(0, bright(), (5.625, 2.5)))
    assert loaded(tmp_path).central_element == pytest.approx((1.5, 4.5 - 0.125))


def test_an_image_whose_rows_are_the_detectors_is_read_upright(tmp_path: Path) -> None:
    one = view(0, bright(2, 3), (3.0, 2.0))
    one.Rows, one.Columns = ROWS, CHANNELS
    one.PixelData = bright(2, 3).astype("<u2").tobytes()
    scan(tmp_path, one)
    assert loaded(tmp_path).sinogram[0, 1, 7] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("vr", "value", "mu"),
    [
        ("DS", "0.0192", 0.0192), ("DS", "0.19", 0.019), ("DS", "1.95E-2", 0.0195), ("UN", b"0.0192", 0.0192),
        ("UN", b"0.02", 0.02), ("UN", b"0.192\0", 0.0192), ("UN", struct.pack("<f", 0.0192), 0.0192),
        ("UN", struct.pack("<f", 0.192), 0.0192), ("FL", 0.0192, 0.0192),
    ],
)  # fmt: skip
def test_the_attenuation_of_water_is_text_and_may_be_in_cm(vr: str, value: Any, mu: float, tmp_path: Path) -> None:
    one = view(0, bright(), (5.5, 2.5))
    one.add_new(WATER, vr, value)
    scan(tmp_path, one)
    assert loaded(tmp_path).mu_water == pytest.approx(mu)


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        ("DS", "0.0"), ("DS", "1.92"), ("DS", ""), ("DS", "0.019\\0.02"), ("UN", b""), ("UN", b"0."), ("UN", b"none"),
        ("UN", struct.pack("<f", 19.2)), ("UN", struct.pack("<f", float("nan"))), ("UN", struct.pack("<d", 0.0192)),
    ],
)  # fmt: skip
def test_no_attenuation_of_water_is_made_up(vr: str, value: Any, tmp_path: Path) -> None:
    one = view(0, bright(), (5.5, 2.5))
    one.add_new(WATER, vr, value)
    scan(tmp_path, one)
    with pytest.raises(InputError, match=r"7041,1001"):
        loaded(tmp_path)


def test_a_missing_attenuation_of_water_is_taken_with_a_warning(tmp_path: Path) -> None:
    one = view(0, bright(), (5.5, 2.5))
    del one[WATER]
    scan(tmp_path, one)
    with pytest.warns(CTRestorationWarning, match=r"0\.0192 /mm is taken"):
        assert loaded(tmp_path).mu_water == 0.0192


def _drop(keyword: str) -> Any:
    return lambda one: delattr(one, keyword)


def _tag(element: int, value: Any) -> Any:
    return lambda one: one.add_new((0x7031, element), "UN", value)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_drop("InstanceNumber"), "no InstanceNumber"),
        (_drop("PixelData"), "no view of a scan.*PixelData"),
        (_drop("RescaleSlope"), "no view of a scan.*RescaleSlope"),
        (lambda one: setattr(one, "PixelData", one.PixelData[:-2]), "78 bytes of 16-bit pixels.*take 80"),
        (lambda one: setattr(one, "Rows", 12), "cut off or compressed"),
        (_tag(0x1001, b"\0\0"), r"\(7031,1001\) holds .*not 1 float32"),
        (_tag(0x1033, struct.pack("<f", 5.0)), r"\(7031,1033\) holds .*not 2 float32"),
        (_tag(0x1002, b""), r"\(7031,1002\) holds"),
        (_tag(0x1003, struct.pack("<f", float("nan"))), "not 1 finite number"),
        (lambda one: one.__delitem__((0x7031, 0x1031)), r"lacks the private tag \(7031,1031\)"),
    ],
)
def test_damage_is_told_in_one_sentence(spoil: Any, told: str, tmp_path: Path) -> None:
    one = view(0, bright(), (5.5, 2.5))
    spoil(one)
    scan(tmp_path, one)
    with pytest.raises(InputError, match=told):
        loaded(tmp_path)


def test_a_file_that_was_cut_off_and_views_of_two_sizes_are_refused(tmp_path: Path) -> None:
    series = scan(tmp_path, view(0, bright(), (5.5, 2.5)), view(1, np.zeros((5, 10)), (5.5, 2.5)))
    with pytest.raises(InputError, match=r"has \(5, 10\) detector elements"):
        loaded(tmp_path)
    whole = (series / "2.dcm").read_bytes()
    for size in (len(whole) - 30, len(whole) - 100, 200, 60):
        (series / "1.dcm").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"1\.dcm"):
            loaded(tmp_path)


def test_the_layout_of_the_challenge_is_known_too(tmp_path: Path) -> None:
    for dose in ("full", "quarter"):
        series = tmp_path / "L067" / f"{dose}_DICOM-CT-PD"
        series.mkdir(parents=True)
        view(0, bright(), (5.5, 2.5)).save_as(series / "L067_0001.dcm", enforce_file_format=True)
    survey = importer("ct-pd").survey(tmp_path)
    assert [(case.name, case.patient) for case in survey.cases] == [
        ("L067-full", "mayo-L067"), ("L067-low", "mayo-L067"),
    ]  # fmt: skip


def test_two_scans_of_one_patient_have_two_names(tmp_path: Path) -> None:
    for study in ("first", "second"):
        series = tmp_path / "L067" / study / "1.0-Full Dose Projections-1"
        series.mkdir(parents=True)
        view(0, bright(), (5.5, 2.5)).save_as(series / "1.dcm", enforce_file_format=True)
    first, second = importer("ct-pd").survey(tmp_path).cases
    assert (first.name, second.name) == ("L067-full", "L067-full-2")
    assert second.notes == ("there is another L067-full in the folder.",)
