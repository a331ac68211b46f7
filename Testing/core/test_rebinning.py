"""Resorted rays equal measured ones; short and helical scans reconstruct."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.physics.fbp import fbp, parker_weights
from ctrestoration.physics.geometry import FanArc, FanFlat, ImageGrid, ParallelBeam
from ctrestoration.physics.projector import Projector
from ctrestoration.physics.rebinning import fan_to_parallel, helical_to_circular, parallel_to_fan

GRID = ImageGrid((96, 96), (1.0, 1.0))
FANS = [
    FanFlat(480, 241, 1.0, source_distance=200.0, detector_distance=120.0),
    FanArc(480, 241, 0.0028, source_distance=200.0, detector_distance=120.0),
]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Two soft disks off center: nothing about it is symmetric."""
    x, y = GRID.coordinates()
    r = [np.hypot(x[None, :] - a, y[:, None] - b) for a, b in ((12, -9), (-15, 20))]
    return (1.0 / (1 + np.exp(r[0] - 14)) + 0.5 / (1 + np.exp(r[1] - 8))).astype(np.float32)


def _nrmse(ours: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((ours - truth) ** 2)) / truth.max())


@pytest.mark.parametrize("fan", FANS, ids=lambda g: g.kind)
def test_fan_to_parallel_and_back(fan, image) -> None:
    measured = Projector(fan, GRID).forward(image)
    resorted, parallel = fan_to_parallel(measured, fan)
    assert _nrmse(resorted, Projector(parallel, GRID).forward(image)) < 0.004
    assert _nrmse(parallel_to_fan(resorted, parallel, fan), measured) < 0.004


def test_a_wrong_sign_would_be_seen(image) -> None:
    fan = FANS[0]
    measured = Projector(fan, GRID).forward(image)
    mirrored, parallel = fan_to_parallel(measured[:, ::-1], fan)
    assert _nrmse(mirrored, Projector(parallel, GRID).forward(image)) > 0.05


@pytest.mark.parametrize("fan", FANS, ids=lambda g: g.kind)
def test_short_scan_reconstructs_what_the_full_scan_does(fan, image) -> None:
    arc = math.pi + 2 * float(np.abs(fan.fan_angles).max()) + 0.02
    short = type(fan)(
        400, fan.n_bins, fan.pitch, 0.3, arc,
        source_distance=fan.source_distance, detector_distance=fan.detector_distance,
    )  # fmt: skip
    back = fbp(Projector(short, GRID).forward(image), short, GRID)
    whole = fbp(Projector(fan, GRID).forward(image), fan, GRID)
    assert _nrmse(back, whole) < 0.01
    x, y = GRID.coordinates()
    core = np.hypot(x[None, :] - 12, y[:, None] + 9) < 8
    assert back[core].mean() == pytest.approx(image[core].mean(), rel=0.005)
    assert parker_weights(short).mean() == pytest.approx(math.pi / arc, rel=0.02)


def test_too_short_a_scan_is_refused(image) -> None:
    short = FanFlat(300, 241, 1.0, 0.0, math.pi, source_distance=200.0, detector_distance=120.0)
    with pytest.raises(InputError, match="half a turn plus the fan"):
        fbp(Projector(short, GRID).forward(image), short, GRID)


@pytest.mark.parametrize("method", ["360li", "180li"])
def test_helical_scan_of_a_patient_changing_along_the_table(method, image) -> None:
    """Attenuation grows linearly along z: linear interpolation must give the slice's own circular scan."""
    fan, feed = FANS[0], 8.0
    circular = Projector(fan, GRID).forward(image)
    views = 3 * fan.n_views
    heights = np.arange(views) * feed / fan.n_views
    helix = np.concatenate([circular] * 3) * (1 + 0.05 * heights)[:, None].astype(np.float32)
    ours = helical_to_circular(helix, fan, feed=feed, start=0.0, position=12.0, method=method)
    assert _nrmse(ours, circular * 1.6) < 0.004


def _ellipsoids(geometry: FanFlat | FanArc, angles: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Exact line integrals [view, bin] of two ellipsoids (center, radius across and along) while the table moves."""
    gamma = geometry.fan_angles[None, :]
    phi, s = angles[:, None] - gamma, geometry.source_distance * np.sin(gamma)
    total = np.zeros(phi.shape)
    for x, y, z, across, along in ((12.0, -9.0, 14.0, 18.0, 25.0), (-15.0, 20.0, 10.0, 10.0, 14.0)):
        radius2 = across**2 * np.maximum(1 - ((heights[:, None] - z) / along) ** 2, 0)
        total += 2 * np.sqrt(np.maximum(radius2 - (s - x * np.cos(phi) - y * np.sin(phi)) ** 2, 0))
    return total.astype(np.float32)


@pytest.mark.parametrize("fan", FANS, ids=lambda g: g.kind)
@pytest.mark.parametrize(("method", "gain"), [("360li", 0.8), ("180li", 0.3)])
def test_helical_scan_of_a_phantom_reconstructs_the_slice(fan, method, gain) -> None:
    """Ellipsoids scanned along a helix of 4 mm a turn: the slice comes back as its own circular scan does."""
    feed, turns = 4.0, 6
    views = np.arange(turns * fan.n_views)
    heights = 2.0 + views * feed / fan.n_views
    angles = fan.first_angle + views * 2 * math.pi / fan.n_views
    helix = _ellipsoids(fan, angles, heights)
    position = 13.0
    ours = helical_to_circular(helix, fan, feed=feed, start=2.0, position=position, method=method)
    circular = _ellipsoids(fan, fan.angles, np.full(fan.n_views, position))
    assert _nrmse(ours, circular) < 0.01
    still = _ellipsoids(fan, angles[: fan.n_views], heights[: fan.n_views] + 2.0 * feed)  # no interpolation at all
    assert _nrmse(ours, circular) < gain * _nrmse(still, circular)
    back, truth = fbp(ours, fan, GRID), fbp(circular, fan, GRID)
    assert _nrmse(back, truth) < 0.03
    x, y = GRID.coordinates()
    core = np.hypot(x[None, :] - 12, y[:, None] + 9) < 12
    assert back[core].mean() == pytest.approx(1.0, abs=0.01)


def test_180li_blurs_less_than_360li(image) -> None:
    fan, feed = FANS[0], 8.0
    circular = Projector(fan, GRID).forward(image)
    heights = np.arange(4 * fan.n_views) * feed / fan.n_views
    helix = np.concatenate([circular] * 4) * (np.abs(heights - 16) < 3)[:, None].astype(np.float32)
    error = {m: _nrmse(helical_to_circular(helix, fan, feed=feed, start=0, position=16.0, method=m), circular)
             for m in ("360li", "180li")}  # fmt: skip
    assert error["180li"] < error["360li"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: fan_to_parallel(s[:5], FANS[0]), "geometry expects"),
        (lambda s: fan_to_parallel(s, FANS[0], order=2), "must be 1 or 3"),
        (lambda s: parallel_to_fan(s, ParallelBeam(480, 241, 1.0), FANS[0]), "full turn"),
        (lambda s: helical_to_circular(s, FANS[0], feed=5, start=0, position=100), "too near an end"),
        (lambda s: helical_to_circular(s, FANS[0], feed=0, start=0, position=1), "feed must be above 0"),
        (lambda s: helical_to_circular(s, FANS[0], feed=5, start=0, position=1, method="li"), "choose 360li or 180li"),
    ],
)
def test_bad_input_is_one_sentence(call, words) -> None:
    with pytest.raises(InputError, match=words):
        call(np.zeros((480, 241), dtype=np.float32))
