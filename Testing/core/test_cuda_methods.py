"""Networks applied on a GPU answer as they do on the CPU. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need PyTorch")
pytest.importorskip("safetensors", reason="weights are safetensors files")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

from core.test_network_methods import KINDS, weights  # noqa: E402

from ctrestoration import registry  # noqa: E402
from ctrestoration.acquisition import Acquisition  # noqa: E402
from ctrestoration.anatomy.organs import segment_organs  # noqa: E402
from ctrestoration.models.methods import inference  # noqa: E402
from ctrestoration.simulate.metal import simulate_metal  # noqa: E402
from ctrestoration.volume import Grid, Volume  # noqa: E402


@pytest.fixture(scope="module")
def acquisition() -> Acquisition:
    """Two slices of an oval patient with a spine and two screws."""
    y, x = np.mgrid[-48:48, -48:48]
    hu = np.full((2, 96, 96), -1000, dtype=np.float32)
    hu[:, (x / 42.0) ** 2 + (y / 32.0) ** 2 < 1] = 40
    hu[:, x**2 + (y - 9) ** 2 < 81] = 500
    hu += np.random.default_rng(0).normal(0, 10, hu.shape).astype(np.float32)
    metal = np.zeros(hu.shape, dtype=np.float32)
    metal[:, 54:58, 36:42] = metal[:, 54:58, 54:60] = 1
    volume = Volume(hu, Grid.from_parts(hu.shape, (3.6, 3.6, 3.0)), "oval")
    return simulate_metal(volume, {"titanium": metal}, preset="adn-256", seed=1).acquisition


def compared(name: str, acquisition: Acquisition) -> tuple[Any, Any]:
    method = registry.get("mar", name)
    made = [method.on_device(device).restore(acquisition) for device in ("cpu", "cuda", "cuda")]
    assert np.array_equal(made[1].image.array, made[2].image.array), "twice the same bits"
    assert made[1].image.grid == acquisition.image.grid
    return made[0], made[1]


@pytest.mark.parametrize("name", ["unet-uc", "unet-mono", "guided-unet", "guided-unet-mono"])
def test_shipped_weights_correct_within_a_tenth_of_a_hounsfield_unit(
    name: str, acquisition: Acquisition, record_property: Any
) -> None:
    cpu, gpu = compared(name, acquisition)
    change = np.abs(cpu.image.array - acquisition.image.array)
    difference = np.abs(gpu.image.array - cpu.image.array)
    record_property("largest_difference_hu", float(difference.max()))
    assert change.max() > 20
    assert difference.max() < 0.1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_network_is_the_same_on_both(
    kind: str, acquisition: Acquisition, tmp_path: Path, record_property: Any
) -> None:
    """Random weights, which make more of small differences than trained ones do."""
    cpu, gpu = compared(str(weights(tmp_path, kind)), acquisition)
    scale = np.abs(cpu.image.array - acquisition.image.array).max()
    difference = np.abs(gpu.image.array - cpu.image.array).max()
    record_property("largest_difference_hu", float(difference))
    record_property("largest_change_hu", float(scale))
    assert difference < max(0.1, 1e-3 * scale)


def test_reconstruction_and_organs_too(acquisition: Acquisition) -> None:
    method = registry.get("reconstruction", "lowdose-unet")
    images = [method.on_device(device).restore(acquisition).image.array for device in ("cpu", "cuda")]
    assert np.abs(images[1] - images[0]).max() < 0.1
    found = [segment_organs(acquisition.image, device=device).labels.array for device in ("cpu", "cuda")]
    assert (found[0] != found[1]).mean() < 1e-4


def test_precision_is_full_while_a_network_is_applied_and_as_before_after_it() -> None:
    torch.manual_seed(0)
    layer, image = torch.nn.Conv2d(64, 64, 3, bias=False), torch.randn(2, 64, 64, 64)
    before = torch.backends.cudnn.allow_tf32
    exact = layer.double()(image.double()).detach()
    layer.float().cuda()
    with inference():
        full = layer(image.cuda()).cpu().double()
    assert float((full - exact).abs().max()) < 5e-5, "TF32 is ten times farther off"
    assert torch.backends.cudnn.allow_tf32 == before
