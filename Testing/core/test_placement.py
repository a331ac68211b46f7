"""Realistic and random placement of implants in training data, scans as of a clinical CT, and the study of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("numba", reason="simulating slices without numba takes too long for a test")
pytest.importorskip("yaml", reason="training needs PyYAML")

from ctrestoration.cli.main import main
from ctrestoration.errors import InputError
from ctrestoration.studies import placement
from ctrestoration.training import cases
from ctrestoration.training.keys import Key, generator
from ctrestoration.training.sources import simulated


@pytest.fixture
def no_spine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning a spine takes seconds; without one, spine cases become implants anywhere."""

    def refuse(seed: int, level: str) -> None:
        raise InputError("no spine")

    monkeypatch.setattr(cases, "_phantom_spine", refuse)


@pytest.fixture(scope="module")
def patient() -> cases.Patient:
    return cases.phantom_patient(1, 32, 10.0)


def test_placement_draws_only_its_own_kinds_of_metal(patient: cases.Patient) -> None:
    for name, kinds in simulated.PLACEMENTS.items():
        drawn = {cases.draw_case(patient, generator(0, name, number), kinds).description["kind"] for number in range(6)}
        assert len(drawn) > 1
        assert not kinds or drawn <= set(kinds)


def test_a_projected_scan_finds_its_metal_by_threshold_and_holds_no_raw_data(patient: cases.Patient) -> None:
    (scan,), _ = cases.scan_case(patient, generator(3, "case"), "clinical", 1, kinds=("spine",))
    old = scan.simulation.acquisition
    # Voxels of 10 mm never fill with metal: as bright as it would be on finer ones.
    bright = old.image.replaced(np.where(scan.metal > 0, np.float32(6000), old.image.array))
    scan = replace(scan, simulation=replace(scan.simulation, acquisition=replace(old, image=bright)))
    found = scan.projected("clinical")
    old, new = scan.simulation.acquisition, found.simulation.acquisition
    assert new.provenance["source"] == "projected from the image"
    assert np.array_equal(new.image.array, old.image.array)
    assert found.simulation.reference is scan.simulation.reference
    assert new.metal.any()
    assert (old.image.array[new.metal] > 1500).all()
    assert np.array_equal(found.metal, new.metal[0].astype(np.float32))
    empty = replace(
        scan, simulation=replace(scan.simulation, acquisition=replace(old, image=scan.simulation.reference))
    )
    assert empty.projected("clinical") is empty, "nothing above the threshold"


@pytest.mark.usefixtures("no_spine")
def test_projected_scans_are_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = simulated.Config(name="simulated", phantoms=1, count=1, size=32, pixel_mm=10.0, placement="random")
    seen: list[str] = []

    def projected(scan: cases.Scan, preset: str) -> cases.Scan:
        seen.append(preset)
        return replace(scan, metal=np.ones_like(scan.metal))

    monkeypatch.setattr(cases.Scan, "projected", projected)
    plain = settings.create().sample(Key(0, "validation", 0, 0))
    assert not seen
    sample = settings.model_copy(update={"projected": True}).create().sample(Key(0, "validation", 0, 0))
    assert seen == ["clinical"]
    assert np.array_equal(sample["input"], plain["input"])
    assert (sample["metal"] == 1).all()


def test_the_study_is_planned_seed_by_seed() -> None:
    names = [run.name for run in placement.plan(placement.SCALES["tiny"], seeds=2)]
    assert names == [f"{name}-{seed}" for seed in range(2) for name in placement.TRAINED_ON]
    for bad in ({"placements": ["nowhere"]}, {"seeds": 0}):
        with pytest.raises(InputError):
            placement.plan(placement.SCALES["tiny"], **bad)
    for scale in placement.SCALES.values():
        assert placement.run_file(scale, placement.Run("mixed", 1)).seed == 1


@pytest.mark.usefixtures("no_spine")
def test_the_study_runs_and_says_what_came_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = replace(
        placement.SCALES["tiny"], size=32, pixel_mm=10.0, scans=(2, 1, 1), phantoms=(1, 1, 1), widths=(2, 4), epochs=1,
        batch=2,
    )  # fmt: skip
    monkeypatch.setattr(placement, "SCALES", {"tiny": scale})
    words = ["reproduce", "placement", "--scale", "tiny", "--out", str(tmp_path / "study"), "--seeds", "1"]
    assert main([*words, "--workers", "1", "--variants", "realistic,random", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["tests"]) == set(placement.TESTED_ON)
    for test in result["tests"].values():
        assert set(test["trained_on"]) == {"realistic", "random"}
        gain, spread = test["trained_on"]["realistic"]["gain"]
        first, second = (test["trained_on"][name]["psnr_db"][0] for name in ("realistic", "random"))
        assert gain == pytest.approx(first - second)
        assert spread is None
    text = (tmp_path / "study" / "results.md").read_text(encoding="utf-8")
    assert "| realistic | uncorrected |" in text
    for test in result["tests"].values():
        ahead = int(test["trained_on"]["realistic"]["gain"][0] > 0)
        assert f"{ahead}/1" in text
