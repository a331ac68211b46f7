"""The classical path on what 3D Slicer bundles: numpy, scipy and SimpleITK, no numba and no torch."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

CHAIN = """
import sys, warnings
import numpy as np
if sys.argv[1] == "blocked":
    sys.modules["numba"] = sys.modules["torch"] = None
from ctrestoration import registry
from ctrestoration.simulate.lowdose import simulate_lowdose
from ctrestoration.simulate.metal import simulate_metal
from ctrestoration.volume import Grid, Volume
y, x = np.mgrid[-32:32, -32:32]
hu = np.where((x / 28.0) ** 2 + (y / 22.0) ** 2 < 1, 40.0, -1000.0).astype(np.float32)
hu[x**2 + (y - 10) ** 2 < 16] = 700
metal = np.zeros((2, 64, 64), dtype=np.float32)
metal[1, 30:40, 30:33] = 1
volume = Volume(np.stack([hu, hu]), Grid.from_parts((2, 64, 64), (4.0, 4.0, 3.0)), "oval")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    acquisition = simulate_metal(volume, {"Ti": metal}, preset="adn-256").acquisition
    results = {name: registry.get("mar", name).restore(acquisition).image.array for name in ("li", "nmar")}
    low = simulate_lowdose(volume, fine_pixels=64).acquisition
np.savez(sys.argv[2], sinogram=acquisition.sinogram, image=acquisition.image.array, low=low.sinogram, **results)
print(sum("numba is not installed" in str(each.message) for each in said))
"""


def _run(mode: str, path: Path) -> tuple[dict[str, np.ndarray], str]:
    done = subprocess.run(
        [sys.executable, "-c", CHAIN, mode, str(path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as stored:
        return dict(stored), done.stdout.split()[0]


def test_same_numbers_with_one_notice(tmp_path) -> None:
    pytest.importorskip("numba", reason="compares with numba")
    bare, notices = _run("blocked", tmp_path / "bare.npz")
    full, silence = _run("free", tmp_path / "full.npz")
    assert (notices, silence) == ("1", "0")
    for name, expected in full.items():
        # Sums in another order differ in the last digits, and so now and then one photon more or less is counted.
        scale = np.abs(expected).max()
        apart = np.abs(bare[name] - expected) / scale
        assert np.median(apart) < 1e-6, name
        assert np.percentile(apart, 99) < 1e-5, name


def test_the_notice_is_a_warning_of_ours_said_once(monkeypatch) -> None:
    from ctrestoration.errors import CTRestorationWarning
    from ctrestoration.physics import kernels

    named = kernels._named

    def without_numba(engine: str):
        if engine == "numba":
            raise ImportError("No module named 'numba'")
        return named(engine)

    monkeypatch.setattr(kernels, "_named", without_numba)
    kernels._automatic.cache_clear()
    try:
        with pytest.warns(CTRestorationWarning, match="projections run on numpy, with the same numbers"):
            assert not kernels.kernels().HAS_LANES
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kernels.kernels()
    finally:
        kernels._automatic.cache_clear()
