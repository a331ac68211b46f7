"""The task transfer function against blurs of known width."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ctrestoration.errors import InputError
from ctrestoration.evaluate.task_transfer import task_transfer

SIZE, RADIUS, CENTER = 96, 18.0, (47.3, 48.6)
FINE = 8


def disk_image(sigma: float, contrast: float = 300.0) -> tuple[np.ndarray, np.ndarray]:
    """A disk between pixels under a Gaussian blur of `sigma` pixels, sampled at points; and its mask."""
    y, x = (np.indices((SIZE * FINE, SIZE * FINE)) + 0.5) / FINE - 0.5
    fine = gaussian_filter(contrast * 1.0 * (np.hypot(y - CENTER[0], x - CENTER[1]) < RADIUS), sigma * FINE)
    around = [slice(start, None, FINE) for start in (FINE // 2 - 1, FINE // 2)]  # a pixel's middle lies between these
    image = np.mean([fine[a, b] for a in around for b in around], axis=0)
    rows, columns = np.indices((SIZE, SIZE))
    return image - 100.0, np.hypot(rows - CENTER[0], columns - CENTER[1]) < RADIUS


@pytest.mark.parametrize(("sigma", "pixel_mm"), [(0.8, 1.0), (1.5, 0.5), (2.5, 2.0)])
@pytest.mark.parametrize("contrast", [300.0, -40.0])
def test_a_gaussian_blur_has_a_gaussian_transfer(sigma: float, pixel_mm: float, contrast: float) -> None:
    image, disk = disk_image(sigma, contrast)
    found = task_transfer(image, disk, pixel_mm)
    expected = np.exp(-2 * (np.pi * sigma * pixel_mm * found.frequencies) ** 2)
    assert np.abs(found.transfer - expected).max() < 0.03
    assert found.contrast_hu == pytest.approx(contrast, rel=0.02)
    assert found.f50 == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * sigma * pixel_mm), rel=0.04)
    assert found.frequencies[-1] == 0.5 / pixel_mm


def test_noise_is_averaged_over_slices() -> None:
    image, disk = disk_image(1.5, 100.0)
    noisy = image + np.random.default_rng(5).normal(0, 20, (40, SIZE, SIZE))
    clean = task_transfer(image, disk, 1.0)
    found = task_transfer(noisy, disk, 1.0)
    assert found.f50 == pytest.approx(clean.f50, rel=0.08)
    assert found.contrast_hu == pytest.approx(100, abs=3)
    assert found.noise_hu == pytest.approx(20 / np.sqrt(40), rel=0.1)


def test_a_sharper_edge_reaches_further_and_an_enhanced_one_lies_above_1() -> None:
    soft, disk = disk_image(2.5)
    sharp, _ = disk_image(1.0)
    assert task_transfer(sharp, disk, 1.0).f10 > 2 * task_transfer(soft, disk, 1.0).f10
    enhanced = sharp + 1.5 * (sharp - gaussian_filter(sharp, 2.0))
    assert task_transfer(enhanced, disk, 1.0).transfer.max() > 1.2
    point = np.where(disk, 100.0, 0.0)
    assert np.isnan(task_transfer(point, disk, 1.0).f10)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda image, disk: (image, disk & False), "0.0 pixels wide"),
        (lambda image, disk: (image, np.roll(disk, 30, 0)), "too near the image's edge"),
        (lambda image, disk: (image, disk & (np.arange(SIZE) > 46)), "not round"),
        (lambda image, disk: (image * np.nan, disk), "finite values"),
        (lambda image, disk: (0 * image, disk), "differs from its surroundings"),
        (lambda image, disk: (image[:50], disk), "of one shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, sentence: str) -> None:
    image, disk = disk_image(1.0)
    with pytest.raises(InputError, match=sentence):
        task_transfer(*change(image, disk), 1.0)
