"""LI, NMAR, BHC and frequency split: figures on the public slice, and what must never change."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from ctrestoration import registry
from ctrestoration.acquisition import Acquisition
from ctrestoration.correct.completion import slices_to_correct
from ctrestoration.correct.prior import tissue_prior, tissue_thresholds
from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.evaluate.metrics import evaluate
from ctrestoration.simulate.metal import simulate_metal
from ctrestoration.volume import Grid, Volume

METHODS = sorted(registry.methods("mar"))


@pytest.fixture(scope="module")
def simulation():
    """Two slices of an oval patient with two bones; titanium in the first slice only."""
    y, x = np.mgrid[-60:60, -60:60]
    hu = np.full((2, 120, 120), -1000, dtype=np.float32)
    hu[:, (x / 52.0) ** 2 + (y / 40.0) ** 2 < 1] = 40
    for center in (-22, 22):
        hu[:, (x - center) ** 2 + (y - 8) ** 2 < 6**2] = 500
    metal = np.zeros(hu.shape, dtype=np.float32)
    for center in (-22, 22):
        metal[0, (np.abs(x - center) < 2) & (np.abs(y - 8) < 8)] = 1
    volume = Volume(hu, Grid.from_parts(hu.shape, (3.0, 3.0, 3.0)), "oval")
    return simulate_metal(volume, {"titanium": metal}, seed=5)


@pytest.mark.parametrize("name", METHODS)
def test_metal_and_metal_free_slices_stay_as_they_are(name, simulation) -> None:
    before = simulation.acquisition
    after = registry.get("mar", name).restore(before)
    assert np.array_equal(after.image.array[1], before.image.array[1])
    assert np.array_equal(after.image.array[before.metal], before.image.array[before.metal])
    assert after.image.grid == before.image.grid
    assert np.isfinite(after.image.array).all()
    assert after.provenance["method"] == name
    assert after.provenance["slices_corrected"] == [0]


@pytest.mark.parametrize(("name", "gain_db"), [("li", 3.0), ("nmar", 5.0)])
def test_interpolating_methods_gain_over_the_uncorrected_image(name, gain_db, simulation) -> None:
    acquisition, reference = simulation.acquisition, simulation.reference.array[:1]
    before = evaluate(acquisition.image.array[:1], reference, acquisition.metal[:1])
    after = evaluate(registry.get("mar", name).restore(acquisition).image.array[:1], reference, acquisition.metal[:1])
    assert after["psnr_db"] > before["psnr_db"] + gain_db
    assert after["rmse_hu"] < before["rmse_hu"]


def test_metal_at_the_skin_does_not_spoil_the_image() -> None:
    """Rays along the skin meet hardly any tissue: a quotient by the prior of the bare air has no bounds."""
    y, x = np.mgrid[-60:60, -60:60]
    hu = np.full((1, 120, 120), -1000, dtype=np.float32)
    hu[:, (np.abs(x) < 40) & (np.abs(y) < 40)] = 40  # straight edges, as where a field of view ends
    metal = ((np.abs(x - 40) < 5) & (np.abs(y) < 5)).astype(np.float32)[None]
    volume = Volume(hu, Grid.from_parts(hu.shape, (3.0, 3.0, 3.0)), "cut off")
    simulation = simulate_metal(volume, {"titanium": metal}, seed=5)
    scan, inside = simulation.acquisition, (np.abs(x) < 38) & (np.abs(y) < 38) & ~simulation.acquisition.metal[0]

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image[0] - simulation.reference.array[0])[inside] ** 2)))

    assert error(registry.get("mar", "nmar").restore(scan).image.array) < error(scan.image.array)


def test_synthesized_voxels_lie_around_the_metal(simulation) -> None:
    restored = registry.get("mar", "nmar").restore(simulation.acquisition)
    assert restored.synthesized[0].any()
    assert not restored.synthesized[1].any()
    assert not (restored.synthesized & simulation.acquisition.metal).any()
    assert not registry.get("mar", "bhc").restore(simulation.acquisition).synthesized.any()


@pytest.mark.parametrize("name", METHODS)
def test_without_metal_the_image_comes_back_with_a_message(name, simulation) -> None:
    volume = simulation.truth
    acquisition = Acquisition.from_image(volume, np.zeros(volume.grid.shape, dtype=bool))
    with pytest.warns(CTRestorationWarning, match="nothing to correct"):
        restored = registry.get("mar", name).restore(acquisition)
    assert np.array_equal(restored.image.array, volume.array)


@pytest.mark.parametrize("name", METHODS)
def test_a_mask_of_metal_that_is_not_there_changes_nothing(name, simulation) -> None:
    """The mask of the slice with metal, on the one without: it lies on tissue and bone."""
    volume = simulation.acquisition.image
    mask = np.flip(simulation.acquisition.metal, axis=0).copy()
    acquisition = Acquisition.from_image(volume.part((slice(1, 2), slice(None), slice(None))), mask[1:])
    with pytest.warns(CTRestorationWarning, match="Slice 0 is unchanged: the metal mask covers nothing above 1800 HU"):
        restored = registry.get("mar", name).restore(acquisition)
    assert np.array_equal(restored.image.array, volume.array[1:])
    assert restored.provenance["slices_corrected"] == []
    assert not restored.synthesized.any()


def test_a_piece_of_the_mask_that_is_metal_somewhere_is_believed_everywhere(simulation) -> None:
    """The tip of a screw may be as dark as bone in its last slice."""
    volume, metal = simulation.acquisition.image, simulation.acquisition.metal
    both = np.broadcast_to(metal[:1], metal.shape)
    restored = registry.get("mar", "li").restore(Acquisition.from_image(volume, both))
    assert restored.provenance["slices_corrected"] == [0, 1]


def test_a_trace_without_mask_needs_metal_in_sight(simulation) -> None:
    """Less than half a voxel of metal leaves a trace and no mask."""
    acquisition = simulation.acquisition
    both = np.broadcast_to(acquisition.trace[:1], acquisition.trace.shape)
    beside = replace(acquisition, trace=both)
    assert slices_to_correct(beside) == [0, 1], "beside a slice with metal"
    alone = beside.part(1, 1)
    with pytest.warns(CTRestorationWarning, match="Slice 0 is unchanged"):
        assert slices_to_correct(alone) == []
    bright = np.array(alone.image.array)
    bright[0, 60, 60] = 2000
    assert slices_to_correct(replace(alone, image=alone.image.replaced(bright))) == [0]


@pytest.mark.parametrize("name", METHODS)
def test_a_correction_is_repeatable_to_the_bit(name, simulation) -> None:
    first, second = (registry.get("mar", name).restore(simulation.acquisition).image.array for _ in range(2))
    assert np.array_equal(first, second)


def test_prior_is_air_water_and_bone() -> None:
    mu = 0.0192
    image = np.zeros((60, 60), dtype=np.float32)
    image[10:50, 10:50] = mu
    image[25:35, 25:35] = 2.2 * mu
    metal = np.zeros(image.shape, dtype=bool)
    metal[40:43, 40:43] = True
    image[metal] = 10 * mu
    low, high = tissue_thresholds(np.where(metal, np.float32(mu), image), mu)
    assert 0 < low <= mu
    assert high >= 1.2 * mu
    prior = tissue_prior(image, metal, mu)
    assert prior[5, 5] == 0
    assert prior[15, 15] == np.float32(mu)
    assert prior[41, 41] == np.float32(mu)
    assert prior[30, 30] == pytest.approx(2.2 * mu, rel=0.01)


def test_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"known ones are .*li.*nmar.*Did you mean 'nmar'"):
        registry.get("mar", "nmarr")


def test_figures_on_the_public_benchmark_slice(shared_data) -> None:
    """Published-protocol PSNR of this slice with exact FBP, measured beforehand (spread 0.2 dB)."""
    import h5py

    from ctrestoration.physics.geometry import ImageGrid
    from ctrestoration.physics.presets import scanner_preset

    folder = shared_data / "syndeeplesion/train/000321_03_01/011"
    masks = np.load(shared_data / "syndeeplesion/train/masks.npy")
    scanner = scanner_preset("syndeeplesion-640")
    grid = ImageGrid((416, 416), (153.6 / 416, 153.6 / 416))
    with h5py.File(folder / "gt.h5") as file:
        truth = np.clip(file["image"][:], 0, 0.5)
    expected = {"li": (35.84, 29.55), "nmar": (37.93, 30.35)}
    for k in (0, 1):
        with h5py.File(folder / f"{k}.h5") as file:
            sinogram, trace = file["ma_sinogram"][:], file["metal_trace"][:] > 0
        metal = np.rot90(masks[..., k] > 0)[None]
        blank = Volume(np.zeros((1, 416, 416)), Grid.from_parts((1, 416, 416), (1.0, 1.0, 1.0)))
        acquisition = Acquisition(
            blank, sinogram[None], trace[None], metal, scanner.geometry(grid), grid, 0.0192, "exact"
        )
        for name, figures in expected.items():
            # A blank start image plus the change is not the correction: reconstruct the completed data instead.
            restored = registry.get("mar", name).restore(_with_image(acquisition)).image.array[0]
            mu = np.clip(np.rot90(0.192 * (1 + restored / 1000), -1), 0, 0.5)
            error = (mu - truth) * (masks[..., k] == 0) / 0.5
            assert -10 * np.log10(np.mean(error**2)) == pytest.approx(figures[k], abs=0.2)


def _with_image(acquisition: Acquisition) -> Acquisition:
    from dataclasses import replace

    from ctrestoration.physics.fbp import fbp

    mu = fbp(acquisition.sinogram, acquisition.geometry, acquisition.image_grid)
    return replace(acquisition, image=acquisition.image.replaced(mu / 0.0192 * 1000 - 1000))


def test_cancel_between_slices_stops_the_work(simulation) -> None:
    from ctrestoration.control import Control
    from ctrestoration.errors import Cancelled

    with warnings.catch_warnings(), pytest.raises(Cancelled):
        registry.get("mar", "li").restore(simulation.acquisition, Control(cancel=lambda: True))
