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
from ctrestoration.io.images import write_volume
from ctrestoration.studies import placement
from ctrestoration.training.data import cases
from ctrestoration.training.keys import Key, generator
from ctrestoration.training.sources import simulated
from ctrestoration.volume import Grid, Volume


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
    words += ["--real", str(with_screw(tmp_path / "patient.nrrd"))]
    assert main([*words, "--workers", "1", "--variants", "realistic,random", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["tests"]) == set(placement.TESTED_ON)
    for test in result["tests"].values():
        assert set(test["trained_on"]) == {"realistic", "random"}
        gain, spread = test["trained_on"]["realistic"]["gain"]
        first, second = (test["trained_on"][name]["psnr_db"][0] for name in ("realistic", "random"))
        assert gain == pytest.approx(first - second)
        assert spread is None
    (case,) = result["real"].values()
    assert case["input"]["ring_sd_hu"] != case["trained_on"]["random"]["ring_sd_hu"][0]
    assert case["input"]["change_far_hu"] is None, "32 pixels are too few"
    text = (tmp_path / "study" / "results.md").read_text(encoding="utf-8")
    assert "| realistic | uncorrected |" in text
    assert "| patient | uncorrected |" in text
    for test in result["tests"].values():
        ahead = int(test["trained_on"]["realistic"]["gain"][0] > 0)
        assert f"{ahead}/1" in text


def with_screw(path: Path, hu: float = 6000.0) -> Path:
    """A CT of 5 mm voxels, an oval with a screw in two of its slices; written to the path."""
    y, x = np.mgrid[-32:32, -32:32]
    array = np.full((4, 64, 64), -1000, dtype=np.float32)
    array[:, (x / 28) ** 2 + (y / 20) ** 2 < 1] = 40
    array[1:3, 30:35, 12:17] = hu
    write_volume(Volume(array, Grid.from_parts(array.shape, (5.0, 5.0, 5.0))), path)
    return path


def test_a_ct_with_real_metal_is_seen_as_the_study_sees_scans(tmp_path: Path) -> None:
    scale = placement.SCALES["small"]
    case = placement.real_case(with_screw(tmp_path / "patient.nrrd"), scale)
    assert case.image.shape == case.metal.shape == (2, scale.size, scale.size)
    assert case.metal.sum() * scale.pixel_mm**2 == pytest.approx(2 * 25 * 25.0, rel=0.2)
    assert case.image[case.metal].mean() > 4000
    with pytest.raises(InputError, match="holds no metal"):
        placement.real_case(with_screw(tmp_path / "plain.nrrd", 300.0), scale)
