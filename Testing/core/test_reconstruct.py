"""Low-dose reconstruction by classical methods, and its command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ctrestoration.cli.main import main
from ctrestoration.control import Control
from ctrestoration.errors import Cancelled, InputError
from ctrestoration.io.images import read_volume, write_volume
from ctrestoration.reconstruct.slices import acquisition_of_image, noise_hu, to_hu, to_mu
from ctrestoration.registry import get
from ctrestoration.simulate.lowdose import simulate_lowdose
from ctrestoration.volume import Grid, Volume


@pytest.fixture(scope="module")
def scan():
    y, x = np.mgrid[-48:48, -48:48]
    hu = np.where(x**2 + y**2 < 40**2, 40.0, -1000.0)
    hu[(x - 10) ** 2 + y**2 < 8**2] = 120.0
    volume = Volume(hu[None].repeat(2, axis=0), Grid.from_parts((2, 96, 96), (3.0, 3.0, 5.0)), "disk")
    return simulate_lowdose(volume, photons=2e4, fine_pixels=96, seed=1)


def rmse(image: np.ndarray, truth: np.ndarray) -> float:
    y, x = np.mgrid[-48:48, -48:48]
    return float(np.sqrt(np.mean((image - truth)[:, x**2 + y**2 < 36**2] ** 2)))


@pytest.mark.parametrize("name", ["fbp-hann", "nlm", "tv"])
def test_every_method_is_better_than_the_sharp_fbp(scan, name) -> None:
    if name in ("nlm", "tv"):
        pytest.importorskip("skimage", reason="scikit-image is not installed")
    restored = get("reconstruction", name).restore(scan.acquisition)
    truth = scan.truth.array
    assert rmse(restored.image.array, truth) < 0.75 * rmse(scan.acquisition.image.array, truth)
    assert restored.image.grid == scan.acquisition.image.grid
    assert abs(float((restored.image.array - truth)[:, 30:66, 30:66].mean())) < 3.0, "no bias in HU"
    assert restored.provenance["method"] == name


def test_the_sharp_fbp_is_the_acquisition_s_own_image(scan) -> None:
    restored = get("reconstruction", "fbp").restore(scan.acquisition)
    np.testing.assert_allclose(restored.image.array, scan.acquisition.image.array, atol=1e-2)


def test_reprojecting_smooths_an_image_as_fine_as_its_detector() -> None:
    y, x = np.mgrid[-160:160, -160:160]
    hu = np.where(x**2 + y**2 < 120**2, 40.0, -1000.0)
    volume = Volume(hu[None], Grid.from_parts((1, 320, 320), (1.0, 1.0, 5.0)), "disk")
    scan = simulate_lowdose(volume, photons=2e4, fine_pixels=320)
    restored = get("reconstruction", "fbp-reproject").restore(acquisition_of_image(scan.acquisition.image))
    inside = x**2 + y**2 < 100**2
    before, after = (image.array[0][inside] for image in (scan.acquisition.image, restored.image))
    assert after.std() < 0.85 * before.std()
    assert after.mean() == pytest.approx(before.mean(), abs=2.0)


def test_the_hu_scale_goes_there_and_back() -> None:
    hu = np.array([-1000.0, 0.0, 40.0, 3071.0], dtype=np.float32)
    np.testing.assert_allclose(to_hu(to_mu(hu, 0.02), 0.02), hu, atol=2e-3)


def test_noise_is_measured_in_hu_correlated_or_not() -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    white = rng.normal(0, 30, (200, 200))
    assert noise_hu(white) == pytest.approx(30, rel=0.12)
    soft = gaussian_filter(white, 1.0)
    assert noise_hu(soft) == pytest.approx(soft.std(), rel=0.3)
    assert noise_hu(np.full((64, 64), -1000.0)) == 0.0


def test_a_clean_image_is_not_touched() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    volume = Volume(np.full((1, 32, 32), 40.0), Grid.from_parts((1, 32, 32)))
    for name in ("nlm", "tv"):
        assert np.array_equal(
            get("reconstruction", name).restore(acquisition_of_image(volume)).image.array, volume.array
        )


def test_a_method_that_needs_a_sinogram_says_so(scan) -> None:
    image_only = acquisition_of_image(scan.acquisition.image)
    with pytest.raises(InputError, match=r"reconstructs from a sinogram .* such as nlm"):
        get("reconstruction", "fbp-hann").restore(image_only)


def test_bm3d_is_never_installed_for_anybody(scan) -> None:
    try:
        import bm3d  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="forbids commercial use"):
            get("reconstruction", "bm3d").restore(scan.acquisition)
    else:
        pytest.skip("bm3d is installed here")


def test_a_cancel_takes_effect_between_slices(scan) -> None:
    seen: list[float] = []
    control = Control(lambda fraction, message: seen.append(fraction), lambda: len(seen) >= 2)
    with pytest.raises(Cancelled):
        get("reconstruction", "fbp-hann").restore(scan.acquisition, control)


def test_the_command_keeps_geometry_and_refuses_what_cannot_be(scan, tmp_path, capsys) -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    direction = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=float)
    grid = Grid.from_parts((2, 96, 96), (3.0, 3.0, 5.0), (1.0, 2.0, 3.0), direction)
    ct, out, scanned = tmp_path / "ct.nrrd", tmp_path / "out.nrrd", tmp_path / "scan.npz"
    write_volume(Volume(scan.acquisition.image.array, grid), ct)
    scan.acquisition.save(scanned)
    assert main(["reconstruct", str(ct), str(out), "--method", "nlm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["data"] == "image only"
    assert read_volume(out).grid.mismatch(grid) is None
    refused = {
        ("--method", "nlmm"): "Did you mean 'nlm'",
        ("--method", "fbp-hann"): "give the acquisition",
        ("--method", "nlm", "--acquisition", str(scanned)): "was not made from",
        ("--method", "nlm", "--uncertainty", str(tmp_path / "u.nrrd")): "gives no uncertainty",
        ("--method", "nlm", "--uncertainty", str(out)): "asked for twice",
    }
    for words, message in refused.items():
        assert main(["reconstruct", str(ct), str(out), *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["reconstruct", str(ct), str(ct), "--method", "nlm"]) == 2
    assert "never overwritten" in capsys.readouterr().err
