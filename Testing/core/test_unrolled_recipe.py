"""Training unrolled networks on scans that are simulated while training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("numba", reason="simulating slices without numba takes too long for a test")
pytest.importorskip("yaml", reason="training needs PyYAML")

from core.stored_samples import Stored  # noqa: E402

from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.models.weights import load_network  # noqa: E402
from ctrestoration.networks._operator import from_hu, to_hu  # noqa: E402
from ctrestoration.training.engine import fit  # noqa: E402
from ctrestoration.training.launch import create_run  # noqa: E402
from ctrestoration.training.recipes.unrolled import operator_of  # noqa: E402
from ctrestoration.training.runfile import RunConfig  # noqa: E402
from ctrestoration.training.sources import scans  # noqa: E402

SCANS = {"name": "scans", "phantoms": 1, "count": 2, "size": 32, "pixel_mm": 10.0, "clean": 0}
STAGES = {"warm": {"epochs": 2}, "main": {"epochs": 1}}


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored(scans.Config(**SCANS, nmar=True).create())


def config(network: dict[str, Any], **method: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "schema_version": 1,
            "method": {"name": "unrolled", "network": network, "stages": STAGES, **method},
            "data": {"train": {**SCANS, "nmar": True}, "validation": {**SCANS, "nmar": True}, "batch_size": 1},
            "hardware": {"device": "cpu", "threads": 1, "probe_steps": 3},
            "preview": {"every_epochs": 0},
        }
    )  # fmt: skip


def test_a_sample_holds_both_domains_in_one_unit(stored: Stored) -> None:
    sample = stored.samples[0]
    operator = operator_of("adn-256", 32, 10.0)
    target = torch.from_numpy(sample["target"])[None]
    expected = operator.forward((target + 1000.0) * (0.0192 / 1000) * 2550)
    np.testing.assert_allclose(sample["target_sinogram"][None] * (255 / 4), expected.numpy(), rtol=1e-3, atol=1e-2)
    kept = sample["kept"] > 0
    assert np.array_equal(sample["sinogram"][kept], sample["sinogram_li"][kept])
    assert (~kept).any()
    assert sample["prior"].shape == sample["li"].shape == (1, 32, 32)
    assert float(to_hu(torch.tensor(0.192 * 255))) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    "network",
    [
        {"name": "indudonet", "stages": 1, "blocks": 1, "prior": "nmar"},
        {"name": "mepnet", "stages": 1, "blocks": 2},
        {"name": "oscnet", "stages": 1, "blocks": 1, "adaptive": True},
    ],
    ids=lambda network: "-".join(str(value) for value in network.values()),
)
def test_every_unrolled_network_trains_and_is_published(
    stored: Stored, tmp_path: Path, network: dict[str, Any]
) -> None:
    settings = config(network)
    run = create_run(settings, tmp_path / "run")
    fit(settings.method.create(settings), settings, run, sources=(stored, stored))  # type: ignore[arg-type]
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    steps = [record["values"] for record in records if record["kind"] == "train"]
    assert steps[0]["loss"] == pytest.approx(steps[0]["image_loss"] + steps[0]["other_loss"], rel=1e-4)
    assert all(np.isfinite(step["loss"]) for step in steps)
    validated = next(record["values"] for record in records if record["kind"] == "val")
    assert {"psnr_db", "li_psnr_db", "input_psnr_db"} <= set(validated)
    again, about = load_network(run.weights / "g.safetensors")
    assert type(again).__module__.endswith(network["name"])
    assert about["network"]["options"].get("stages") == 1


def test_uncertainty_weights_the_images_of_an_unrolled_network(stored: Stored, tmp_path: Path) -> None:
    losses = {}
    for kind in ("uncertainty", "none"):
        settings = config({"name": "dicdnet", "stages": 1, "blocks": 1}, uncertainty={"map": kind})
        run = create_run(settings, tmp_path / kind)
        fit(settings.method.create(settings), settings, run, sources=(stored, stored))  # type: ignore[arg-type]
        records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        train = [r for r in records if r["kind"] == "train"]
        losses[kind] = {r["step"]: r["values"]["image_loss"] for r in train}
        assert [r["stage"] for r in train] == ["warm"] * 4 + ["main"] * 2
        assert len(list(run.snapshots.glob("warm-*.safetensors"))) == 2
    assert losses["uncertainty"][4] == losses["none"][4]
    assert losses["uncertainty"][5] != losses["none"][5]


def test_every_way_of_weighting_is_the_one_of_its_equation(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image loss with made-up weights W: mean W e^2, mean W^2 e^2, mean e^2 + 3 mean W e^2."""
    from ctrestoration.training.recipes._uncertainty import EarlyNetworks

    batch = {name: torch.from_numpy(np.array(array)[None]) for name, array in stored.samples[0].items()}
    batch["index"] = torch.tensor([0])
    w = torch.rand(batch["target"].shape, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(EarlyNetworks, "weights", lambda *_: w)

    def image_loss(**uncertainty: Any) -> float:
        settings = config({"name": "dicdnet", "stages": 1, "blocks": 1}, uncertainty=uncertainty, middle=0.0)
        method = settings.method.create(settings)
        torch.manual_seed(0)
        parts = method.build(settings)
        parts.modules["g"].eval()
        with torch.no_grad():
            losses = method.step(method.stages[1], "g", batch, parts)
            image = method._run(batch, parts.modules["g"])[0][-1]
        errors.append((image - from_hu(batch["target"])) * (batch["metal"] < 0.5))
        return float(losses.values["image_loss"])

    errors: list[torch.Tensor] = []
    on_square, on_residual = image_loss(weighting="u"), image_loss(weighting="u", weigh="residual")
    beside = image_loss(weighting="rmse_plus_u", strength=3.0)
    plain = image_loss(map="none")
    assert all(torch.equal(one, errors[0]) for one in errors)
    squared = errors[0] ** 2
    for found, factor in ((on_square, w), (on_residual, w**2), (beside, 1 + 3 * w), (plain, torch.ones_like(w))):
        assert found == pytest.approx(float((factor * squared).mean()), rel=1e-5)


def test_wrong_data_are_refused_before_step_one(tmp_path: Path) -> None:
    settings = config({"name": "indudonet", "stages": 1, "blocks": 1, "prior": "nmar"})
    content = settings.model_dump(mode="json")
    content["data"]["train"]["nmar"] = False
    without = RunConfig.model_validate(content)
    with pytest.raises(InputError, match="needs the NMAR prior"):
        without.method.create(without).build(without)
    content["data"]["train"] = {"name": "discs"}
    discs = RunConfig.model_validate(content)
    with pytest.raises(InputError, match="trains on scans"):
        discs.method.create(discs).build(discs)
