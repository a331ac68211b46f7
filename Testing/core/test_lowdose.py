"""The low-dose chain against its published constants and against Poisson statistics."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.evaluate.circle import circle_scores
from ctrestoration.simulate.lowdose import MU_AIR, MU_MAX, MU_WATER, ZERO_COUNT, simulate_lowdose
from ctrestoration.volume import Grid, Volume


@pytest.fixture(scope="module")
def disk() -> Volume:
    y, x = np.mgrid[-32:32, -32:32]
    hu = np.where(x**2 + y**2 < 26**2, 0.0, -1000.0).astype(np.float32)[None].repeat(2, axis=0)
    return Volume(hu, Grid.from_parts(hu.shape, (4.0, 4.0, 5.0)), "water")


def test_constants_are_the_published_ones() -> None:
    assert pytest.approx(0.08135858, abs=1e-8) == MU_MAX
    assert (MU_WATER, MU_AIR) == (0.02, 0.00002)


def test_published_geometry(disk) -> None:
    simulation = simulate_lowdose(disk, preset="lodopab", fine_pixels=64)
    geometry = simulation.acquisition.geometry
    assert (geometry.n_views, geometry.n_bins) == (1000, 513)
    assert geometry.angles[0] == pytest.approx(0.5 * np.pi / 1000)
    assert geometry.angles[-1] == pytest.approx(999.5 * np.pi / 1000)
    assert 513 * geometry.pitch == pytest.approx(2 * 183.85, abs=0.01)
    assert simulation.acquisition.image_grid.shape[0] * simulation.acquisition.image_grid.spacing[0] == 260.0


def test_the_published_scale() -> None:
    """LoDoPaB's images are attenuation as a share of that of 3071 HU, its observations line integrals of them."""
    share = [(hu * (MU_WATER - MU_AIR) / 1000 + MU_WATER) / MU_MAX for hu in (-1000, 0, 1000)]
    assert share == pytest.approx([0.000246, 0.2458, 0.4914], abs=1e-4)
    assert -np.log(ZERO_COUNT / 4096) / (1000 * MU_MAX) == pytest.approx(0.13054, abs=1e-5), "no photon counted, in m"


def test_the_strict_chain_is_the_published_one() -> None:
    """The central 362 of 512 pixels on 26 cm, whole HU spread over their step, a fine grid of exactly 1000."""
    y, x = np.mgrid[-256:256, -256:256]
    hu = np.where(x**2 + y**2 < 170**2, 40.0, -1000.0).astype(np.float32)[None]
    volume = Volume(hu, Grid.from_parts(hu.shape, (0.8, 0.8, 5.0), origin=(-204.4, -150.0, 7.0)), "water")
    strict = simulate_lowdose(volume, preset="lodopab-strict", views=50, photons=1e9)
    scan = strict.acquisition
    assert scan.image.grid.shape == (1, 362, 362)
    assert scan.image.grid.spacing == pytest.approx((0.8, 0.8, 5.0))
    np.testing.assert_allclose(scan.image.grid.to_world((0, 0, 0)), [-204.4 + 60.0, -150.0 + 60.0, 7.0])
    assert scan.image_grid.spacing == pytest.approx((260 / 362, 260 / 362))
    inside = strict.truth.array[0, 100:260, 100:260]
    assert inside.min() >= 40
    assert inside.max() <= 41.01
    assert inside.std() == pytest.approx(np.sqrt(1 / 12), rel=0.02), "uniform"
    assert strict.truth.array.min() >= -1001.01
    longest = 2 * 170 * 260 / 362 * MU_WATER * 1.04
    assert scan.sinogram.max() == pytest.approx(longest, rel=0.01)
    assert abs(scan.image.array[0, 100:260, 100:260].mean() - 40.5) < 3
    again = simulate_lowdose(volume, preset="lodopab-strict", views=50, photons=1e9)
    assert np.array_equal(again.acquisition.sinogram, scan.sinogram)


