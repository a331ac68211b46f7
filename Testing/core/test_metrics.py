"""Metrics against closed forms and against scikit-image, and their masks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.evaluate.masks import body_mask, metal_ring
from ctrestoration.evaluate.metrics import BENCHMARK_WINDOW, dice, evaluate, ssim_map


@pytest.fixture
def patient() -> np.ndarray:
    """Two slices of a water disk with a bone, in air; mild texture so that SSIM has structure to compare."""
    y, x = np.mgrid[-48:48, -48:48]
    noise = np.random.default_rng(0).normal(0, 10, (2, 96, 96))
    disk = np.where(x**2 + y**2 < 40**2, 40.0, -1000.0)
    disk[(x - 12) ** 2 + y**2 < 8**2] = 700.0
    return (disk + noise).astype(np.float32)


@pytest.fixture
def metal() -> np.ndarray:
    mask = np.zeros((2, 96, 96), dtype=bool)
    mask[0, 44:52, 30:34] = True
    return mask


def test_image_against_itself_is_perfect_in_valid_json(patient, metal) -> None:
    scores = evaluate(patient, patient, metal)
    assert scores["rmse_hu"] == 0
    assert scores["ring_rmse_hu"] == 0
    assert scores["ssim"] == pytest.approx(1.0, abs=1e-12)
    assert scores["psnr_db"] is None
    assert scores["dice"] == 1.0
    assert json.loads(json.dumps(scores, allow_nan=False))["window"] == list(BENCHMARK_WINDOW)


def test_constant_error_gives_the_closed_form_psnr_and_rmse(patient) -> None:
    inside = np.clip(patient, -900, 1500)
    scores = evaluate(inside + 26.04, inside)
    assert scores["rmse_hu"] == pytest.approx(26.04, rel=1e-4)
    assert scores["psnr_db"] == pytest.approx(20 * np.log10(2604 / 26.04), abs=0.01)


def test_metal_counts_in_no_number(patient, metal) -> None:
    spoiled = patient.copy()
    spoiled[metal] = 9000.0
    assert evaluate(spoiled, patient, metal)["rmse_hu"] == 0
    assert evaluate(spoiled, patient, metal)["ssim"] == pytest.approx(1.0, abs=1e-12)
    assert evaluate(spoiled, patient)["rmse_hu"] > 0


def test_ring_sees_only_its_ten_pixels(patient, metal) -> None:
    near, far = patient.copy(), patient.copy()
    near[0, 48, 38] += 100
    far[0, 48, 60] += 100
    assert evaluate(near, patient, metal)["ring_rmse_hu"] > 0
    assert evaluate(far, patient, metal)["ring_rmse_hu"] == 0
    assert evaluate(far, patient)["ring_rmse_hu"] is None


def test_ssim_map_equals_scikit_image(patient) -> None:
    skimage_metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is the oracle of this test")
    other = patient + np.random.default_rng(1).normal(0, 60, patient.shape).astype(np.float32)
    low, high = BENCHMARK_WINDOW
    scaled = [np.clip((part.astype(float) - low) / (high - low), 0, 1) for part in (other, patient)]
    ours = ssim_map(other, patient, np.zeros(patient.shape, dtype=bool))
    for z in range(2):
        _, theirs = skimage_metrics.structural_similarity(
            scaled[0][z], scaled[1][z], data_range=1.0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        np.testing.assert_allclose(ours[z], theirs, atol=2e-6)


def test_body_is_filled_and_leaves_the_table_out(patient) -> None:
    with_table = patient.copy()
    with_table[:, 92:94, 10:80] = 200.0
    body = body_mask(with_table)
    assert not body[:, 92:94].any()
    assert body.sum() == pytest.approx(2 * np.pi * 40**2, rel=0.02)


def test_ring_is_euclidean_and_in_plane() -> None:
    point = np.zeros((3, 41, 41), dtype=bool)
    point[1, 20, 20] = True
    ring = metal_ring(point, 10)
    assert ring[1, 20, 30]
    assert not ring[1, 20, 31]
    assert not ring[1, 28, 28]
    assert not ring[1, 20, 20]
    assert not ring[[0, 2]].any()


def test_dice() -> None:
    a = np.array([True, True, False])
    b = np.array([True, False, False])
    assert dice(a, b) == pytest.approx(2 / 3)
    assert dice(b & ~b, b & ~b) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: {"reference": a[:1]}, "one shape"),
        (lambda a: {"image": np.where(a > 0, np.nan, a)}, "NaN"),
        (lambda a: {"window": (400.0, -400.0)}, "LOW below HIGH"),
        (lambda a: {"metal": np.ones(a.shape, dtype=bool)}, "covers the whole volume"),
        (lambda a: {"metal": np.ones((1, 2, 3), dtype=bool)}, "same grid"),
    ],
)
def test_bad_input_is_one_sentence(patient, change, words) -> None:
    arguments = {"image": patient, "reference": patient, **change(patient)}
    with pytest.raises(InputError, match=words):
        evaluate(**arguments)
