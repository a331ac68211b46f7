"""What image networks look at beside the uncorrected image, and what they must leave alone."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("numba", reason="simulating slices without numba takes too long for a test")
pytest.importorskip("yaml", reason="training needs PyYAML")

from pydantic import ValidationError  # noqa: E402

from ctrestoration import registry  # noqa: E402
from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.io.pairs import PairReader, read_manifest, verify_pairs  # noqa: E402
from ctrestoration.models.weights import load_network  # noqa: E402
from ctrestoration.networks._images import network_inputs  # noqa: E402
from ctrestoration.training.data import cases  # noqa: E402
from ctrestoration.training.engine import fit  # noqa: E402
from ctrestoration.training.keys import Key, generator  # noqa: E402
from ctrestoration.training.launch import create_run  # noqa: E402
from ctrestoration.training.runfile import RunConfig  # noqa: E402
from ctrestoration.training.sources import pairs, simulated  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def phantoms_made_once() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "_phantom_spine", cache(cases._phantom_spine))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pairs"
    words = ["--phantoms", "3", "--cases", "2", "--slices", "1", "--size", "32", "--pixel", "10", "--seed", "4"]
    assert main(["dataset", "build", str(folder), *words, "--with", "nmar,li", "--clean", "1"]) == 0
    return folder


def run_file(folder: Path, **method: Any) -> RunConfig:
    network = {"name": "unet", "widths": [2, 4]}
    return RunConfig.model_validate(
        {
            "schema_version": 1,
            "method": {"name": "supervised", "network": network, "stages": {"main": {"epochs": 1}}, **method},
            "data": {
                "train": {"name": "pairs", "folder": folder},
                "validation": {"name": "pairs", "folder": folder, "split": "validation"},
                "batch_size": 2,
            },
            "hardware": {"device": "cpu", "threads": 1, "probe_steps": 3},
            "preview": {"every_epochs": 0},
        }
    )


def test_stored_images_are_those_of_the_methods(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pixels of 10 mm never fill with metal: methods would see none.
    monkeypatch.setattr("ctrestoration.anatomy.metal.LOWEST_THRESHOLD_HU", 0.0)
    monkeypatch.setattr("ctrestoration.correct.completion.LOWEST_THRESHOLD_HU", 0.0)
    assert verify_pairs(built) == []
    manifest = read_manifest(built)
    assert list(manifest["types"]) == ["input", "target", "metal", "nmar", "li"]
    case = manifest["splits"]["validation"]["shards"][0]["cases"][0]
    patient = cases.phantom_patient(int(case["patient"].removeprefix("phantom-")), 32, 10.0)
    pair = PairReader(built, "validation").read(0)
    for index in range(3):
        draw = generator(4, "case", index, 0)
        (scan,), facts = cases.scan_case(patient, draw, "clinical", 1)
        if facts["noise_seed"] == case["noise_seed"]:
            break
    else:
        pytest.fail("no case of the manifest can be repeated")
    for name in ("nmar", "li"):
        expected = registry.get("mar", name).restore(scan.simulation.acquisition).image.array[0]
        np.testing.assert_allclose(pair[name], np.maximum(expected, -1024), atol=0.51)


def test_pairs_without_artifact_are_for_training_only(built: Path) -> None:
    shards = {split: content["shards"] for split, content in read_manifest(built)["splits"].items()}
    assert all(all(case["without_artifact"]) for shard in shards["train"] for case in shard["cases"])
    assert not any("without_artifact" in case for shard in shards["test"] for case in shard["cases"])
    read = [PairReader(built, "train").read(index) for index in range(2)]
    assert all(np.array_equal(pair["input"], pair["target"]) for pair in read)
    (free,) = (pair for pair in read if pair["metal"].max() == 0)  # of this seed; the other kept its mask
    assert np.array_equal(free["nmar"], free["input"])


def test_samples_without_artifact_keep_their_mask_half_of_the_time() -> None:
    settings = {"name": "simulated", "phantoms": 1, "size": 32, "pixel_mm": 10.0, "corrected": ["li"]}
    source = simulated.Config(**settings, clean=1.0).create()
    samples = [source.sample(Key(1, "main", 0, index)) for index in range(12)]
    assert all(np.array_equal(sample["input"], sample["target"]) for sample in samples)
    masked = [sample for sample in samples if sample["metal"].max() > 0]
    assert 0 < len(masked) < len(samples)
    assert any(np.abs(sample["li"] - sample["input"]).max() > 1 for sample in masked), "LI still interpolates"
    free = [sample for sample in samples if sample["metal"].max() == 0]
    assert all(np.array_equal(sample["li"], sample["input"]) for sample in free)
    kept = source.sample(Key(1, "validation", 0, 0))
    assert not np.array_equal(kept["input"], kept["target"])
    never = simulated.Config(**settings, clean=0.0).create().sample(Key(1, "main", 0, 0))
    assert not np.array_equal(never["input"], never["target"])


def test_a_network_sees_what_it_asks_for_and_its_weights_say_so(built: Path, tmp_path: Path) -> None:
    stages = {"warm": {"epochs": 2}, "main": {"epochs": 1}}
    for number, method in enumerate(({}, {"name": "uc", "stages": stages})):
        settings = run_file(built, inputs=["metal", "nmar", "input"], added_to="nmar", **method)
        run = create_run(settings, tmp_path / str(number))
        fit(settings.method.create(settings), settings, run)
        network, about = load_network(run.weights / "g.safetensors")
        assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 8, 8)
        assert about["inputs"] == ["metal", "nmar", "input"]
        assert about["added_to"] == "nmar"
        records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        values = [record["values"] for record in records if record["kind"] == "val"]
        assert values
        assert all(np.isfinite(value["clean_change_hu"]) for value in values)
    method = settings.method.create(settings)
    parts = method.build(settings)
    batch = {name: torch.from_numpy(a[None]) for name, a in pairs.Config(name="pairs", folder=built).create()
             .sample(Key(0, "main", 0, 0)).items()}  # fmt: skip
    assert torch.equal(method.restore(batch, parts), batch["nmar"]), "a fresh residual is zero"


def test_metal_is_clipped_as_a_scanner_does_and_the_mask_is_sharp() -> None:
    batch = {"input": torch.tensor([[[[-3000.0, 0.0, 20000.0]]]]), "metal": torch.tensor([[[[0.2, 0.5, 1.0]]]])}
    seen = network_inputs(batch, ("input", "metal"))
    assert seen.flatten().tolist() == pytest.approx([-1.024, 0.0, 3.071, 0.0, 1.0, 1.0])


def test_data_that_lack_an_input_are_refused_before_step_one(built: Path, tmp_path: Path) -> None:
    settings = run_file(built, inputs=["input", "nmar"])
    content = settings.model_dump(mode="json")
    content["data"]["validation"] = {"name": "discs"}
    wrong = RunConfig.model_validate(content)
    with pytest.raises(InputError, match=r"asks for nmar, which data\.validation does not hold"):
        wrong.method.create(wrong).build(wrong)
    with pytest.raises(ValidationError, match="added_to nmar has to be one of inputs"):
        run_file(built, added_to="nmar")
    with pytest.raises(ValidationError, match="twice"):
        run_file(built, inputs=["input", "input"])
    assert main(["dataset", "build", str(tmp_path / "new"), "--with", "bhc"]) == 2


def test_a_pixel_counts_as_metal_from_one_half_on() -> None:
    from ctrestoration.training.recipes._base import outside_metal

    fraction = torch.tensor([0.0, 0.02, 0.49, 0.5, 0.8, 1.0]).reshape(1, 1, 1, 6)
    assert outside_metal({"metal": fraction}).flatten().tolist() == [1, 1, 1, 0, 0, 0]
    assert outside_metal({"target": fraction}).flatten().tolist() == [1] * 6