@pytest.mark.parametrize(("preset", "psnr_db"), [("true-scale", 25.5), ("lodopab", 30.9), ("lodopab-strict", 24.1)])
def test_an_abdomen_of_ellipses_is_as_noisy_as_measured_elsewhere(preset, psnr_db) -> None:
    """33 x 24 cm in a field of 38 cm; figures of an independent implementation of the chain on such a phantom."""
    pixel = 380 / 512
    y, x = (np.mgrid[:512, :512] - 255.5) * pixel
    hu = np.where((x / 165) ** 2 + (y / 120) ** 2 < 1, 40.0, -1000.0).astype(np.float32)
    hu[((x + 60) / 60) ** 2 + ((y + 10) / 50) ** 2 < 1] = 60.0
    hu[x**2 + (y - 70) ** 2 < 18**2] = 400.0
    patient = Volume(hu[None], Grid.from_parts((1, 512, 512), (pixel, pixel, 5.0)), "ellipses")
    low = simulate_lowdose(patient, preset=preset)
    assert circle_scores(low.acquisition.image.array[0], low.truth.array[0])["psnr_db"] == pytest.approx(
        psnr_db, abs=0.5
    )


def test_noise_has_the_variance_of_counts(disk) -> None:
    noisy = simulate_lowdose(disk, photons=4096, fine_pixels=64).acquisition.sinogram[0]
    many = simulate_lowdose(disk, photons=1e11, fine_pixels=64).acquisition.sinogram[0]
    bright = many < 2.0  # more than 500 photons: the logarithm's own bend adds less than 0.1 %
    relative = (noisy - many)[bright] / np.sqrt(np.exp(many[bright]) / 4096)
    assert relative.var() == pytest.approx(1.0, rel=0.02)


def test_full_dose_comes_back_and_low_dose_is_noisier(disk) -> None:
    full = simulate_lowdose(disk, photons=1e10, fine_pixels=64)
    low = simulate_lowdose(disk, photons=4096, fine_pixels=64)
    core = np.zeros((64, 64), dtype=bool)
    core[20:44, 20:44] = True
    assert abs(full.acquisition.image.array[0][core].mean()) < 5
    assert low.acquisition.image.array[0][core].std() > 5 * full.acquisition.image.array[0][core].std()
    assert not np.array_equal(low.acquisition.sinogram[0], low.acquisition.sinogram[1])


def test_sparse_views_keep_every_nth_angle(disk) -> None:
    all_views = simulate_lowdose(disk, photons=1e10, fine_pixels=64).acquisition
    few = simulate_lowdose(disk, photons=1e10, fine_pixels=64, views=100).acquisition
    np.testing.assert_allclose(few.geometry.angles, all_views.geometry.angles[::10])
    np.testing.assert_allclose(few.sinogram, all_views.sinogram[:, ::10], atol=1e-3)
    assert abs(few.image.array[0][24:40, 24:40].mean()) < 10


def test_bins_as_wide_as_pixels_do_not_fold_noise_into_them(disk) -> None:
    """The same photons, counted in 513 narrow bins or in 64: the coarse image cannot hold what the narrow ones see."""
    core, errors = np.s_[:, 20:44, 20:44], []
    for bins in (513, 64):
        settings = {"bins": bins, "photons": 4096 * 513 / bins, "fine_pixels": 256}
        low = simulate_lowdose(disk, **settings).acquisition
        assert low.geometry.n_bins * low.geometry.pitch == pytest.approx(256 * np.sqrt(2))
        errors.append(
            (low.image.array - simulate_lowdose(disk, **{**settings, "photons": 1e11}).acquisition.image.array)[
                core
            ].std()
        )
    assert errors[1] < 0.3 * errors[0]


def test_repeatable_and_true_scale_by_default(disk) -> None:
    first, second = (simulate_lowdose(disk, seed=3, fine_pixels=64) for _ in range(2))
    assert np.array_equal(first.acquisition.sinogram, second.acquisition.sinogram)
    assert first.acquisition.image_grid.spacing == (4.0, 4.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"photons": 0}, "Photons per bin"),
        ({"views": 333}, "must divide 1000"),
        ({"views": 50.0}, r"number of views \(views\) must be a whole number, not 50\.0"),
        ({"views": "50"}, "whole number, not '50'"),
        ({"bins": 4}, "must lie in 8..8192, not 4"),
        ({"bins": True}, "whole number, not True"),
        ({"fine_pixels": -3}, "16..4096 pixels a row, not -3"),
        ({"extent_mm": -260.0}, "1..10000 mm, not -260"),
        ({"preset": "lodo"}, "known ones are lodopab, lodopab-strict, true-scale"),
        ({"preset": "lodopab-strict"}, "512 x 512 pixels, these have 64 x 64"),
        ({"dose": 1}, "Unknown low-dose setting 'dose'"),
    ],
)
def test_bad_input_is_one_sentence(disk, settings, words) -> None:
    with pytest.raises(InputError, match=words):
        simulate_lowdose(disk, **settings)
