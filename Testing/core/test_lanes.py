"""Rays walked in step through turned copies: the numbers of rays walked one by one, whatever the symmetry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ctrestoration.physics import fbp, lanes, views
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid, ParallelBeam
from ctrestoration.physics.projector import Projector

pytest.importorskip("numba", reason="walks in step need numba")

FAN = {"source_distance": 200.0, "detector_distance": 120.0}
SQUARE, OBLONG = ImageGrid((64, 64), (1.0, 1.0)), ImageGrid((64, 80), (1.0, 0.9))
CASES = {
    "fan, mid-points": (FanFlat(96, 101, 1.5, math.pi / 96, **FAN), SQUARE, [8]),
    "fan, first view at 0": (FanArc(96, 101, 0.006, **FAN), SQUARE, [8]),
    "parallel": (ParallelBeam(60, 91, 1.1, 0.5 * math.pi / 60), SQUARE, [8]),
    "quarter turns only": (FanArc(96, 101, 0.006, offset=-1.25, **FAN), SQUARE, [4]),
    "no quarter turns": (FanFlat(96, 101, 1.5, math.pi / 96, **FAN), OBLONG, [4, 4]),
    "oblong pixels": (FanFlat(96, 101, 1.5, math.pi / 96, **FAN), ImageGrid((64, 64), (1.0, 0.9)), [4, 4]),
    "larger than the detector": (FanFlat(96, 41, 1.5, math.pi / 96, **FAN), SQUARE, [8]),
    "sparse": (ParallelBeam(10, 91, 1.1, 0.5 * math.pi / 60), SQUARE, [4]),
    "short scan": (FanFlat(97, 101, 1.5, 0.2, 4.1, **FAN), SQUARE, []),
}


@pytest.fixture(params=list(CASES))
def case(request) -> tuple[Geometry, ImageGrid]:
    geometry, grid, copies = CASES[request.param]
    assert [len(walks.copies) for walks in lanes.symmetric_walks(geometry, grid)] == copies
    return geometry, grid


def test_same_numbers_as_one_by_one(case) -> None:
    geometry, grid = case
    random = np.random.default_rng(0)
    images = random.standard_normal((3, *grid.shape)).astype(np.float32)
    fast, plain = Projector(geometry, grid), Projector(geometry, grid, engine="numpy")
    sinograms = plain.forward(images)
    np.testing.assert_allclose(fast.forward(images), sinograms, rtol=0, atol=1e-5 * np.abs(sinograms).max())
    back = plain.adjoint(sinograms)
    np.testing.assert_allclose(fast.adjoint(sinograms), back, rtol=0, atol=1e-5 * np.abs(back).max())


def test_every_ray_is_served_once(case) -> None:
    geometry, grid = case
    served = [walks.rays[walks.rays >= 0] for walks in lanes.symmetric_walks(geometry, grid)]
    if served:
        numbers = np.concatenate(served)
        assert len(np.unique(numbers)) == len(numbers)
        ranges = Projector(geometry, grid).ranges
        assert len(numbers) == int((ranges[:, 1] < ranges[:, 2]).sum())


def test_exact_transpose(case) -> None:
    geometry, grid = case
    projector = Projector(geometry, grid)
    random = np.random.default_rng(1)
    image = random.standard_normal(grid.shape).astype(np.float32)
    sinogram = random.standard_normal((geometry.n_views, geometry.n_bins)).astype(np.float32)
    forward = projector.forward(image).astype(float)
    difference = np.vdot(forward, sinogram) - np.vdot(image.astype(float), projector.adjoint(sinogram))
    assert abs(difference) / np.linalg.norm(forward) / np.linalg.norm(sinogram) < 1e-6


def test_batch_threads_and_choice_of_rays_do_not_change_a_bit(case) -> None:
    geometry, grid = case
    random = np.random.default_rng(2)
    images = random.random((5, *grid.shape), dtype=np.float32)
    many, alone = Projector(geometry, grid), Projector(geometry, grid, threads=1)
    sinograms = many.forward(images)
    assert np.array_equal(sinograms, np.stack([alone.forward(image) for image in images]))
    back = many.adjoint(sinograms)
    assert np.array_equal(back, np.stack([alone.adjoint(sinogram) for sinogram in sinograms]))
    some = random.random((geometry.n_views, geometry.n_bins)) < 0.1
    assert np.array_equal(many.forward_rays(images, some), sinograms[:, some])


def test_a_ray_scanned_twice_is_projected_twice() -> None:
    twice = ParallelBeam(120, 91, 1.1, 0.5 * math.pi / 60, 2 * math.pi)
    image = np.random.default_rng(3).random(SQUARE.shape, dtype=np.float32)
    sinogram = Projector(twice, SQUARE).forward(image)
    np.testing.assert_allclose(sinogram[60:], sinogram[:60, ::-1], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", list(CASES))
def test_views_backprojected_together_give_the_numbers_of_one_by_one(name, monkeypatch) -> None:
    geometry, grid, copies = CASES[name]
    if not copies:
        geometry = FanFlat(97, 101, 1.5, 0.2, **FAN)  # a full turn that no quarter maps onto itself
    filtered = np.random.default_rng(4).standard_normal((3, geometry.n_views, geometry.n_bins)).astype(np.float32)
    modes = ["exact", "odl-compat"] if isinstance(geometry, FanFlat) else ["exact"]
    groups = views.symmetric_views(geometry, grid)
    assert (groups is None) == (name in ("sparse", "short scan"))
    for mode in modes:
        together = fbp.fbp(filtered, geometry, grid, mode=mode)
        assert np.array_equal(together, np.stack([fbp.fbp(each, geometry, grid, mode=mode) for each in filtered]))
        with monkeypatch.context() as patch:
            patch.setattr(fbp, "symmetric_views", lambda *_: None)
            alone = fbp.fbp(filtered, geometry, grid, mode=mode)
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(alone).max())
