"""The public benchmark's own numbers: its stored slice gives the values measured for it, and the traps are visible."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.evaluate.benchmark_scores import LEGACY_LABEL, benchmark_scores, benchmark_ssim, size_group

MEASURED = {  # linear PSNR and SSIM of the stored images, masks of the folder
    ("ma_CT", 0): (29.94, 0.7841), ("ma_CT", 1): (24.94, 0.7478), ("ma_CT", 2): (28.99, 0.8236),
    ("ma_CT", 3): (32.32, 0.8360), ("LI_CT", 0): (35.29, 0.8976), ("LI_CT", 1): (29.41, 0.8511),
    ("LI_CT", 2): (33.07, 0.8735), ("LI_CT", 3): (37.01, 0.9110),
}  # fmt: skip


@pytest.mark.real_data
def test_stored_images_score_what_was_measured(shared_data) -> None:
    pytest.importorskip("h5py", reason="benchmark slices are HDF5")
    from ctrestoration.io.syndeeplesion import find_slices, read_masks

    folder = shared_data / "syndeeplesion" / "train"
    (found,) = find_slices(folder)
    masks = read_masks(folder / "masks.npy")
    (truth,) = found.clean("image")
    for (key, k), (psnr, ssim) in MEASURED.items():
        (image,) = found.metal(k, key)
        scores = benchmark_scores(image, truth, masks[..., k] > 0)
        assert scores["psnr_db"] == pytest.approx(psnr, abs=0.006)
        assert scores["ssim"] == pytest.approx(ssim, abs=3e-4)


def slices(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    truth = np.full((size, size), 0.19)
    truth[:8] = 0.0
    truth[30:34, 30:34] = 0.45
    return truth, np.zeros((size, size), dtype=bool)


def test_the_linear_form_has_a_fixed_range() -> None:
    truth, metal = slices()
    scores = benchmark_scores(truth + 0.005, truth, metal)
    assert scores["psnr_db"] == pytest.approx(40.0, abs=1e-6)
    assert scores["window"] == [0.0, 0.5]
    assert benchmark_scores(truth, truth, metal)["psnr_db"] is None
    assert benchmark_scores(truth, truth, metal)["ssim"] == pytest.approx(1.0)


def test_the_legacy_form_punishes_one_bright_pixel_and_says_what_it_is() -> None:
    truth, metal = slices()
    image = truth.copy()
    image[31, 31] = 0.5
    linear, legacy = benchmark_scores(image, truth, metal), benchmark_scores(image, truth, metal, legacy=True)
    assert linear["psnr_db"] > 50
    assert legacy["psnr_db"] < linear["psnr_db"] - 15
    assert legacy["window"] == LEGACY_LABEL


def test_metal_counts_nowhere() -> None:
    truth, metal = slices()
    metal[30:34, 30:34] = True
    image = np.where(metal, 3.0, truth)
    assert benchmark_scores(image, truth, metal)["psnr_db"] is None


def test_large_images_are_compared_at_half_size() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.repeat(rng.random((200, 200)), 2, 0), 2, 1)
    checker = 0.2 * ((np.indices(truth.shape).sum(axis=0) % 2) - 0.5)
    assert benchmark_ssim(truth + checker, truth) == pytest.approx(1.0, abs=1e-9), "averaged away in 2x2 blocks"
    assert benchmark_ssim((truth + checker)[:200, :200], truth[:200, :200]) < 0.99


@pytest.mark.parametrize(
    ("pixels", "group"),
    [(2061, "large"), (890, "large"), (881, "medium-large"), (451, "medium-large"), (254, "medium"), (124, "medium"),
     (118, "small"), (112, "small"), (53, "tiny"), (35, "tiny")],
)  # fmt: skip
def test_the_official_masks_fall_into_their_groups(pixels: int, group: str) -> None:
    assert size_group(pixels) == group


def test_bad_input_is_refused() -> None:
    truth, metal = slices()
    with pytest.raises(InputError, match="one shape"):
        benchmark_scores(truth[1:], truth, metal)
    with pytest.raises(InputError, match="NaN"):
        benchmark_scores(np.where(metal | (truth == 0), np.nan, truth), truth, metal)
