"""Sinogram inpainting: a network without a first view, hard consistency, two stages of training, and the method."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("numba", reason="simulating slices without numba takes too long for a test")
pytest.importorskip("yaml", reason="training needs PyYAML")

from core.stored_samples import Stored  # noqa: E402

from ctrestoration import registry  # noqa: E402
from ctrestoration.acquisition import Acquisition  # noqa: E402
from ctrestoration.correct.inpainting import CHANNELS, Neighborhoods  # noqa: E402
from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.models.weights import save_weights  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.simulate.metal import simulate_metal  # noqa: E402
from ctrestoration.training.data import cases  # noqa: E402
from ctrestoration.training.engine import fit  # noqa: E402
from ctrestoration.training.launch import create_run  # noqa: E402
from ctrestoration.training.runfile import RunConfig  # noqa: E402
from ctrestoration.training.sources import sinograms  # noqa: E402
from ctrestoration.volume import Grid, Volume  # noqa: E402

SOURCE = {"name": "sinograms", "phantoms": 1, "count": 2, "size": 32, "pixel_mm": 10.0}
NETWORK = {"name": "sinogram_unet", "widths": [2, 4]}


@pytest.fixture(scope="module")
def stored() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "_phantom_spine", cache(cases._phantom_spine))
        yield Stored(sinograms.Config(**SOURCE).create())


@pytest.fixture(scope="module")
def acquisition() -> Acquisition:
    """Four slices of an oval patient, metal in the two middle ones."""
    y, x = np.mgrid[-24:24, -24:24]
    hu = np.full((4, 48, 48), -1000, dtype=np.float32)
    hu[:, (x / 21.0) ** 2 + (y / 16.0) ** 2 < 1] = 40
    metal = np.zeros(hu.shape, dtype=np.float32)
    metal[1:3, 20:24, 18:22] = 1
    volume = Volume(hu, Grid.from_parts(hu.shape, (3.2, 3.2, 3.0)), "oval")
    return simulate_metal(volume, {"titanium": metal}, preset="adn-256", seed=1).acquisition


def run_file(**method: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "schema_version": 1,
            "method": {
                "name": "inpainting",
                "network": NETWORK,
                "d_width": 2,
                "stages": {"pretrain_g": {"epochs": 2}, "adversarial": {"epochs": 1, "frozen": ["g.unet.down.*"]}},
                **method,
            },
            "data": {"train": SOURCE, "validation": SOURCE, "batch_size": 1},
            "optim": {"lr": 1e-2},
            "hardware": {"device": "cpu", "threads": 1, "probe_steps": 3},
            "preview": {"every_epochs": 0},
        }
    )


def weights(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(2)
    options = {"widths": [2, 4], "in_channels": CHANNELS}
    network = build_network("sinogram_unet", options)
    for parameter, value in changes.items():
        getattr(torch.nn.init, f"{value}_")(network.head.get_parameter(parameter))
    path = folder / "inpainting.safetensors"
    about = {"name": "inpainting", "task": "mar", "network": {"name": "sinogram_unet", "options": options}}
    save_weights(network, path, about, "# card")
    return path


def test_no_view_is_the_first_one() -> None:
    torch.manual_seed(0)
    network = build_network("sinogram_unet", {"widths": [4, 8, 8], "in_channels": 2}).eval()
    sinogram = torch.randn(1, 2, 40, 33)
    plain, turned = network(sinogram), network(sinogram.roll(12, dims=-2))
    assert torch.allclose(turned, plain.roll(12, dims=-2), atol=1e-5)
    inside = network.unet(sinogram)
    assert float((inside - plain).detach()[..., :4, :].abs().max()) > 1e-2, (
        "padded by zeros, the first views would differ"
    )


def test_a_sample_is_what_the_method_sees_and_the_scan_without_metal(stored: Stored) -> None:
    for sample in stored.samples:
        assert sample["filled"].shape == sample["trace"].shape == sample["path"].shape == (3, 320, 197)
        trace = sample["trace"][1] > 0
        assert trace.any()
        assert np.array_equal(sample["sinogram"][0][~trace], sample["target_sinogram"][0][~trace]), "same photons"
        assert np.array_equal(sample["filled"][1][~trace], sample["sinogram"][0][~trace])
        assert sample["path"][1][~trace].max() < 1e-3 * sample["path"][1].max() + 1e-3
        errors = [np.abs(sample[name] - sample["target_sinogram"])[0][trace].mean() for name in ("sinogram",)]
        nmar = np.abs(sample["filled"][1] - sample["target_sinogram"][0])[trace].mean()
        assert nmar < errors[0]


def test_both_stages_train_and_the_weights_are_a_method(
    stored: Stored, acquisition: Acquisition, tmp_path: Path
) -> None:
    settings = run_file()
    run = create_run(settings, tmp_path / "run")
    fit(settings.method.create(settings), settings, run, sources=(stored, stored))  # type: ignore[arg-type]
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    train = [record["values"] for record in records if record["kind"] == "train"]
    assert {"trace_mse", "image_mse"} <= set(train[0])
    assert {"d_loss", "g_adversarial", "trace_l1", "image_mse"} <= set(train[-1])
    validated = [record["values"] for record in records if record["kind"] == "val"]
    assert validated
    assert all({"trace_rmse", "nmar_trace_rmse", "psnr_db", "nmar_psnr_db"} <= set(value) for value in validated)
    snapshots = sorted(run.checkpoints.glob("step_*.pt"))
    assert snapshots
    found = registry.get("mar", str(run.weights / "g.safetensors")).restore(acquisition)
    assert np.array_equal(found.image.array[[0, 3]], acquisition.image.array[[0, 3]])


def test_frozen_layers_do_not_move_in_the_adversarial_stage(stored: Stored) -> None:
    from ctrestoration.training.update import owned

    settings = run_file()
    method = settings.method.create(settings)
    parts = method.build(settings)
    moving = {name for name, _ in owned(parts, "g", method.stages[1])}
    assert moving
    assert not any(name.startswith("g.unet.down.") for name in moving)
    assert method.stages[1].metric == "trace_rmse", "no discriminator chooses the weights"


def test_losses_are_zero_for_the_truth_and_reach_the_network(stored: Stored) -> None:
    settings = run_file(stages={"pretrain_g": {"epochs": 1}, "adversarial": None})
    method = settings.method.create(settings)
    parts = method.build(settings)
    assert set(parts.modules) == {"g"}
    batch = {name: torch.from_numpy(np.array(array)[None]) for name, array in stored.samples[0].items()}
    fresh = method.complete(batch, parts)
    outside = batch["trace"][:, 1:2] < 0.5
    assert torch.equal(fresh[outside], batch["sinogram"][outside])
    assert torch.equal(fresh[~outside], batch["filled"][:, 1:2][~outside]), "a fresh network adds nothing to NMAR"
    losses = method.step(method.stages[0], "g", batch, parts)
    losses.total.backward()
    assert float(parts.modules["g"].head.weight.grad.abs().max()) > 0
    perfect = {**batch, "filled": batch["target_sinogram"].expand(-1, 3, -1, -1)}
    values = method.step(method.stages[0], "g", perfect, parts).values
    assert values["trace_mse"].item() == pytest.approx(0.0, abs=1e-9)
    assert values["image_mse"].item() == pytest.approx(0.0, abs=1e-9)
    ideal = method.restore(perfect, parts)
    kept = batch["metal"] < 0.5
    assert torch.allclose(ideal[kept], batch["target"][kept], atol=1.0), "the FBP of the target is the target"


def test_hard_consistency_of_the_method(acquisition: Acquisition, tmp_path: Path) -> None:
    answer, _ = registry.get("mar", str(weights(tmp_path))).open(acquisition).slice(1)
    measured, trace = acquisition.sinogram[1], acquisition.trace[1]
    assert np.array_equal(answer.sinogram[~trace].view(np.uint32), measured[~trace].view(np.uint32))
    assert (answer.sinogram[trace] != measured[trace]).all()


def test_a_network_that_adds_nothing_is_nmar(acquisition: Acquisition, tmp_path: Path) -> None:
    method = registry.get("mar", str(weights(tmp_path, weight="zeros", bias="zeros")))
    found, nmar = method.with_uncertainty().restore(acquisition), registry.get("mar", "nmar").restore(acquisition)
    np.testing.assert_allclose(found.image.array, nmar.image.array, atol=1e-3)
    assert found.uncertainty.array.max() < 1e-3
    assert np.array_equal(found.synthesized, nmar.synthesized)


def test_neighbors_carry_context_and_ends_repeat_themselves(acquisition: Acquisition) -> None:
    around = Neighborhoods(acquisition)
    first, second = around.slice(0), around.slice(1)
    assert np.array_equal(first.filled[0], first.filled[1])
    assert np.array_equal(first.filled[2], second.filled[1])
    assert not first.trace[1].any()
    assert first.trace[2].any()
    assert second.channels(0.5).shape == (CHANNELS, 320, 197)
    np.testing.assert_allclose(second.channels(0.5)[:3], 0.5 * second.filled, rtol=1e-6)


def test_neighbors_of_a_clinical_ct_are_projected_when_needed(acquisition: Acquisition) -> None:
    clinical = Acquisition.from_image(acquisition.image, acquisition.metal, preset="adn-256")
    assert not clinical.sinogram[0].any()
    assert Neighborhoods(clinical).slice(1).filled[0].max() > 1


def test_what_cannot_be_inpainted_is_refused(acquisition: Acquisition, tmp_path: Path) -> None:
    half = replace(acquisition, geometry=replace(acquisition.geometry, arc=3.9))
    with pytest.raises(InputError, match="views all around"):
        registry.get("mar", str(weights(tmp_path))).restore(half)
    content = run_file().model_dump(mode="json")
    content["data"]["train"] = {"name": "discs"}
    wrong = RunConfig.model_validate(content)
    with pytest.raises(InputError, match="trains on sinograms"):
        wrong.method.create(wrong).build(wrong)
    content["data"]["train"] = {**SOURCE, "preset": "lodopab"}
    wrong = RunConfig.model_validate(content)
    with pytest.raises(InputError, match="full turn"):
        wrong.method.create(wrong).build(wrong)
