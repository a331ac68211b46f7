"""PSNR and SSIM in the circle."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.evaluate.circle import circle_mask, circle_scores


def pair() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    reference = draw.normal(0, 200, (64, 64))
    return reference + draw.normal(0, 40.72, reference.shape), reference


def test_the_circle_touches_the_edges() -> None:
    inside = circle_mask((512, 512))
    assert inside.mean() == pytest.approx(np.pi / 4, abs=1e-3)
    assert inside[0, 256]
    assert inside[256, 511]
    assert not inside[0, 0]


def test_psnr_is_that_of_the_noise_and_of_the_stated_range() -> None:
    image, reference = pair()
    scores = circle_scores(image, reference)
    assert scores["psnr_db"] == pytest.approx(40.0, abs=0.3)  # noise of 1 % of 4072 HU
    assert scores["data_range"] == 1.0
    assert scores["window"] == [-1001.0, 3071.0]
    truth = circle_scores(image, reference, data_range="truth")
    width = truth["data_range"]
    assert truth["psnr_db"] == pytest.approx(scores["psnr_db"] + 20 * np.log10(width))
    assert truth["ssim"] < scores["ssim"]


def test_what_lies_outside_does_not_count() -> None:
    image, reference = pair()
    spoiled = image.copy()
    spoiled[~circle_mask(image.shape)] = 3000
    before, after = circle_scores(image, reference), circle_scores(spoiled, reference)
    assert before["psnr_db"] == after["psnr_db"]
    masked = [circle_scores(one, reference, ssim_of="masked_images")["ssim"] for one in (image, spoiled)]
    assert masked[0] == masked[1]
    assert masked[0] > before["ssim"], "the outside counts as perfect"


def test_ssim_agrees_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    image, reference = pair()
    a, b = ((one + 1001.0) / 4072.0 for one in (image, reference))
    _, similarity = metrics.structural_similarity(
        a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert circle_scores(image, reference)["ssim"] == pytest.approx(similarity[circle_mask(a.shape)].mean(), abs=1e-6)


def test_equal_images_and_bad_input() -> None:
    image, reference = pair()
    assert circle_scores(reference, reference)["psnr_db"] is None
    with pytest.raises(InputError, match="one shape"):
        circle_scores(image[:-1], reference)
    with pytest.raises(InputError, match="finite"):
        circle_scores(np.full_like(image, np.nan), reference)
