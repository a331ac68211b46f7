"""The eight measures of the AAPM CT-MAR challenge, each on an image whose value is known."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.evaluate.challenge import challenge_measures, challenge_of_volume
from ctrestoration.evaluate.proton_range import (
    stopping_power_ratio,
    stopping_power_table,
    water_equivalent_thickness,
)

PIXEL = 1.0


def patient() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.indices((96, 96)) - 47.5
    radius = np.hypot(rows, columns)
    tissue = 40.0 + 15.0 * np.sin(rows / 2.0) * np.sin(columns / 3.0)
    image = np.where(radius < 40, tissue, -1000.0)
    image[np.hypot(rows - 10, columns) < 8] = 600.0
    metal = np.hypot(rows + 12, columns - 5) < 3
    image[metal] = 6000.0
    return image, metal


def test_a_perfect_image_scores_perfectly() -> None:
    truth, metal = patient()
    scores = challenge_measures(truth, truth, metal, PIXEL)
    assert scores["rmse_hu"] == scores["streak_hu"] == scores["range_error_mm"] == 0.0
    assert scores["sharpness"] == scores["bone_dice"] == scores["metal_dice"] == 1.0
    assert scores["bone_volume_ratio"] == scores["metal_volume_ratio"] == 1.0
    assert scores["ssim"] == pytest.approx(1.0)


def test_each_measure_answers_to_its_own_fault() -> None:
    from scipy.ndimage import gaussian_filter

    truth, metal = patient()
    shifted = challenge_measures(truth + 10.0, truth, metal, PIXEL)
    assert shifted["rmse_hu"] == pytest.approx(10.0)
    assert shifted["streak_hu"] == pytest.approx(0.0)
    noisy_image = truth + np.random.default_rng(0).normal(0, 20, truth.shape)
    region = np.zeros_like(metal)
    region[60:75, 20:35] = True
    noisy = challenge_measures(noisy_image, truth, metal, PIXEL, region)
    assert noisy["noise_hu"] == pytest.approx(20, rel=0.15)
    assert noisy["streak_hu"] == pytest.approx(2 * 2.06 * 20, rel=0.2), "means of the 5 % tails of a normal law"
    whole = challenge_measures(noisy_image, truth, metal, PIXEL)
    assert whole["noise_hu"] == pytest.approx(20, rel=0.05), "anatomy is no noise"
    without_metal = np.where(metal, 40.0, truth)
    knots = []
    for sigma in (0.4, 0.75, 1.0):
        blurred = np.where(metal, truth, gaussian_filter(without_metal, sigma))
        knots.append(challenge_measures(blurred, truth, metal, PIXEL, region)["sharpness"])
    assert 1.0 > knots[0] > knots[1] > knots[2]
    assert challenge_measures(without_metal, truth, metal, PIXEL)["metal_dice"] == 0.0
    eroded = np.where(truth == 600, 100.0, truth)
    assert challenge_measures(eroded, truth, metal, PIXEL)["bone_volume_ratio"] == 0.0


def test_a_volume_is_the_mean_of_its_slices_with_metal() -> None:
    truth, metal = patient()
    reference = np.stack([truth, truth, np.full_like(truth, -1000.0), truth])
    masks = np.stack([metal, metal, metal, np.zeros_like(metal)])
    image = reference + np.array([10.0, 30.0, 500.0, 900.0])[:, None, None]
    found = challenge_of_volume(image, reference, masks, (PIXEL, PIXEL))
    assert found["slices"] == 2, "one slice holds no patient, one no metal"
    assert found["rmse_hu"] == pytest.approx(20.0)
    assert found["noise_hu"] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(InputError, match="square"):
        challenge_of_volume(image, reference, masks, (1.0, 2.0))
    with pytest.raises(InputError, match="metal in a patient"):
        challenge_of_volume(image, reference, np.zeros_like(masks), (1.0, 1.0))
    with pytest.raises(InputError, match="one shape"):
        challenge_of_volume(image, reference, masks[:2], (1.0, 1.0))


def test_the_stopping_power_table_is_that_of_tissue() -> None:
    levels, ratios = stopping_power_table()
    assert (np.diff(levels) > 0).all()
    assert (np.diff(ratios) > 0).all()
    assert float(stopping_power_ratio(np.array(0.0))) == pytest.approx(1.0)
    # Published for ICRU tissues: adipose 0.97 to 0.98, skeletal muscle 1.04, cortical bone 1.7.
    assert ratios[1] == pytest.approx(0.975, abs=0.02)
    assert ratios[-1] == pytest.approx(1.71, abs=0.06)
    assert float(stopping_power_ratio(np.array(8000.0))) > ratios[-1]


def test_water_is_as_thick_as_it_is_and_bone_is_thicker() -> None:
    slab = np.full((64, 64), -1000.0)
    slab[16:48, 16:48] = 0.0
    assert water_equivalent_thickness(slab, 2.0).max() == pytest.approx(64 * np.sqrt(2), rel=0.03)
    bone = np.where(slab == 0, 1200.0, slab)
    scores = challenge_measures(bone, slab, np.zeros(slab.shape, dtype=bool), 2.0)
    assert 40 < scores["range_error_percent"] < 80


def test_bad_input_is_refused() -> None:
    truth, metal = patient()
    with pytest.raises(InputError, match="one shape"):
        challenge_measures(truth[1:], truth, metal, PIXEL)
    with pytest.raises(InputError, match="NaN"):
        challenge_measures(np.where(metal, np.nan, truth), truth, metal, PIXEL)
    with pytest.raises(InputError, match="no patient"):
        challenge_measures(np.full_like(truth, -1000), np.full_like(truth, -1000), metal, PIXEL)
