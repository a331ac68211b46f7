"""A calibration beside weights: what it makes of their uncertainty, what is said about it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need PyTorch")
pytest.importorskip("safetensors", reason="weights are safetensors files")

from ctrestoration import registry  # noqa: E402
from ctrestoration.acquisition import Acquisition  # noqa: E402
from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.errors import CTRestorationWarning, InputError  # noqa: E402
from ctrestoration.evaluate.calibration import HalfWidth, Row  # noqa: E402
from ctrestoration.io.images import read_volume, write_volume  # noqa: E402
from ctrestoration.io.pairs import write_manifest, write_shard  # noqa: E402
from ctrestoration.jobs.durable import replace_json, sha256_of  # noqa: E402
from ctrestoration.jobs.outcome import DataRefusedError  # noqa: E402
from ctrestoration.models import catalog  # noqa: E402
from ctrestoration.models.calibrate import stored_cases  # noqa: E402
from ctrestoration.models.calibration import Calibration, beside, calibration_of, read_calibration  # noqa: E402
from ctrestoration.models.weights import save_weights  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402
from ctrestoration.reconstruct.slices import acquisition_of_image  # noqa: E402
from ctrestoration.volume import Grid, Volume  # noqa: E402

FLIPS = "flip ensemble of 4 mirrored copies"


def weights(folder: Path, task: str = "mar", **about: Any) -> Path:
    torch.manual_seed(1)
    options = {"widths": [2, 4]}
    path = folder / "tiny.safetensors"
    facts = {"name": "tiny", "task": task, "inputs": ["input"], "network": {"name": "unet", "options": options}}
    save_weights(build_network("unet", options).eval(), path, {**facts, **about}, "# card")
    return path


def calibration(path: Path, **changes: Any) -> Calibration:
    rows = (Row(1.0, (0.1, 1.0, 10.0), (5.0, 20.0, 90.0)), Row(20.0, (0.1, 1.0), (2.0, 9.0)))
    scope = {"patients": 12, "sources": ["projected from the image"], "pixel_mm": [3.0, 3.2]}
    facts: dict[str, Any] = {
        "half_width": HalfWidth(0.9, rows, (5.0, 10.0), (1.5, 1.2, 1.0)), "largest_spread_hu": 1e4, "ensemble": FLIPS,
        "weights": sha256_of(path), "scope": scope, "measured": {"coverage": {"body": {"mean": 0.91}}}, **changes,
    }  # fmt: skip
    return Calibration(**facts)


@pytest.fixture(scope="module")
def volume() -> tuple[Volume, np.ndarray]:
    """Three slices of an oval patient; metal in slice 1."""
    y, x = np.mgrid[-24:24, -24:24]
    hu = np.random.default_rng(3).normal(-1000, 4, (3, 48, 48)).astype(np.float32)
    hu[:, (x / 21.0) ** 2 + (y / 16.0) ** 2 < 1] += 1040
    metal = np.zeros(hu.shape, dtype=bool)
    metal[1, 20:24, 16:20] = True
    hu[metal] = 4000
    return Volume(hu, Grid.from_parts(hu.shape, (3.2, 3.2, 3.0)), "oval"), metal


@pytest.fixture(scope="module")
def acquisition(volume: tuple[Volume, np.ndarray]) -> Acquisition:
    return Acquisition.from_image(*volume, preset="adn-256")


def test_a_calibration_beside_the_weights_makes_half_widths(acquisition: Acquisition, tmp_path: Path) -> None:
    path = weights(tmp_path)
    plain = registry.get("mar", str(path)).with_uncertainty().restore(acquisition)
    assert plain.coverage is None
    assert plain.provenance["interval"] is None
    assert plain.uncertainty_meaning() == f"standard deviation in HU ({FLIPS}); not calibrated, it is no error bar"
    calibration(path).write(beside(path))
    found = registry.get("mar", str(path)).with_uncertainty().restore(acquisition)
    assert np.array_equal(found.image.array, plain.image.array), "it does not move the image"
    assert found.coverage == 0.9
    assert found.uncertainty_meaning() == "half-width in HU of the 90% interval, calibrated on 12 patients"
    assert found.provenance["interval"]["outside_scope"] == []
    assert json.dumps(found.provenance)
    width, metal = found.uncertainty.array, acquisition.metal
    assert not width[[0, 2]].any(), "nothing was changed there"
    assert not width[metal].any(), "of metal nothing is said"
    assert width[1][~metal[1]].min() >= 2.0, "no pixel of a corrected slice is certain"
    assert width[1].max() > 3 * plain.uncertainty.array[1].max() or width[1].max() > 30
    again = registry.get("mar", str(path)).with_uncertainty(calibrated=False).restore(acquisition)
    assert np.array_equal(again.uncertainty.array, plain.uncertainty.array)


def test_what_tells_that_a_calibration_may_not_hold_is_said(acquisition: Acquisition, tmp_path: Path) -> None:
    path = weights(tmp_path)
    scope = {"patients": 12, "sources": ["simulated"], "pixel_mm": [0.5, 1.0]}
    calibration(path, largest_spread_hu=1e-6, scope=scope).write(beside(path))
    interval = registry.get("mar", str(path)).with_uncertainty().restore(acquisition).provenance["interval"]
    pixels, data, share = interval["outside_scope"]
    assert pixels == "pixels of 3.2 mm, calibrated at 0.5 to 1 mm"
    assert data == "data are 'projected from the image', calibrated on 'simulated'"
    assert share.endswith("of the body has a larger spread than any pixel of the calibration")
    assert interval["share_beyond_calibration"] > 0.5


def test_calibrations_that_do_not_belong_are_refused(acquisition: Acquisition, tmp_path: Path) -> None:
    path = weights(tmp_path)
    calibration(path, weights="0" * 64).write(beside(path))
    with pytest.raises(InputError, match=r"was made for other weights than tiny\.safetensors"):
        registry.get("mar", str(path)).with_uncertainty()
    registry.get("mar", str(path)).restore(acquisition)  # the image alone does not need it
    elsewhere = tmp_path / "elsewhere.json"
    calibration(path, ensemble="snapshot ensemble of 3 early epochs").write(elsewhere)
    with pytest.raises(
        InputError, match="that of a snapshot ensemble of 3 early epochs, and what is at hand is a flip"
    ):
        registry.get("mar", str(path)).with_uncertainty(elsewhere).restore(acquisition)
    with pytest.raises(InputError, match=r"There is no calibration .*absent\.json"):
        registry.get("mar", str(path)).with_uncertainty(tmp_path / "absent.json")


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = weights(tmp_path)
    assert calibration_of(path) is None
    calibration(path).write(beside(path))
    assert beside(path).name == "tiny.calibration.json"
    assert calibration_of(path) == calibration(path)
    whole = json.loads(beside(path).read_text(encoding="utf-8"))
    assert whole["unit"] == "HU"
    short = {"spread_hu": [1, 2], "half_width_hu": [1], "distance_px": 1}
    falling = {"spread_hu": [1, 2], "half_width_hu": [2, 1], "distance_px": 1}
    for change, said in (
        ({"schema": 2}, "is no calibration of version 1"),
        ({"factors": [1.0]}, "do not fit together"),
        ({"factors": [1.0, float("nan"), 1.0]}, "do not fit together"),
        ({"table": [short]}, "do not fit together"),
        ({"table": [falling]}, "do not fit together"),
        ({"table": []}, "do not fit together"),
        ({"scope": {}}, "'pixel_mm' is missing"),
        ({"coverage": "high"}, "damaged"),
    ):
        (tmp_path / "changed.json").write_text(json.dumps({**whole, **change}), encoding="utf-8")
        with pytest.raises(DataRefusedError, match=said):
            read_calibration(tmp_path / "changed.json")
    (tmp_path / "changed.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataRefusedError, match="it is not JSON"):
        read_calibration(tmp_path / "changed.json")


def test_shipped_calibrations_are_those_of_the_shipped_weights() -> None:
    for path in catalog.SHIPPED.glob("*.calibration.json"):
        owner = path.with_name(path.name.replace(".calibration.json", ".safetensors"))
        assert calibration_of(owner) is not None


def test_the_command_says_what_its_numbers_mean(
    volume: tuple[Volume, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights(tmp_path)
    ct, out, spread = (str(tmp_path / f"{name}.nrrd") for name in ("ct", "out", "spread"))
    write_volume(volume[0], ct)
    words = ["correct", ct, out, "--method", str(path), "--device", "cpu", "--threshold", "2500"]
    assert main([*words, "--uncertainty", spread]) == 0
    assert f"uncertainty: standard deviation in HU ({FLIPS}); not calibrated" in capsys.readouterr().out
    file = tmp_path / "other.json"
    calibration(path).write(file)
    assert main([*words, "--uncertainty", spread, "--calibration", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["uncertainty"] == "half-width in HU of the 90% interval, calibrated on 12 patients"
    assert said["provenance"]["interval"]["unit"] == "HU"
    assert read_volume(spread, hu_offset=0).array[1].max() > 5
    for more, message in (
        (["--calibration", str(file)], "--calibration belongs to --uncertainty"),
        (["--calibration", ct, "--uncertainty", spread], "ct.nrrd is damaged: it is not JSON"),
    ):
        assert main([*words, *more]) != 0
        assert message in capsys.readouterr().err
    other = [*words[:4], "nmar", *words[7:]]
    assert main([*other, "--uncertainty", spread]) == 2
    assert "'nmar' gives no uncertainty" in capsys.readouterr().err


def test_a_metal_free_image_is_certain_to_be_unchanged(
    volume: tuple[Volume, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights(tmp_path)
    calibration(path).write(beside(path))
    ct, out, spread = (str(tmp_path / f"{name}.nrrd") for name in ("ct", "out", "spread"))
    write_volume(volume[0].replaced(np.minimum(volume[0].array, 100)), ct)
    assert main(["correct", ct, out, "--method", str(path), "--uncertainty", spread]) == 0
    assert "uncertainty: zero, since nothing was corrected" in capsys.readouterr().out
    assert not read_volume(spread, hu_offset=0).array.any()
    nothing = Acquisition.from_image(volume[0], np.zeros(volume[1].shape, dtype=bool), preset="adn-256")
    with pytest.warns(CTRestorationWarning, match="nothing to correct"):
        found = registry.get("mar", str(path)).with_uncertainty().restore(nothing)
    assert not found.uncertainty.array.any()
    assert found.coverage == 0.9


def test_reconstruction_networks_have_half_widths_everywhere(tmp_path: Path) -> None:
    path = weights(tmp_path, "reconstruction", reconstruction="residual")
    width = HalfWidth(0.9, (Row(0.0, (0.1, 5.0), (8.0, 30.0)),), (), (1.5,))
    scope = {"patients": 20, "sources": ["image only"], "pixel_mm": [2.0, 2.0]}
    calibration(path, half_width=width, scope=scope).write(beside(path))
    hu = np.random.default_rng(2).normal(0, 300, (2, 20, 23)).astype(np.float32)
    image = Volume(hu, Grid.from_parts(hu.shape, (2.0, 2.0, 3.0)), "noise")
    found = registry.get("reconstruction", str(path)).with_uncertainty().restore(acquisition_of_image(image))
    assert found.uncertainty.array.min() >= 12.0
    assert found.coverage == 0.9
    assert found.provenance["interval"]["outside_scope"] == []


def stored(folder: Path, patients: int, task: str) -> Path:
    """Pairs of patients whose images differ from the answer by noise, and around metal by more."""
    y, x = np.mgrid[-16:16, -16:16]
    body = (x / 14.0) ** 2 + (y / 12.0) ** 2 < 1
    pairs, cases = [], []
    for number in range(patients):
        draw = np.random.default_rng(number)
        target = np.where(body, 40.0, -1000.0).astype(np.float32)
        metal = ((np.hypot(x - 3, y) < 2) & (task == "mar")).astype(np.float32)
        shown = target + draw.normal(0, 30, target.shape).astype(np.float32) + 3000 * metal
        pair = {"input": shown, "target": target, "metal": metal}
        pairs.append(pair if task == "mar" else {**pair, "labels": np.zeros_like(target)})
        cases.append({"patient": f"p{number}", "count": 1, "pixel_mm": 4.0})
    folder.mkdir()
    digest = write_shard(folder / "test-00000.h5", pairs, cases, lowest_hu=-32768)
    size = (folder / "test-00000.h5").stat().st_size
    shard = {"file": "test-00000.h5", "count": patients, "sha256": digest, "bytes": size}
    names = [case["patient"] for case in cases]
    settings = {"pixel_mm": 4.0, "preset": "clinical", **({} if task == "mar" else {"task": "lowdose"})}
    splits = {"test": {"count": patients, "patients": names, "shards": [shard]}}
    write_manifest(folder, splits, (32, 32), settings, () if task == "mar" else ("labels",), -32768)
    return folder


@pytest.mark.parametrize("task", ["mar", "reconstruction"])
def test_the_command_calibrates_on_pairs(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = weights(tmp_path, task, **({"reconstruction": "residual"} if task == "reconstruction" else {}))
    data = stored(tmp_path / "pairs", 12, task)
    words = ["models", "calibrate", str(path), "--data", str(data), "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["scope"]["patients"] == said["scope"]["scans"] == 12
    assert said["scope"]["pixel_mm"] == [4.0, 4.0]
    assert said["measured"]["coverage"]["body"]["mean"] > 0.88
    found = calibration_of(path)
    assert found is not None
    assert len(found.half_width.factors) == (3 if task == "mar" else 1)
    if task == "mar":
        return
    before = beside(path).read_bytes()
    assert main(words) == 0
    assert "smallest spread" in capsys.readouterr().out
    assert beside(path).read_bytes() == before, "the same data, the same calibration"


def test_data_that_cannot_calibrate_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = weights(tmp_path)
    few = stored(tmp_path / "few", 4, "mar")
    nine = stored(tmp_path / "nine", 9, "mar")
    lowdose = stored(tmp_path / "lowdose", 2, "reconstruction")
    (tmp_path / "empty").mkdir()
    for data, message in (
        (few, "4 patients with pixels at most 5 px from metal are too few"),
        (nine, "9 patients are too few to measure the coverage on some that are left out"),
        (lowdose, "holds low-dose pairs"),
        (tmp_path / "empty", "holds neither stored scans nor pairs"),
    ):
        assert main(["models", "calibrate", str(path), "--data", str(data), "--device", "cpu"]) == 2
        assert message in capsys.readouterr().err
    assert not beside(path).exists()
    segmenter = weights(tmp_path, "segmentation")
    assert main(["models", "calibrate", str(segmenter), "--data", str(few)]) == 2
    assert "only networks that restore images have an uncertainty" in capsys.readouterr().err


def test_only_the_test_split_of_the_training_data_is_used(tmp_path: Path) -> None:
    data = stored(tmp_path / "pairs", 6, "mar")
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    manifest["splits"]["train"] = manifest["splits"]["test"]
    replace_json(data / "manifest.json", manifest)
    stranger = registry.get("mar", str(weights(tmp_path)))
    assert len(stored_cases(data, stranger)) == 12
    trained = {"provenance": {"data": {"train": sha256_of(data / "manifest.json")}}}
    assert len(stored_cases(data, registry.get("mar", str(weights(tmp_path, **trained))))) == 6


def quick_patient(seed: int, size: int, pixel_mm: float) -> Any:
    """In the place of a phantom: an oval without a spine, for which no screws are planned."""
    from ctrestoration.training.data.cases import Patient

    y, x = np.mgrid[-size / 2 : size / 2, -size / 2 : size / 2] * 2 / size
    hu = np.where((x / 0.85) ** 2 + (y / (0.6 + 0.02 * (seed % 5))) ** 2 < 1, 40.0, -1000.0)
    stack = np.broadcast_to(hu.astype(np.float32), (12, size, size)).copy()

    def no_spine() -> Any:
        raise InputError("none")

    return Patient(
        f"phantom-{seed}", Volume(stack, Grid.from_parts(stack.shape, (pixel_mm, pixel_mm, 4.0)), "o"), no_spine
    )


def test_stored_scans_are_the_scans_that_were_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctrestoration.training.data import scan_store
    from ctrestoration.training.keys import Key
    from ctrestoration.training.sources import scans, simulated

    monkeypatch.setattr(simulated, "phantom_patient", quick_patient)
    scan_store._source.cache_clear()
    settings = scans.Config(name="scans", phantoms=2, first_seed=40, count=6, size=64, pixel_mm=3.0, preset="clinical")
    scan_store.build_scans(tmp_path / "scans", settings, 4, "validation")
    method = registry.get("mar", str(weights(tmp_path)))
    source = settings.create()
    scan_store._source.cache_clear()  # nobody else is to be given these patients
    found = stored_cases(tmp_path / "scans", method)
    assert found
    for make in found:
        case, key = make(), Key(4, "validation", 0, make.index)
        simulation = source.scan(key).simulation
        assert case.patient == source.drawn(key.generator("case")).name
        # Stored images end at -1024 HU; the data do not.
        np.testing.assert_allclose(case.acquisition.image.array, simulation.acquisition.image.array, atol=0.2)
        expected, image = (method.restore(one).image.array for one in (simulation.acquisition, case.acquisition))
        np.testing.assert_allclose(image, expected, atol=0.5)
    simulation = {"settings": {"phantoms": 1, "first_seed": 41}}
    knowing = registry.get("mar", str(weights(tmp_path, provenance={"data": {"simulation": simulation}})))
    with pytest.raises(InputError, match="holds phantom-41, which tiny was trained on"):
        stored_cases(tmp_path / "scans", knowing)
