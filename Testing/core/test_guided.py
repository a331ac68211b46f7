"""Normalized interpolation with a prior that somebody else has drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ctrestoration.correct.completion import SliceData, completed_change, projector_of
from ctrestoration.correct.guided import completed_with, filled_metal
from ctrestoration.correct.methods.nmar import NormalizedMAR
from ctrestoration.errors import InputError
from ctrestoration.simulate.metal import MetalSimulation, simulate_metal
from ctrestoration.volume import Grid, Volume


@pytest.fixture(scope="module")
def simulation() -> MetalSimulation:
    """One slice of an oval patient with bone, and two pieces of metal beside it."""
    y, x = np.mgrid[-32:32, -32:32]
    hu = np.full((1, 64, 64), -1000, dtype=np.float32)
    hu[:, (x / 28.0) ** 2 + (y / 20.0) ** 2 < 1] = 40
    hu[:, x**2 + (y - 6) ** 2 < 36] = 700
    hu[:, (x + 12) ** 2 + (y + 6) ** 2 < 20] = -850
    metal = np.zeros(hu.shape, dtype=np.float32)
    metal[0, 36:39, 24:28] = 1
    metal[0, 36:39, 38:42] = 1
    volume = Volume(hu, Grid.from_parts(hu.shape, (2.4, 2.4, 3.0)), "oval")
    return simulate_metal(volume, {"titanium": metal}, preset="adn-256", seed=1)


def test_the_better_the_prior_the_better_the_image(simulation: MetalSimulation) -> None:
    scan = simulation.acquisition
    data = SliceData(scan, 0, projector_of(scan))
    flat = np.where(simulation.reference.array[0] > -500, 0, -1000).astype(np.float32)
    outside = ~scan.metal[0]

    def error(completed: np.ndarray) -> float:
        image = scan.image.array[0] + completed_change(data, completed)
        return float(np.sqrt(np.mean((image - simulation.reference.array[0])[outside] ** 2)))

    perfect = error(completed_with(data, simulation.reference.array[0]))
    classical = error(NormalizedMAR.complete_slice(data))
    assert perfect < 0.5 * classical
    assert perfect < 0.5 * error(completed_with(data, flat))


def test_what_the_prior_says_in_the_metal_does_not_matter(simulation: MetalSimulation) -> None:
    scan = simulation.acquisition
    data = SliceData(scan, 0, projector_of(scan))
    prior = simulation.reference.array[0].copy()
    expected = completed_with(data, prior)
    prior[scan.metal[0]] = 30000
    np.testing.assert_array_equal(completed_with(data, prior), expected)


def test_metal_is_filled_with_the_tissue_around() -> None:
    image = np.full((40, 40), 50, dtype=np.float32)
    metal = np.zeros(image.shape, dtype=bool)
    metal[5:35, 5:35] = True  # deeper than the Gaussian reaches
    image[metal] = 9000
    np.testing.assert_allclose(filled_metal(image, metal), 50, atol=0.1)
    everywhere = np.ones_like(metal)
    assert filled_metal(image, everywhere) is image
    assert filled_metal(image, ~everywhere) is image


def test_a_slice_without_trace_keeps_its_sinogram(simulation: MetalSimulation) -> None:
    old = simulation.acquisition
    scan = replace(old, trace=np.zeros_like(old.trace), metal=np.zeros_like(old.metal))
    data = SliceData(scan, 0, projector_of(scan))
    np.testing.assert_allclose(completed_with(data, scan.image.array[0]), scan.sinogram[0], atol=1e-4)


def test_each_round_completes_with_the_image_of_the_one_before() -> None:
    torch = pytest.importorskip("torch")
    from ctrestoration.networks.guided import Guided
    from ctrestoration.networks.unet import UNet

    def adds(channels: int, hu: float) -> UNet:
        network = UNet((2, 2), in_channels=channels)
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.constant_(network.head.bias, hu / 1000)
        return network

    seen: list[float] = []

    def complete(prior):
        seen.append(float(prior.mean()))
        return 2 * prior

    batch = {name: torch.zeros(1, 1, 8, 8) for name in ("input", "nmar", "metal")}
    for last, expected in ((None, 25.0), (adds(4, 500.0), 526.0)):
        seen.clear()
        network = Guided.joined(adds(3, 4.0), adds(4, -1.0), last, rounds=3)
        with torch.inference_mode():
            image = network(batch, complete)
        # 4, then 2 * 4 - 1 = 7, then 2 * 7 - 1 = 13; the last round doubles that.
        assert seen == pytest.approx([4.0, 7.0, 13.0], rel=1e-4)
        assert float(image.mean()) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(InputError, match="rounds: 0"):
        Guided(rounds=0)
