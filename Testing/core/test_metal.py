"""Metal by threshold: the level, the components, and what is no implant."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ctrestoration.anatomy.metal import MetalSegmentation, metal_threshold, not_metal, segment_metal
from ctrestoration.anatomy.phantom import spine_phantom
from ctrestoration.control import Control
from ctrestoration.errors import Cancelled, InputError
from ctrestoration.io.images import read_volume
from ctrestoration.volume import Grid, Volume

SHAPE = (12, 96, 96)


def body(noise: float = 15.0) -> np.ndarray:
    """Air with an elliptic body of soft tissue, a lung and a vertebra of at most about 1300 HU; [z, y, x]."""
    random = np.random.default_rng(0)
    _, y, x = np.indices(SHAPE) * 1.0
    array = np.full(SHAPE, -1000.0)
    array[((x - 48) / 38) ** 2 + ((y - 46) / 26) ** 2 <= 1] = 40
    array[((x - 32) / 8) ** 2 + ((y - 40) / 10) ** 2 <= 1] = -850
    array[((x - 48) / 7) ** 2 + ((y - 58) / 6) ** 2 <= 1] = 1200
    return (array + random.normal(0, noise, SHAPE)).astype(np.float32)


def volume(array: np.ndarray, spacing: float = 2.0, direction: np.ndarray | None = None) -> Volume:
    return Volume(array, Grid.from_parts(array.shape, (spacing,) * 3, direction=direction), "phantom")


def with_screw(array: np.ndarray, hu: float = 6000.0) -> np.ndarray:
    array = array.copy()
    array[5:8, 50:60, 60:63] = hu
    return array


def test_a_screw_is_found_where_it_is() -> None:
    array = with_screw(body())
    found = segment_metal(volume(array))
    np.testing.assert_array_equal(found.mask, array == 6000)
    (piece,) = found.components
    assert (piece.voxels, piece.volume_mm3) == (90, 720.0)
    assert piece.center == pytest.approx((122.0, 109.0, 12.0))
    assert piece.highest_hu == 6000
    assert found.threshold == 2500
    assert found.volume_mm3 == 720.0


def test_no_metal_is_an_empty_mask() -> None:
    found = segment_metal(volume(body()))
    assert not found.mask.any()
    assert found.mask.shape == SHAPE
    assert (found.components, found.rejected, found.clip_level) == ((), (), None)


@pytest.mark.parametrize(
    ("clip", "expected"), [(3071.0, 2500.0), (2700.0, 2500.0), (2400.0, 2280.0), (1850.0, 1800.0), (1700.0, 2500.0)]
)
def test_the_level_follows_a_proven_clip(clip: float, expected: float) -> None:
    array = with_screw(body(), clip)
    level, reason, clipping = metal_threshold(array)
    assert level == pytest.approx(expected)
    assert reason.startswith(f"{expected:g} HU")
    assert (clipping is not None) == (clip >= 1800)
    assert ("90 voxels pile up" in reason) == (clip >= 1800)


def test_dense_iodine_does_not_lower_the_level() -> None:
    """A maximum below 3000 HU proves nothing: contrast in a metal-free scan must not become metal."""
    array = body()
    array[5:8, 44:50, 60:66] += np.random.default_rng(1).normal(1900, 120, (3, 6, 6))
    found = segment_metal(volume(array))
    assert found.threshold == 2500
    assert not found.mask.any()


def test_a_whole_trunk_without_metal_has_none() -> None:
    """Bone, calcium and contrast of the phantom, its table, and the crop through its flanks."""
    phantom = spine_phantom(size=(8, 80, 100), spacing=(4.0, 4.0, 4.0)).volume
    assert segment_metal(phantom).components == ()
    crop = phantom.array[:, 20:60, 25:75]
    assert segment_metal(volume(crop, 4.0)).components == ()


def test_a_resampled_clipped_scan_is_recognized() -> None:
    array = with_screw(body(), 3071)
    random = np.random.default_rng(2)
    array[array == 3071] += random.normal(0, 5, 90).astype(np.float32)
    array[6, 55, 60] = 3380
    found = segment_metal(volume(array))
    assert found.clip_level == 3071
    assert found.threshold == 2500


def test_a_threshold_asked_for_is_used() -> None:
    array = with_screw(body(), 2200)
    found = segment_metal(volume(array), threshold=2100)
    assert (found.threshold, found.reason) == (2100.0, "2100 HU, as asked.")
    assert found.mask.sum() == 90
    assert "clipped at 2200 HU" in segment_metal(volume(array), threshold=2300).reason


def test_corners_connect() -> None:
    array = body()
    for step in range(6):
        array[3 + step, 50 + step, 60 + step] = 5000
    assert len(segment_metal(volume(array)).components) == 1


@pytest.mark.parametrize(("spacing", "count", "kept"), [(1.0, 9, 0), (1.0, 10, 1), (3.0, 1, 0), (3.0, 2, 1)])
def test_specks_are_dropped(spacing: float, count: int, kept: int) -> None:
    """Below 10 mm3 at 1 mm, below two voxels at 3 mm, where one voxel is already 27 mm3."""
    array = body()
    array[6, 50, 58 : 58 + count] = 5000
    found = segment_metal(volume(array, spacing))
    assert len(found.components) == kept
    assert [piece.rejected for piece in found.rejected] == (
        [] if kept else [f"smaller than {54 if spacing == 3 else 10} mm3"]
    )


def test_couch_metal_is_no_implant() -> None:
    array = with_screw(body())
    array[:, 80:82, 10:86] = 100  # the shell of the couch
    array[:, 80:82, 40:50] = 4000  # and its rail
    found = segment_metal(volume(array))
    np.testing.assert_array_equal(found.mask, array == 6000)
    assert "outside the body" in (found.rejected[0].rejected or "")
    assert segment_metal(volume(array), anywhere=True).mask.sum() == 90 + 12 * 20


def test_metal_in_lung_is_inside_the_body() -> None:
    array = body()
    array[5:8, 38:41, 30:33] = 5000
    assert segment_metal(volume(array)).mask.sum() == 27


def test_metal_in_the_smaller_leg_is_kept() -> None:
    array = np.full(SHAPE, -1000.0, dtype=np.float32)
    _, y, x = np.indices(SHAPE)
    array[np.hypot(x - 25, y - 48) < 16] = 40
    array[np.hypot(x - 70, y - 48) < 11] = 40
    array[4:8, 46:50, 68:72] = 5000
    assert segment_metal(volume(array)).mask.sum() == 64


def truncated(padding: float = -1024.0) -> np.ndarray:
    """The body cut by a scanned circle of 30 pixels radius, with the bright rim that truncation leaves."""
    array = with_screw(body())
    _, y, x = np.indices(SHAPE)
    radius = np.hypot(x - 47.5, y - 47.5)
    array[(radius > 28.5) & (array > -300)] = 3000
    array[radius > 30] = padding
    return array


def test_truncation_glare_is_no_metal() -> None:
    array = truncated()
    found = segment_metal(volume(array))
    np.testing.assert_array_equal(found.mask, array == 6000)
    assert all("edge of the field of view" in (piece.rejected or "") for piece in found.rejected)
    assert found.rejected[0].voxels > 1000


def test_glare_at_the_edge_of_a_cropped_matrix_is_no_metal() -> None:
    array = with_screw(body())[:, 20:72, 20:76].copy()
    array[:, :, :2] = np.where(array[:, :, :2] > -300, 3000, array[:, :, :2])
    array[:, :, -2:] = np.where(array[:, :, -2:] > -300, 3000, array[:, :, -2:])
    found = segment_metal(volume(array))
    np.testing.assert_array_equal(found.mask, array == 6000)
    assert len(found.rejected) == 2


def test_metal_cut_by_the_first_slice_is_kept() -> None:
    array = body()
    array[:4, 50:55, 60:63] = 5000
    assert segment_metal(volume(array)).mask.sum() == 60


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_the_mask_lies_on_the_stored_voxels(flips: tuple[int, int, int]) -> None:
    """Stored as sagittal slices in any direction: the couch is still behind, the edge still lateral."""
    array = truncated()
    turned = np.ascontiguousarray(np.transpose(array, (2, 0, 1))[:: flips[0], :: flips[1], :: flips[2]])
    direction = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0.0]]) * np.array(flips[::-1])
    found = segment_metal(volume(turned, direction=direction))
    np.testing.assert_array_equal(found.mask, turned == 6000)


def test_one_slice_works() -> None:
    array = with_screw(body())[6:7]
    np.testing.assert_array_equal(segment_metal(volume(array)).mask, array == 6000)


def test_metal_alone_in_air_is_kept() -> None:
    array = np.full(SHAPE, -1000.0, dtype=np.float32)
    array[5:8, 50:60, 60:63] = 6000
    assert segment_metal(volume(array)).mask.sum() == 90


@pytest.mark.parametrize("threshold", [-2000.0, 40000.0, float("nan")])
def test_an_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="between -1000 and 32767 HU"):
        segment_metal(volume(body()), threshold=threshold)


@pytest.mark.parametrize("minimum", [-1.0, float("nan"), float("inf")])
def test_an_impossible_smallest_volume_is_refused(minimum: float) -> None:
    with pytest.raises(InputError, match="0 mm3 or more"):
        segment_metal(volume(body()), min_volume_mm3=minimum)


def test_it_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        segment_metal(volume(body()), control=Control(cancel=lambda: True))


@cache
def found_in(folder: Path, name: str, threshold: float) -> MetalSegmentation:
    return segment_metal(read_volume(folder / "volumes" / f"{name}.nii.gz"), threshold=threshold)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "threshold", "count", "largest_mm3"),
    [
        ("totalseg_example_ct", 2000, 1, 14283),
        ("totalseg_example_ct", 2500, 1, 11583),
        ("totalseg_example_ct", 3000, 2, 7344),
        ("cptac_lscc_head", 2000, 10, 289),
        ("cptac_lscc_head", 2500, 5, 152),
        ("cptac_lscc_head", 3000, 3, 72),
        ("tcga_ov_abdomen", 2500, 6, 25),
        ("crlm_1004_abd", 2500, 0, 0),
        ("lidc_0314_chest_crop", 2500, 0, 0),
        ("totalseg_example_ct_sm", 2500, 0, 0),
    ],
)
def test_components_of_patients(shared_data: Path, name: str, threshold: float, count: int, largest_mm3: float) -> None:
    """Counts and volumes measured apart from this code; here kept and rejected pieces together."""
    found = found_in(shared_data, name, threshold)
    pieces = found.components + found.rejected
    assert len(pieces) == count
    assert max((piece.volume_mm3 for piece in pieces), default=0) == pytest.approx(largest_mm3, abs=1)


@pytest.mark.real_data
def test_the_head_rest_is_told_from_the_dental_metal(shared_data: Path) -> None:
    """The largest bright piece of the head scan is a part of the head rest, 3 cm behind the skin."""
    found = segment_metal(read_volume(shared_data / "volumes" / "cptac_lscc_head.nii.gz"))
    assert [round(piece.volume_mm3) for piece in found.components] == [134]
    assert [round(piece.volume_mm3) for piece in found.rejected if "outside" in (piece.rejected or "")] == [152]


@pytest.mark.real_data
def test_the_nail_is_clipped_and_found(shared_data: Path) -> None:
    found = segment_metal(read_volume(shared_data / "volumes" / "totalseg_example_ct.nii.gz"))
    assert (found.clip_level, found.threshold) == (3071.0, 2500.0)
    assert len(found.components) == 1


def test_pieces_of_a_mask_no_brighter_than_bone_are_no_metal() -> None:
    array = with_screw(body())
    screw = array == 6000
    bone = np.zeros(SHAPE, dtype=bool)
    bone[5:8, 56:60, 46:50] = True
    np.testing.assert_array_equal(not_metal(screw | bone, array), bone)
    # One voxel is enough, and pieces reach through slices.
    array[5, 57, 47] = 1800
    assert not not_metal(screw | bone, array).any()
    assert not not_metal(np.zeros(SHAPE, dtype=bool), array).any()
