"""The low-dose chain against its published constants and against Poisson statistics."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.simulate.lowdose import MU_AIR, MU_MAX, MU_WATER, simulate_lowdose
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
        ({"preset": "lodo"}, "known ones are lodopab, true-scale"),
        ({"dose": 1}, "Unknown low-dose setting 'dose'"),
    ],
)
def test_bad_input_is_one_sentence(disk, settings, words) -> None:
    with pytest.raises(InputError, match=words):
        simulate_lowdose(disk, **settings)
