"""CT volumes, label maps and metal masks in files."""

from __future__ import annotations

import gzip
import itertools
import os
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from ctrestoration.errors import CTRestorationWarning, InputError, MissingDependencyError, OutputError
from ctrestoration.io.images import (
    check_output,
    read_fraction,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)
from ctrestoration.volume import Grid, LabelMap, Volume

SUFFIXES = (".nrrd", ".nii.gz", ".nii", ".mha")
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
DIRECTIONS = {
    "lps": np.eye(3),
    "ras": np.diag([-1.0, -1.0, 1.0]),
    "pir": np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "oblique": TURN,
    "oblique and flipped": TURN @ np.diag([1.0, -1.0, 1.0]),
}


def ct(shape: tuple[int, int, int] = (4, 6, 5), direction: np.ndarray | None = None) -> Volume:
    """A small CT with air, on a grid with three different spacings."""
    random = np.random.default_rng(0)
    array = random.normal(0, 60, shape).astype(np.float32)
    array[:, 0] = -1000
    return Volume(array, Grid.from_parts(shape, (0.703125, 0.9, 2.5), (-118.25, 33.5, -90.75), direction), "ct")


def stored(path: Path, array: np.ndarray, grid: Grid | None = None, **metadata: str) -> Path:
    """Write an array of any type as it is; a last axis of [z, y, x, layer] holds layers."""
    image = SimpleITK.GetImageFromArray(array, isVector=array.ndim == 4 and bool(metadata))
    if grid is not None:
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction.ravel())
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    SimpleITK.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_round_trip(tmp_path: Path, suffix: str, direction: np.ndarray) -> None:
    volume = ct(direction=direction)
    write_volume(volume, tmp_path / f"ct{suffix}")
    back = read_volume(tmp_path / f"ct{suffix}")
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid.mismatch(volume.grid, tolerance_mm=1e-5) is None
    np.testing.assert_allclose(back.grid.direction, volume.grid.direction, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_large_oblique_grids_come_back_to_1e_5_mm(tmp_path: Path, suffix: str) -> None:
    """The far corner of a long matrix is where a rounded direction shows; sizes count, so one row is enough."""
    grid = Grid.from_parts((1, 2, 512), (0.703125123, 0.9, 2.5), (-263.4827, -401.2346, -1234.56789), TURN)
    write_volume(Volume(np.full(grid.shape, -1000.0), grid), tmp_path / f"ct{suffix}")
    back = read_volume(tmp_path / f"ct{suffix}", hu_offset=0)
    assert back.grid.mismatch(grid, tolerance_mm=1e-9) is None


def test_nifti_keeps_a_geometry_it_stores_itself(tmp_path: Path) -> None:
    """NIfTI-1 rounds positions to 32 bits on the first write; from then on nothing moves by more than 1e-5 mm."""
    grid = Grid.from_parts((2, 3, 4), (0.703125123, 0.9, 2.5), (-263.4827, -401.2346, -1234.56789), TURN)
    write_volume(Volume(ct((2, 3, 4)).array, grid), tmp_path / "first.nii.gz")
    first = read_volume(tmp_path / "first.nii.gz")
    assert first.grid.mismatch(grid, tolerance_mm=1e-4) is None
    write_volume(first, tmp_path / "second.nii.gz")
    assert read_volume(tmp_path / "second.nii.gz").grid.mismatch(first.grid, tolerance_mm=1e-5) is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_slice_stays_a_volume(tmp_path: Path, suffix: str) -> None:
    volume = ct((1, 6, 5))
    write_volume(volume, tmp_path / f"ct{suffix}")
    back = read_volume(tmp_path / f"ct{suffix}")
    assert back.array.shape == (1, 6, 5)
    assert back.grid.mismatch(volume.grid, tolerance_mm=1e-5) is None


def test_whole_hu_are_rounded_to_16_bit(tmp_path: Path) -> None:
    write_volume(ct(), tmp_path / "ct.nrrd", whole_hu=True)
    assert SimpleITK.ReadImage(str(tmp_path / "ct.nrrd")).GetPixelIDTypeAsString() == "16-bit signed integer"
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nrrd").array, np.rint(ct().array))


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_detached_headers_are_read(tmp_path: Path, suffix: str) -> None:
    stored(tmp_path / f"ct{suffix}", ct().array, ct().grid)
    np.testing.assert_array_equal(read_volume(tmp_path / f"ct{suffix}").array, ct().array)


def test_a_missing_data_file_of_a_detached_header_is_said(tmp_path: Path) -> None:
    stored(tmp_path / "ct.mhd", ct().array)
    for data in tmp_path.glob("*raw"):
        data.unlink()
    with pytest.raises(InputError, match=r"ct\.mhd is damaged or cut off"):
        read_volume(tmp_path / "ct.mhd")


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64, np.float32])
def test_stored_types_become_float32(tmp_path: Path, dtype: type) -> None:
    array = np.rint(ct().array).astype(dtype)
    volume = read_volume(stored(tmp_path / "ct.nrrd", array))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array)
    assert volume.name == "ct"


