"""CT series in DICOM folders: chosen, ordered, checked, straightened."""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from core.dicom_files import AXIAL, even_positions, stored_ct, write_enhanced, write_series

from ctrestoration.errors import CTRestorationWarning, InputError, MissingDependencyError
from ctrestoration.io.images import read_volume

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dicom"


def read(path: Path, **options):
    """Read and fail on any note: what is not said to be noted must not be."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CTRestorationWarning)
        return read_volume(path, **options)


def test_values_geometry_and_order(folder: Path) -> None:
    stored = stored_ct()
    write_series(folder, stored, spacing=(0.7, 0.9))
    volume = read(folder)
    np.testing.assert_array_equal(volume.array, stored.astype(np.float32) - 1024)
    np.testing.assert_allclose(volume.grid.spacing, (0.7, 0.9, 2.5), atol=1e-9)
    np.testing.assert_allclose(volume.grid.origin, (-120.25, -80.5, 33.75), atol=1e-9)
    assert volume.provenance["dicom"]["series_number"] == "3"


def test_slices_stored_towards_the_feet_are_turned_towards_the_head(folder: Path) -> None:
    stored = stored_ct()
    write_series(folder, stored[::-1], even_positions(len(stored))[::-1])
    np.testing.assert_array_equal(read(folder).array, stored.astype(np.float32) - 1024)


def test_overlapping_slices_get_their_spacing_from_positions(folder: Path) -> None:
    write_series(folder, stored_ct(), even_positions(6, spacing=1.5), SliceThickness=3.0, SpacingBetweenSlices=3.0)
    assert read(folder).grid.spacing[2] == pytest.approx(1.5)


def test_every_file_has_its_own_rescale(folder: Path) -> None:
    stored = stored_ct()
    intercepts = [-1024 - 10 * number for number in range(len(stored))]
    write_series(folder, stored, RescaleIntercept=intercepts, RescaleSlope=2, RescaleType="HU")
    expected = stored * 2.0 + np.array(intercepts)[:, None, None]
    np.testing.assert_array_equal(read(folder).array, np.maximum(expected, -1024).astype(np.float32))


@pytest.mark.parametrize("angles", [(0.2, -0.1), (1.5, 0.3)])
def test_oblique_series_lies_where_its_header_says(folder: Path, angles: tuple[float, float]) -> None:
    turn, lean = angles
    row = np.array([np.cos(turn), np.sin(turn), 0.0])
    column = np.array([-np.sin(turn) * np.cos(lean), np.cos(turn) * np.cos(lean), np.sin(lean)])
    normal = np.cross(row, column)
    positions = np.array([-200.125, 31.5, -900.75]) + np.outer(np.arange(6) * 1.25, normal)
    write_series(folder, stored_ct(), positions, orientation=(*row, *column), spacing=(0.5, 0.8))
    grid = read(folder).grid
    expected = positions[4] + 7 * 0.5 * row + 3 * 0.8 * column
    np.testing.assert_allclose(grid.to_world((7, 3, 4)), expected, atol=1e-5)


def test_missing_slices_are_named(folder: Path) -> None:
    stored = stored_ct()
    keep = [0, 1, 2, 4, 5]
    write_series(folder, stored[keep], even_positions(6)[keep])
    with pytest.raises(InputError, match=r"about 1 slices? .*missing between 38\.75 and 43\.75 mm"):
        read(folder)


def test_missing_slices_are_interpolated_when_asked(folder: Path) -> None:
    stored = stored_ct()
    keep = [0, 1, 2, 4, 5]
    write_series(folder, stored[keep], even_positions(6)[keep])
    volume = read(folder, resample=True)
    assert volume.array.shape == stored.shape
    expected = (stored[2].astype(float) + stored[4]) / 2 - 1024
    np.testing.assert_allclose(volume.array[3], expected, atol=1e-3)
    np.testing.assert_allclose(volume.array[[0, 1, 2, 4, 5]], stored[keep].astype(float) - 1024, atol=1e-3)
    assert "missing" in volume.provenance["dicom"]["resampled"]


def test_uneven_slices_are_refused(folder: Path) -> None:
    positions = even_positions(6)
    positions[2:, 2] += 0.9
    write_series(folder, stored_ct(), positions)
    with pytest.raises(InputError, match=r"unevenly, 2\.5 to 3\.4 mm apart"):
        read(folder)


def test_positions_rounded_by_the_scanner_are_even(folder: Path) -> None:
    positions = np.round(even_positions(6, spacing=1.25), 1)
    write_series(folder, stored_ct(), positions)
    assert read(folder).grid.spacing[2] == pytest.approx(1.25, abs=0.02)


def test_gantry_tilt_is_straightened(folder: Path) -> None:
    """A ramp along world y, sampled by a tilted gantry, must still be that ramp where the slices come to lie."""
    tilt = np.radians(18.5)
    column = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    positions = np.array([0.0, -20.0, 0.0]) + np.outer(np.arange(8) * 3.0, [0.0, 0.0, 1.0])
    rows = np.arange(40) * 1.0
    world_y = positions[:, 1][:, None] + rows * column[1]
    stored = np.round(1000 + 10 * world_y)[:, :, None].repeat(12, axis=2).astype(np.uint16)
    stored[:, 0] = 0
    write_series(folder, stored, positions, orientation=(1, 0, 0, *column), spacing=(1.0, 1.0))
    with pytest.warns(CTRestorationWarning, match=r"gantry was tilted by 18\.5 degrees"):
        volume = read_volume(folder)
    axes = volume.grid.direction
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    z, y, x = np.indices(volume.array.shape)
    inside = volume.array > -500
    here = volume.grid.to_world(np.stack([x, y, z], axis=-1)[inside])[:, 1]
    far = np.abs(volume.array[inside] - (10 * here - 24))
    assert np.quantile(far, 0.9) < 1.0
    assert inside.sum() > 0.9 * stored.size
    assert volume.provenance["dicom"]["gantry_tilt_deg"] == pytest.approx(18.5, abs=0.01)


def test_the_largest_axial_ct_is_taken_and_said(folder: Path) -> None:
    write_series(folder, stored_ct((3, 12, 10)), SeriesNumber=2, SeriesDescription="Thin lung")
    write_series(folder, stored_ct((7, 12, 10)), SeriesNumber=4, SeriesDescription="Abdomen")
    coronal = np.array([0.0, 1.0, 0.0]) * np.arange(9)[:, None]
    write_series(folder, stored_ct((9, 12, 10)), coronal, orientation=(1, 0, 0, 0, 0, -1), SeriesNumber=5)
    write_series(folder / "below", stored_ct((20, 12, 10)), SeriesNumber=6, Modality="MR")
    with pytest.warns(CTRestorationWarning, match=r"holds 4 series.*took 4 'Abdomen' \(7 images, CT\)"):
        assert read_volume(folder).array.shape[0] == 7


@pytest.mark.parametrize("name", ["2", "Thin lung", "thin"])
def test_a_series_is_chosen_by_name(folder: Path, name: str) -> None:
    write_series(folder, stored_ct((3, 12, 10)), SeriesNumber=2, SeriesDescription="Thin lung")
    write_series(folder, stored_ct((7, 12, 10)), SeriesNumber=4, SeriesDescription="Abdomen")
    assert read(folder, series=name).array.shape[0] == 3


def test_an_unknown_series_lists_the_known(folder: Path) -> None:
    write_series(folder, stored_ct(), SeriesDescription="Abdomen")
    with pytest.raises(InputError, match=r"no series 'head'.*3 'Abdomen' \(6 images, CT\)"):
        read(folder, series="head")


def test_a_series_called_twice_is_not_guessed(folder: Path) -> None:
    write_series(folder, stored_ct(), SeriesNumber=4)
    write_series(folder, stored_ct(), SeriesNumber=4)
    with pytest.raises(InputError, match="several series called '4'"):
        read(folder, series="4")


def test_other_modalities_are_refused(folder: Path) -> None:
    write_series(folder, stored_ct(), Modality="MR", SeriesDescription="T1")
    with pytest.raises(InputError, match=r"holds no CT: it has series 3 'T1' \(6 images, MR\)"):
        read(folder)
    with pytest.raises(InputError, match="is no CT"):
        read(folder, series="T1")


def test_localizers_are_left_out(folder: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.1"
    write_series(folder, stored_ct(), uid=uid)
    write_series(
        folder, stored_ct((2, 30, 40)), uid=uid, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        InstanceNumber=99,
    )  # fmt: skip
    assert read(folder).array.shape == (6, 12, 10)


def test_only_localizers_is_said(folder: Path) -> None:
    write_series(folder, stored_ct((2, 12, 10)), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(InputError, match="only localizer images"):
        read(folder)


def test_images_of_another_size_in_a_series_are_noted(folder: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.2"
    write_series(folder, stored_ct(), uid=uid)
    write_series(folder, stored_ct((2, 9, 9)), uid=uid)
    with pytest.warns(CTRestorationWarning, match="2 of 8 images"):
        assert read_volume(folder).array.shape == (6, 12, 10)


def test_a_copied_file_counts_once(folder: Path) -> None:
    files = write_series(folder, stored_ct())
    shutil.copy(files[2], folder / "copy.dcm")
    assert read(folder).array.shape[0] == 6


def test_a_repeated_image_counts_once(folder: Path) -> None:
    stored, uid = stored_ct(), "1.2.826.0.1.3680043.8.498.3"
    write_series(folder, stored, uid=uid)
    write_series(folder / "again", stored[2:3], even_positions(6)[2:3], uid=uid)
    volume = read(folder)
    assert volume.array.shape[0] == 6
    assert volume.provenance["dicom"]["repeated_images"] == 1


def test_two_phases_at_one_position_are_refused(folder: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.4"
    write_series(folder, stored_ct(seed=1), uid=uid)
    write_series(folder / "late", stored_ct(seed=2), uid=uid)
    with pytest.raises(InputError, match="several different images lie at one position"):
        read(folder)


def test_padding_is_raised_and_recorded(folder: Path) -> None:
    stored = stored_ct().astype(np.int16)
    stored[:, 0] = -2000
    write_series(folder, stored, PixelPaddingValue=-2000)
    volume = read(folder)
    assert volume.array.min() == -1024
    assert volume.provenance["padding"] == {"lowest_hu": -3024.0, "voxels": 60}


def test_bright_padding_becomes_air(folder: Path) -> None:
    stored = stored_ct()
    stored[:, 0] = 65535
    write_series(folder, stored, PixelPaddingValue=65535)
    volume = read(folder)
    assert volume.array.max() < 400
    assert volume.provenance["dicom"]["padding_value_voxels"] == 60


def test_padding_declared_as_water_does_not_erase_water(folder: Path) -> None:
    stored = stored_ct()
    stored[:, 5, 5] = 1024
    write_series(folder, stored, PixelPaddingValue=1024)
    assert (read(folder).array[:, 5, 5] == 0).all()


def test_without_rescale_the_values_are_not_hu(folder: Path) -> None:
    write_series(folder, stored_ct(), RescaleSlope=None, RescaleIntercept=None)
    with pytest.raises(InputError, match="--hu-offset -1024"):
        read(folder)
    np.testing.assert_array_equal(read(folder, hu_offset=-1024).array, stored_ct().astype(np.float32) - 1024)


def test_one_file_is_one_slice(folder: Path) -> None:
    stored = stored_ct()
    files = write_series(folder, stored)
    volume = read(files[3])
    np.testing.assert_array_equal(volume.array, stored[3:4].astype(np.float32) - 1024)
    assert volume.grid.origin[2] == pytest.approx(33.75 + 3 * 2.5)


def test_files_without_suffix_in_subfolders_are_found(folder: Path) -> None:
    for number, file in enumerate(write_series(folder / "ST0" / "SE1", stored_ct())):
        file.rename(file.with_name(f"IM{number}"))
    (folder / "README.txt").write_text("burned by somebody")
    assert read(folder).array.shape[0] == 6


def test_files_without_preamble_are_read(folder: Path) -> None:
    """As old archives write them: no 128 bytes and DICM at the start."""
    for file in write_series(folder, stored_ct()):
        file.write_bytes(file.read_bytes()[132:])
    assert read(folder).array.shape[0] == 6


def test_a_dicomdir_stands_for_its_folder(folder: Path) -> None:
    write_series(folder / "IMAGES", stored_ct())
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert read(folder / "DICOMDIR").array.shape[0] == 6


def test_a_whole_disk_is_not_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctrestoration.io.dicom._MOST_FILES", 5)
    write_series(folder, stored_ct())
    with pytest.raises(InputError, match="more than 5 files: give the folder of one examination"):
        read(folder)


def test_of_two_equal_series_the_earlier_is_taken(folder: Path) -> None:
    write_series(folder, stored_ct(seed=1), SeriesNumber=12, SeriesDescription="Bone")
    write_series(folder, stored_ct(seed=2), SeriesNumber=3, SeriesDescription="Soft")
    with pytest.warns(CTRestorationWarning, match="took 3 'Soft'"):
        read_volume(folder)


def test_a_truncated_file_is_named(folder: Path) -> None:
    file = write_series(folder, stored_ct())[3]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"{file.name} is damaged or cut off"):
        read(folder)


def test_a_color_ct_is_refused(folder: Path) -> None:
    write_series(folder, np.zeros((2, 8, 8, 3), np.uint8), RescaleSlope=None, RescaleIntercept=None)
    with pytest.raises(InputError, match="is a color image"):
        read(folder)


def test_an_empty_folder_and_one_without_dicom(folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(InputError, match="is an empty folder"):
        read(folder)
    (folder / "notes.txt").write_text("nothing")
    (folder / "image.dcm").write_bytes(b"not DICOM at all")
    with pytest.raises(InputError, match="holds no DICOM images among its 2 files"):
        read(folder)


def test_axial_constant_is_axial() -> None:
    np.testing.assert_array_equal(np.cross(AXIAL[:3], AXIAL[3:]), [0, 0, 1])


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [1, 0, 3, 2, 5, 4]])
def test_enhanced_frames_are_ordered_by_position(folder: Path, order: list[int]) -> None:
    stored = stored_ct()
    write_enhanced(folder / "ct.dcm", stored[order], even_positions(6)[order], [-1024] * 6)
    volume = read(folder)
    np.testing.assert_array_equal(volume.array, stored.astype(np.float32) - 1024)
    np.testing.assert_allclose(volume.grid.spacing, (0.7, 0.9, 2.5), atol=1e-9)
    np.testing.assert_allclose(volume.grid.origin, (-120.25, -80.5, 33.75), atol=1e-9)


def test_enhanced_ct_without_pydicom_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_enhanced(folder / "ct.dcm", stored_ct(), even_positions(6), [-1024] * 6)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingDependencyError, match="Reading an enhanced"):
        read(folder)


def test_several_enhanced_files_in_a_series_are_not_joined(folder: Path) -> None:
    for name in ("early", "late"):
        write_enhanced(folder / f"{name}.dcm", stored_ct(), even_positions(6), [-1024] * 6, uid="1.2.3.4")
    with pytest.raises(InputError, match=r"several multi-frame files: give the path of one, such as .*early\.dcm"):
        read(folder)
    assert read(folder / "late.dcm").array.shape[0] == 6


def test_enhanced_frames_with_a_gap_or_several_rescales_are_refused(folder: Path) -> None:
    keep = [0, 1, 2, 4, 5]
    write_enhanced(folder / "gap.dcm", stored_ct()[keep], even_positions(6)[keep], [-1024] * 5)
    with pytest.raises(InputError, match="missing between"):
        read(folder / "gap.dcm")
    write_enhanced(folder / "rescale.dcm", stored_ct(), even_positions(6), [-1024 - n for n in range(6)])
    with pytest.raises(InputError, match="its own rescale"):
        read(folder / "rescale.dcm")
