"""LI against numpy's own interpolation, and where there is nothing to interpolate from."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.correct.interpolation import interpolate_trace
from ctrestoration.errors import InputError


def test_equals_numpy_interpolation_view_by_view() -> None:
    random = np.random.default_rng(0)
    sinogram = random.random((2, 40, 50), dtype=np.float32)
    trace = random.random((2, 40, 50)) < 0.4
    filled = interpolate_trace(sinogram, trace)
    for view, covered, result in zip(
        sinogram.reshape(-1, 50), trace.reshape(-1, 50), filled.reshape(-1, 50), strict=True
    ):
        known = np.flatnonzero(~covered)
        np.testing.assert_allclose(result[covered], np.interp(np.flatnonzero(covered), known, view[known]), atol=1e-6)
        assert np.array_equal(result[~covered], view[~covered])


def test_trace_at_the_detector_end_holds_the_nearest_value() -> None:
    sinogram = np.array([[1.0, 2.0, 3.0, 4.0]], dtype=np.float32)
    assert interpolate_trace(sinogram, np.array([[True, True, False, False]])).tolist() == [[3, 3, 3, 4]]
    assert interpolate_trace(sinogram, np.array([[False, False, True, True]])).tolist() == [[1, 2, 2, 2]]


def test_view_without_measured_bins_takes_its_neighbors() -> None:
    sinogram = np.array([[0.0, 0.0], [9.0, 9.0], [2.0, 4.0]], dtype=np.float32)
    trace = np.zeros((3, 2), dtype=bool)
    trace[1] = True
    assert interpolate_trace(sinogram, trace)[1].tolist() == [1, 2]


def test_stored_benchmark_interpolation_is_reproduced(shared_data) -> None:
    import h5py

    for k in range(4):
        with h5py.File(shared_data / f"syndeeplesion/train/000321_03_01/011/{k}.h5") as file:
            measured, trace, stored = file["ma_sinogram"][:], file["metal_trace"][:] > 0, file["LI_sinogram"][:]
        assert np.abs(interpolate_trace(measured, trace) - stored).max() <= 1e-6


def test_nothing_to_interpolate_from() -> None:
    with pytest.raises(InputError, match="whole sinogram"):
        interpolate_trace(np.zeros((3, 4)), np.ones((3, 4), dtype=bool))
    with pytest.raises(InputError, match="one shape"):
        interpolate_trace(np.zeros((3, 4)), np.ones((4, 3), dtype=bool))