def test_padding_is_raised_and_recorded(tmp_path: Path) -> None:
    array = ct().array.copy()
    array[:, :, 0] = -3024
    volume = read_volume(stored(tmp_path / "ct.nii.gz", array))
    assert volume.array.min() == -1024
    assert volume.provenance == {"file": "ct.nii.gz", "padding": {"lowest_hu": -3024.0, "voxels": 24}}


def test_overshoots_of_a_resampled_clipped_scan_are_cut(tmp_path: Path) -> None:
    array = ct((20, 20, 20)).array.copy()
    array[5:10, 5:10, 5:10] = np.random.default_rng(0).normal(3071, 6, (5, 5, 5))
    array[5, 5, 5] = 3300
    volume = read_volume(stored(tmp_path / "ct.nrrd", array))
    assert volume.array.max() == 3071
    assert volume.provenance["overshoot"]["highest_hu"] == 3300


def test_frames_of_a_4d_file_are_chosen(tmp_path: Path) -> None:
    stored(tmp_path / "ct.nii.gz", np.stack([ct().array, ct().array - 10]))
    with pytest.raises(InputError, match=r"holds 2 volumes \(4D\): choose one with --frame 0 to --frame 1"):
        read_volume(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii.gz", frame=1).array, ct().array - 10)
    with pytest.raises(InputError, match="has no frame 2"):
        read_volume(tmp_path / "ct.nii.gz", frame=2)


def test_a_4d_file_of_one_frame_is_a_volume(tmp_path: Path) -> None:
    stored(tmp_path / "ct.nii.gz", ct().array[None])
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii.gz").array, ct().array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    """ITK reads a truncated NIfTI without a word; a wrong image would be worse than none."""
    path = tmp_path / f"ct{suffix}"
    write_volume(ct((20, 30, 30)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=r"damaged or cut off: [^\n]*\.$"):
        read_volume(path)


def lean(path: Path, millimeters: float) -> Path:
    """Shear the affine of a NIfTI file: the y axis leans towards x by this much a voxel."""
    write_volume(ct(), path)
    content = bytearray(path.read_bytes())
    content[284:288] = struct.pack("<f", millimeters)
    path.write_bytes(content)
    return path


def test_a_sheared_nifti_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not at right angles, as from a tilted gantry"):
        read_volume(lean(tmp_path / "ct.nii", 0.3))


def test_a_nifti_with_rounded_axes_is_read(tmp_path: Path) -> None:
    volume = read_volume(lean(tmp_path / "ct.nii", 2e-4))
    assert volume.grid.mismatch(ct().grid, tolerance_mm=2e-3) is None
    axes = volume.grid.direction
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert "ITK_NIFTI_SFORM_PERMISSIVE" not in os.environ


def test_a_gzip_file_with_a_wrong_size_mark_is_read_through(tmp_path: Path) -> None:
    """A file of two gzip members is valid, although its last four bytes are not the whole size."""
    write_volume(ct(), tmp_path / "one.nii.gz")
    plain = gzip.decompress((tmp_path / "one.nii.gz").read_bytes())
    two = gzip.compress(plain[:400]) + gzip.compress(plain[400:])
    (tmp_path / "two.nii.gz").write_bytes(two)
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii.gz").array, ct().array)


def test_an_air_free_crop_is_noted_and_read(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(40, 30, (4, 6, 5)).astype(np.float32)
    with pytest.warns(CTRestorationWarning, match="holds no air"):
        volume = read_volume(stored(tmp_path / "ct.nrrd", array))
    assert np.array_equal(volume.array, array)


def test_without_simpleitk_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume(ct(), tmp_path / "ct.nrrd")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingDependencyError, match=r"'SimpleITK', which is not installed: pip install .*\[imaging\]"):
        read_volume(tmp_path / "ct.nrrd")


# Label maps


def labels(direction: np.ndarray | None = None) -> LabelMap:
    array = np.random.default_rng(3).integers(0, 3, (4, 6, 5)).astype(np.uint16)
    return LabelMap(array, ct(direction=direction).grid, {1: "vertebrae_L1", 2: "vertebrae_L2"}, "spine")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_come_back(tmp_path: Path, suffix: str) -> None:
    write_labels(labels(), tmp_path / f"spine{suffix}")
    back = read_labels(tmp_path / f"spine{suffix}", ct().grid)
    np.testing.assert_array_equal(back.array, labels().array)
    assert back.name == "spine"
    assert back.grid == ct().grid


def test_segmentations_keep_their_names(tmp_path: Path) -> None:
    write_labels(labels(), tmp_path / "spine.seg.nrrd")
    back = read_labels(tmp_path / "spine.seg.nrrd")
    assert back.names == {1: "vertebrae_L1", 2: "vertebrae_L2"}
    assert back.name == "spine"


def test_an_empty_segmentation_can_be_written(tmp_path: Path) -> None:
    empty = LabelMap(np.zeros((4, 6, 5)), ct().grid)
    write_labels(empty, tmp_path / "empty.seg.nrrd")
    assert not read_labels(tmp_path / "empty.seg.nrrd", ct().grid).array.any()


def test_labels_stored_as_floats_are_rounded(tmp_path: Path) -> None:
    path = stored(tmp_path / "spine.nii.gz", labels().array + 1e-4, ct().grid)
    np.testing.assert_array_equal(read_labels(path, ct().grid).array, labels().array)


@pytest.mark.parametrize(
    ("order", "signs"),
    [*itertools.product(itertools.permutations(range(3)), [(1, 1, 1), (-1, 1, -1)]), ((0, 1, 2), (-1, -1, -1))],
)
def test_the_same_voxels_in_another_order_are_turned(
    tmp_path: Path, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """A mask stored in another orientation of the same anatomy lands on the voxels that it was drawn on."""
    original = labels(DIRECTIONS["oblique"])
    axes = [2 - axis for axis in order][::-1]
    turned = np.transpose(original.array, axes)
    affine = original.grid.affine.copy()
    affine[:3, :3] = original.grid.affine[:3, list(order)]
    for axis, sign in enumerate(signs):
        if sign < 0:
            turned = np.flip(turned, 2 - axis)
            affine[:3, 3] += affine[:3, axis] * (turned.shape[2 - axis] - 1)
            affine[:3, axis] *= -1
    path = stored(tmp_path / "spine.nrrd", np.ascontiguousarray(turned), Grid(turned.shape, affine))
    np.testing.assert_array_equal(read_labels(path, original.grid).array, original.array)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid.from_parts((4, 6, 6), (0.703125, 0.9, 2.5), (-118.25, 33.5, -90.75)), r"6x6x4 voxels .* CT has 5x6x4"),
        (Grid.from_parts((4, 6, 5), (0.7, 0.9, 2.5), (-118.25, 33.5, -90.75)), r"spacing \(0\.7, 0\.9, 2\.5\) mm"),
        (Grid.from_parts((4, 6, 5), (0.703125, 0.9, 2.5), (-118.25, 33.5, -88.25)), r"center lies 2\.5 mm from"),
        (
            Grid.from_parts((4, 6, 5), (0.703125, 0.9, 2.5), (-118.25, 33.5, -90.75), TURN),
            "center lies|axes point in other directions",
        ),
    ],
)
def test_a_mask_on_another_grid_names_what_differs(tmp_path: Path, grid: Grid, message: str) -> None:
    path = stored(tmp_path / "spine.nrrd", np.zeros(grid.shape, np.uint8), grid)
    with pytest.raises(InputError, match=rf"lies on another grid than the CT: .*{message}"):
        read_labels(path, ct().grid)


def test_a_cropped_slicer_segmentation_is_put_in_its_place(tmp_path: Path) -> None:
    whole = labels()
    crop = stored(
        tmp_path / "crop.seg.nrrd",
        whole.array[1:3, 2:5, 1:4].astype(np.uint8),
        whole.grid.crop((1, 2, 1), (3, 5, 4)),
        Segmentation_MasterRepresentation="Binary labelmap",
        Segment0_Name="L1",
        Segment0_LabelValue="1",
        Segment0_Layer="0",
    )
    back = read_labels(crop, whole.grid)
    expected = np.zeros_like(whole.array)
    expected[1:3, 2:5, 1:4] = whole.array[1:3, 2:5, 1:4]
    np.testing.assert_array_equal(back.array, expected)
    assert back.names == {1: "L1"}


def test_layers_of_a_slicer_segmentation_are_merged(tmp_path: Path) -> None:
    layers = np.zeros((4, 6, 5, 2), np.uint8)
    layers[0, ..., 0] = 1
    layers[1, ..., 0] = 2
    layers[1:3, ..., 1] = 1
    path = stored(
        tmp_path / "layers.seg.nrrd",
        layers,
        ct().grid,
        Segmentation_MasterRepresentation="Binary labelmap",
        Segment0_Name="L1",
        Segment0_LabelValue="1",
        Segment0_Layer="0",
        Segment1_Name="L2",
        Segment1_LabelValue="2",
        Segment1_Layer="0",
        Segment2_Name="screw",
        Segment2_LabelValue="1",
        Segment2_Layer="1",
    )
    back = read_labels(path, ct().grid)
    assert back.names == {1: "L1", 2: "L2", 3: "screw"}
    assert back.array[:, 0, 0].tolist() == [1, 3, 3, 0]


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.4, r"values between whole numbers, such as 0\.4"), (-1.0, "run from -1 to 0"), (np.nan, "NaN")],
)
def test_what_is_no_segmentation_is_refused(tmp_path: Path, value: float, message: str) -> None:
    array = np.zeros((4, 6, 5), np.float32)
    array[2, 3, 1] = value
    with pytest.raises(InputError, match=message):
        read_labels(stored(tmp_path / "x.nrrd", array, ct().grid), ct().grid)


# Metal masks and fractions


def test_fractions_and_masks_are_shares_of_metal(tmp_path: Path) -> None:
    fraction = np.random.default_rng(0).random((4, 6, 5)).astype(np.float32)
    path = stored(tmp_path / "fraction.nrrd", fraction, ct().grid)
    np.testing.assert_array_equal(read_fraction(path, ct().grid), fraction)
    for high in (1, 3, 255):
        path = stored(tmp_path / f"mask{high}.nrrd", ((fraction > 0.5) * high).astype(np.uint8), ct().grid)
        np.testing.assert_array_equal(read_fraction(path, ct().grid), fraction > 0.5)


@pytest.mark.parametrize(("value", "message"), [(-0.1, "negative values"), (1.5, "such as 1.5"), (np.inf, "infinite")])
def test_what_is_no_fraction_is_refused(tmp_path: Path, value: float, message: str) -> None:
    array = np.zeros((4, 6, 5), np.float32)
    array[0, 0, 0] = value
    with pytest.raises(InputError, match=message):
        read_fraction(stored(tmp_path / "x.nrrd", array, ct().grid), ct().grid)


# Writing


def test_unknown_suffixes_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.nrrd, \.nii\.gz, \.nii, \.mha"):
        check_output(tmp_path / "ct.dcm")
    assert check_output(tmp_path / "new" / "ct.NII.GZ")


def test_sheared_grids_cannot_be_written(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(InputError, match="not at right angles"):
        write_volume(Volume(np.zeros((2, 2, 2)), Grid((2, 2, 2), affine)), tmp_path / "ct.nrrd")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["totalseg_example_ct", "crlm_1004_abd"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_patients_come_back(shared_data: Path, tmp_path: Path, name: str, suffix: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_volume(shared_data / "volumes" / f"{name}.nii.gz")
        write_volume(volume, tmp_path / f"ct{suffix}", whole_hu=True)
        back = read_volume(tmp_path / f"ct{suffix}")
    assert back.grid.mismatch(volume.grid, tolerance_mm=1e-5) is None
    np.testing.assert_array_equal(back.array, volume.array)


@pytest.mark.real_data
def test_the_labels_of_a_patient_lie_on_its_ct(shared_data: Path) -> None:
    folder = shared_data / "volumes"
    volume = read_volume(folder / "totalseg_example_ct_sm.nii.gz")
    segmentation = read_labels(folder / "totalseg_example_ct_sm_SEG.nii.gz", volume.grid)
    liver = volume.array[segmentation.array == 5]
    assert 0 < np.median(liver) < 200
    expert = read_labels(folder / "verse004_vert_SEG.nii.gz")
    assert sorted(np.unique(expert.array)) == [0, *range(16, 25)]


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files stands for the full disk")
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_small_mask_on_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, suffix: str, kept: bool) -> None:
    import resource

    labels = LabelMap(np.zeros((4, 6, 5), np.uint16), Grid((4, 6, 5), np.eye(4)), {1: "metal"})
    path = tmp_path / f"m{suffix}"
    if kept:
        path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
    try:
        with pytest.raises(OutputError, match=r"Cannot write .*m\."):
            write_labels(labels, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"] * kept


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files stands for the full disk")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, suffix: str, room: int) -> None:
    import resource

    noise = np.random.default_rng(0).normal(0, 300, (16, 64, 64)).astype(np.float32)
    volume = Volume(noise, Grid(noise.shape, np.eye(4)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OutputError, match=r"Cannot write .*ct\."):
            write_volume(volume, tmp_path / f"ct{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_voxel_of_a_nifti_file_that_is_no_number_never_becomes_water(
    tmp_path: Path, suffix: str, kind: type, value: float
) -> None:
    array = ct((4, 6, 5)).array.astype(kind)
    array[3, 2, 1] = value
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / f"ct{suffix}"))
    with pytest.raises(InputError, match=r"has 1 voxels that are NaN or infinite, the first at index \(1, 2, 3\)"):
        read_volume(tmp_path / f"ct{suffix}")


def test_a_frame_of_a_nifti_file_keeps_its_own_missing_voxels(tmp_path: Path) -> None:
    good = ct((4, 6, 5)).array.copy()
    good[0, 0, 0] = 0.0
    bad = good.copy()
    bad[1, 1, 1] = np.nan
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.stack([good, bad]), isVector=False), str(tmp_path / "ct.nii.gz")
    )
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii.gz", frame=0, hu_offset=0).array, good)
    with pytest.raises(InputError, match=r"has 1 voxels that are NaN or infinite, the first at index \(1, 1, 1\)"):
        read_volume(tmp_path / "ct.nii.gz", frame=1, hu_offset=0)


def test_a_header_that_scales_does_not_hide_missing_voxels(tmp_path: Path) -> None:
    array = ct((4, 6, 5)).array.copy()
    array[3, 2, 1] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / "ct.nii"))
    stored = bytearray((tmp_path / "ct.nii").read_bytes())
    stored[112:120] = struct.pack("<2f", 2.0, -24.0)
    (tmp_path / "ct.nii").write_bytes(stored)
    with pytest.raises(InputError, match="has 1 voxels that are NaN or infinite"):
        read_volume(tmp_path / "ct.nii", hu_offset=0)
