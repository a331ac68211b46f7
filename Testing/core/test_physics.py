"""Projector and FBP against closed forms, against each other, and against the stored benchmark slice."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.physics.fbp import WINDOWS, fbp
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid, ParallelBeam
from ctrestoration.physics.projector import Projector

GRID = ImageGrid((96, 110), (0.8, 0.7))
GEOMETRIES = [
    ParallelBeam(360, 181, 0.5),
    ParallelBeam(360, 181, 0.5, offset=0.25),
    FanFlat(400, 201, 1.0, source_distance=200.0, detector_distance=150.0),
    FanArc(400, 201, 0.0027, source_distance=200.0, detector_distance=150.0),
]


def _disk(grid: ImageGrid, radius: float, center: tuple[float, float]) -> np.ndarray:
    """Share of every pixel inside a disk, from 8x8 samples."""
    x, y = grid.coordinates()
    offsets = (np.arange(8) - 3.5) / 8
    xs = (x[:, None] + offsets * grid.spacing[1]).ravel() - center[0]
    ys = (y[:, None] + offsets * grid.spacing[0]).ravel() - center[1]
    inside = ys[:, None] ** 2 + xs[None, :] ** 2 < radius**2
    return inside.reshape(grid.shape[0], 8, grid.shape[1], 8).mean(axis=(1, 3)).astype(np.float32)


def _chords(geometry: Geometry, radius: float, center: tuple[float, float]) -> np.ndarray:
    cosine, sine, s = np.moveaxis(geometry.rays(), -1, 0)
    away = s - center[0] * cosine - center[1] * sine
    return 2 * np.sqrt(np.maximum(radius**2 - away**2, 0))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: f"{g.kind} {g.offset}")
def test_projection_of_a_disk_is_its_chord(geometry) -> None:
    fine = ImageGrid((384, 440), (0.2, 0.175))
    exact = _chords(geometry, 25.0, (6.0, -4.0))
    ours = Projector(geometry, fine).forward(_disk(fine, 25.0, (6.0, -4.0)))
    assert np.sqrt(np.mean((ours - exact) ** 2)) / exact.max() < 0.0045


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: f"{g.kind} {g.offset}")
@pytest.mark.parametrize("engine", ["numba", "numpy"])
def test_adjoint_is_the_transpose_for_zero_mean_vectors(geometry, engine) -> None:
    if engine == "numba":
        pytest.importorskip("numba", reason="the fast kernels need numba")
    projector = Projector(geometry, GRID, engine=engine)
    random = np.random.default_rng(1)
    image = random.standard_normal(GRID.shape).astype(np.float32)
    sinogram = random.standard_normal((geometry.n_views, geometry.n_bins)).astype(np.float32)
    left = np.vdot(projector.forward(image).astype(float), sinogram)
    right = np.vdot(image.astype(float), projector.adjoint(sinogram))
    scale = np.linalg.norm(projector.forward(image)) * np.linalg.norm(sinogram)
    assert abs(left - right) / scale < 1e-6


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: f"{g.kind} {g.offset}")
def test_uniform_disk_comes_back_within_half_a_percent(geometry) -> None:
    image = _disk(GRID, 25.0, (6.0, -4.0)) * 0.02
    back = fbp(Projector(geometry, GRID).forward(image), geometry, GRID)
    core = _disk(GRID, 20.0, (6.0, -4.0)) == 1
    assert back[core].mean() == pytest.approx(0.02, rel=0.005)
    assert abs(back[_disk(GRID, 29.0, (6.0, -4.0)) == 0].mean()) < 0.02 * 0.01


def test_numpy_kernels_give_the_same_numbers() -> None:
    pytest.importorskip("numba", reason="compares numpy with numba")
    geometry = GEOMETRIES[2]
    fast, slow = Projector(geometry, GRID), Projector(geometry, GRID, engine="numpy")
    image = np.random.default_rng(2).random((2, *GRID.shape), dtype=np.float32)
    sinogram = fast.forward(image)
    np.testing.assert_allclose(slow.forward(image), sinogram, rtol=1e-5, atol=1e-5 * sinogram.max())
    back = fast.adjoint(sinogram)
    np.testing.assert_allclose(slow.adjoint(sinogram), back, rtol=1e-5, atol=1e-5 * back.max())


def test_batch_and_threads_do_not_change_a_bit() -> None:
    geometry = GEOMETRIES[2]
    images = np.random.default_rng(3).random((3, *GRID.shape), dtype=np.float32)
    together = Projector(geometry, GRID).forward(images)
    alone = np.stack([Projector(geometry, GRID, threads=1).forward(image) for image in images])
    assert np.array_equal(together, alone)
    assert np.array_equal(Projector(geometry, GRID).adjoint(together)[1], Projector(geometry, GRID).adjoint(alone[1]))


def test_some_rays_alone_give_the_same_numbers() -> None:
    geometry = GEOMETRIES[3]
    images = np.random.default_rng(5).random((2, *GRID.shape), dtype=np.float32)
    rays = np.random.default_rng(6).random((geometry.n_views, geometry.n_bins)) < 0.1
    projector = Projector(geometry, GRID)
    assert np.array_equal(projector.forward_rays(images, rays), projector.forward(images)[:, rays])
    with pytest.raises(InputError, match="rays have shape"):
        projector.forward_rays(images, rays[:3])


def test_windows_differ_in_noise_but_not_in_level() -> None:
    geometry = GEOMETRIES[0]
    image = _disk(GRID, 25.0, (0.0, 0.0))
    clean = Projector(geometry, GRID).forward(image)
    noisy = clean + np.random.default_rng(4).normal(0, 0.5, clean.shape).astype(np.float32)
    core = _disk(GRID, 20.0, (0.0, 0.0)) == 1
    noise = []
    for window in WINDOWS:
        back = fbp(noisy, geometry, GRID, window=window)
        assert back[core].mean() == pytest.approx(1.0, rel=0.01)
        noise.append(back[core].std())
    assert noise == sorted(noise, reverse=True)


def test_description_round_trip() -> None:
    for geometry in GEOMETRIES:
        assert Geometry.from_dict(geometry.to_dict()) == geometry


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ParallelBeam(0, 10, 1.0), "at least 1 view"),
        (lambda: ParallelBeam(10, 10, -1.0), "pitch must be positive"),
        (lambda: FanFlat(10, 10, 1.0), "source distance above 0"),
        (lambda: ImageGrid((4, 4), (0.0, 1.0)), "positive spacings"),
        (lambda: Projector(GEOMETRIES[0], GRID).forward(np.zeros((4, 4))), "geometry expects"),
        (lambda: fbp(np.zeros((3, 4)), GEOMETRIES[0], GRID), "geometry expects"),
        (lambda: fbp(np.zeros((360, 181)), GEOMETRIES[0], GRID, window="ham"), "choose ram-lak"),
        (lambda: fbp(np.zeros((360, 181)), GEOMETRIES[0], GRID, mode="odl-compat"), "flat fan beam only"),
        (lambda: Geometry.from_dict({"kind": "cone"}), "known ones are parallel"),
    ],
)
def test_bad_input_is_one_sentence(call, words) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_stored_benchmark_sinogram_reconstructs_to_the_stored_image(shared_data) -> None:
    import h5py

    pitch = 0.369231
    geometry = FanFlat(
        640,
        641,
        1.835609 * pitch,
        first_angle=np.pi / 640,
        source_distance=1075 * pitch,
        detector_distance=1075 * pitch,
    )
    with h5py.File(shared_data / "syndeeplesion/train/000321_03_01/011/gt.h5") as file:
        sinogram, stored = file["poly_sinogram"][:], file["poly_CT"][:]
    ours = np.rot90(fbp(sinogram, geometry, ImageGrid((416, 416), (pitch, pitch)), mode="odl-compat"), -1) * 10
    error = np.clip(ours, 0, 0.5) - np.clip(stored, 0, 0.5)
    assert -10 * np.log10(np.mean((error / 0.5) ** 2)) > 65
