"""Projection, transpose and FBP against RTK, an engine that others wrote. Skipped where itk-rtk is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from ctrestoration.physics.fbp import fbp
from ctrestoration.physics.geometry import FanFlat, ImageGrid
from ctrestoration.physics.projector import Projector

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import peers

pytestmark = pytest.mark.skipif(
    not (peers.there("itk") and peers.there("rtk")), reason="RTK is the oracle of this test: pip install itk-rtk"
)

GEOMETRY = FanFlat(180, 151, 2.0, np.pi / 180, source_distance=300.0, detector_distance=200.0)
GRID = ImageGrid((96, 96), (1.2, 1.2))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return peers.ellipses(GEOMETRY, GRID)[0]


def test_projection_and_its_transpose(image) -> None:
    projector = Projector(GEOMETRY, GRID)
    ours = projector.forward(image)
    theirs = peers.rtk(GEOMETRY, GRID, image, "fp")()
    assert np.abs(ours - theirs).max() < 1e-5 * theirs.max()
    back = peers.rtk(GEOMETRY, GRID, ours, "bp")()
    # RTK's image ends at the centers of its outermost pixels, ours half a pixel on: the rim differs.
    assert np.abs(projector.adjoint(ours) - back)[2:-2, 2:-2].max() < 1e-5 * back.max()


def test_fbp_inside_the_field_of_view(image) -> None:
    sinogram = Projector(GEOMETRY, GRID).forward(image)
    ours, theirs = fbp(sinogram, GEOMETRY, GRID), peers.rtk(GEOMETRY, GRID, sinogram, "fdk")()
    x, y = GRID.coordinates()
    field = np.hypot(x[None, :], y[:, None]) < 0.95 * GEOMETRY.field_radius
    assert np.sqrt(np.mean((ours - theirs)[field] ** 2)) < 1e-4 * image.max()
