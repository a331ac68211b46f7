"""Padding, clipping, and values that are not HU."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.hounsfield import checked_hu, cut_overshoot, find_clipping, raise_padding


def scan() -> np.ndarray:
    """HU of tissue in air, without metal."""
    array = np.random.default_rng(0).normal(40, 30, (20, 20, 20)).astype(np.float32)
    array[:, :2] = -1000
    return array


def clipped(level: float = 3071.0) -> np.ndarray:
    array = scan()
    array[5:10, 5:10, 5:10] = level
    return array


def resampled() -> np.ndarray:
    """A clipped scan after interpolation: the pile-up is smeared, with overshoots above."""
    array = clipped()
    array[array == 3071] += np.random.default_rng(1).normal(0, 6, 125).astype(np.float32)
    array[5, 5, 5:8] = 3300
    return array


@pytest.mark.parametrize("level", [2000.0, 2976.0, 3071.0, 30000.0])
def test_a_pile_up_at_the_maximum_is_clipping(level: float) -> None:
    found = find_clipping(clipped(level))
    assert found is not None
    assert (found.level, found.voxels, found.smeared) == (level, 125, False)


def test_a_smeared_pile_up_is_clipping_at_3071() -> None:
    found = find_clipping(resampled())
    assert found is not None
    assert (found.level, found.smeared) == (3071.0, True)


@pytest.mark.parametrize("count", [19, 20])
def test_twenty_voxels_prove_it(count: int) -> None:
    array = scan()
    array.ravel()[1000 : 1000 + count] = 2976
    assert (find_clipping(array) is None) == (count < 20)


def test_metal_of_any_value_is_not_clipping() -> None:
    array = clipped()
    array[array == 3071] = np.random.default_rng(1).normal(3500, 700, 125)
    assert find_clipping(array) is None
    np.testing.assert_array_equal(cut_overshoot(array)[0], array)


@pytest.mark.parametrize("seed", range(20))
def test_chance_does_not_cut_an_unclipped_scan(seed: int) -> None:
    """A few hundred metal voxels of any value between 2500 and 3600 HU: their histogram is ragged."""
    array = scan()
    array.ravel()[1000:1400] = np.random.default_rng(seed).uniform(2500, 3600, 400)
    assert find_clipping(array) is None


def test_a_plateau_of_bone_or_iodine_is_not_clipping() -> None:
    assert find_clipping(clipped(1377.0)) is None


def test_overshoots_are_cut_and_counted() -> None:
    array, facts = cut_overshoot(resampled())
    assert array.max() == 3071
    assert facts == {"level_hu": 3071.0, "highest_hu": 3300.0, "voxels": int((resampled() > 3071).sum())}
    np.testing.assert_array_equal(array[resampled() <= 3071], resampled()[resampled() <= 3071])


def test_a_sharp_clip_is_left_alone() -> None:
    array, facts = cut_overshoot(clipped())
    np.testing.assert_array_equal(array, clipped())
    assert facts == {}


def test_padding_is_raised_and_counted() -> None:
    array = scan()
    array[:, 0] = -3024
    raised, facts = raise_padding(array)
    assert facts == {"lowest_hu": -3024.0, "voxels": 400}
    assert raised.min() == -1024
    np.testing.assert_array_equal(raised[:, 1:], array[:, 1:])
    assert raise_padding(scan())[1] == {}


def test_hu_pass_unchanged() -> None:
    np.testing.assert_array_equal(checked_hu(scan().astype(np.float64), "ct"), scan())
    np.testing.assert_array_equal(checked_hu(scan().astype(np.int16), "ct"), scan().astype(np.int16))


def test_an_offset_is_added_and_zero_takes_all_but_nan() -> None:
    np.testing.assert_array_equal(checked_hu(scan() + 1024, "ct", hu_offset=-1024), scan() + 1024 - 1024)
    water = np.zeros((3, 3, 3), np.float32)
    np.testing.assert_array_equal(checked_hu(water, "ct", hu_offset=0), water)
    with pytest.raises(InputError, match="NaN"):
        checked_hu(water * np.nan, "ct", hu_offset=0)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (scan() + 1100, "--hu-offset -1024"),
        (np.clip(scan(), -160, 240), "display window"),
        (np.clip(scan() + 160, 0, 255), "8-bit or windowed"),
        (scan() / 1000, "normalized"),
        (scan() * 1000, "no CT scale goes above"),
        (np.rint(scan()).astype(np.int16).view(np.uint16), "stored as unsigned"),
        (scan().astype(np.int8), "8-bit values"),
    ],
)
def test_other_scales_are_refused_with_what_to_do(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_hu(array, "ct.nrrd")


def test_a_crop_of_tissue_is_hu() -> None:
    crop = scan()[:, 2:]
    np.testing.assert_array_equal(checked_hu(crop, "ct"), crop)
