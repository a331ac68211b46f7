"""What the Slicer modules ask of the command line: graded and scattered plans, slice ranges, the environment."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.vertebra_masks import spine

from ctrestoration import environment
from ctrestoration.cli.main import main
from ctrestoration.implants import load_plan, plan_screws, save_plan
from ctrestoration.io.images import read_labels, read_volume, write_labels, write_volume
from ctrestoration.volume import Grid, LabelMap, Volume


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("plan")
    found = spine()
    labels = found if isinstance(found, LabelMap) else found.labels
    write_labels(labels, folder / "labels.seg.nrrd")
    stored = read_labels(folder / "labels.seg.nrrd")
    save_plan(plan_screws(stored, levels=["L3"]), folder / "plan.json")
    return folder / "plan.json", folder / "labels.seg.nrrd"


def edited(path: Path, target: Path, change: Any) -> Path:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    target.write_text(json.dumps(content), encoding="utf-8")
    return target


def test_an_untouched_plan_keeps_its_grades(planned, tmp_path: Path, capsys) -> None:
    plan, labels = planned
    graded = told(capsys, "implants", "grade", str(plan), "--spine", str(labels), str(tmp_path / "g.json"))
    before = json.loads(plan.read_text(encoding="utf-8"))
    for old, new in zip(before["screws"], graded["screws"], strict=True):
        assert new == {**old, "canal_mm": pytest.approx(old["canal_mm"], abs=0.02)}
    assert load_plan(tmp_path / "g.json").rods == load_plan(plan).rods


def test_a_screw_moved_into_the_canal_is_graded_worse_and_named(planned, tmp_path: Path, capsys) -> None:
    plan, labels = planned

    def medially(content: dict[str, Any]) -> None:
        screw = content["screws"][0]
        shift = -5.0 if screw["side"] == "left" else 5.0
        for end in ("entry", "target"):
            screw[end][0] += shift

    moved = edited(plan, tmp_path / "moved.json", medially)
    graded = told(capsys, "implants", "grade", str(moved), "--spine", str(labels), str(tmp_path / "g.json"))
    screw, other = graded["screws"]
    assert screw["grade"] > "A"
    assert screw["breach_side"] == "medial"
    assert screw["canal_mm"] < other["canal_mm"] - 3
    assert other["grade"] == "A"
    assert any(f"L3 {screw['side']}: grade {screw['grade']}" in warning for warning in graded["warnings"])


def test_a_screw_that_cannot_be_judged_has_no_grade_and_a_reason(planned, tmp_path: Path, capsys) -> None:
    plan, labels = planned
    moved = edited(plan, tmp_path / "e.json", lambda content: content["screws"][0].update(level="T7"))
    graded = told(capsys, "implants", "grade", str(moved), "--spine", str(labels), str(tmp_path / "g.json"))
    assert graded["screws"][0]["grade"] is None
    assert any("not graded: the segmentation does not hold T7" in warning for warning in graded["warnings"])
    message = refused(capsys, "implants", "scatter", str(moved), "--spine", str(labels), str(tmp_path / "s.json"))
    assert "cannot be scattered" in message
    assert not (tmp_path / "s.json").exists()


def test_a_screw_far_from_its_vertebra_has_no_grade(planned, tmp_path: Path, capsys) -> None:
    plan, labels = planned

    def away(content: dict[str, Any]) -> None:
        for end in ("entry", "target"):
            content["screws"][0][end][1] += 80.0

    moved = edited(plan, tmp_path / "away.json", away)
    graded = told(capsys, "implants", "grade", str(moved), "--spine", str(labels), str(tmp_path / "g.json"))
    screw, other = graded["screws"]
    assert [screw[key] for key in ("grade", "breach_mm", "breach_side", "canal_mm")] == [None] * 4
    assert other["grade"] == "A"
    assert any("not graded: the screw misses the vertebra" in warning for warning in graded["warnings"])


def test_rods_are_laid_anew_on_request(planned, tmp_path: Path, capsys) -> None:
    plan, labels = planned
    words = ("implants", "grade", str(plan), "--spine", str(labels), str(tmp_path / "g.json"), "--rods")
    assert told(capsys, *words)["rods"] == []
    assert any("takes two screws" in warning for warning in load_plan(tmp_path / "g.json").warnings)


def test_scatter_repeats_with_its_seed_and_keeps_lengths(planned, tmp_path: Path, capsys) -> None:
    plan, labels = planned

    def screws(name: str, seed: str, profile: str = "freehand") -> list[dict[str, Any]]:
        out = str(tmp_path / name)
        words = ("implants", "scatter", str(plan), "--spine", str(labels), out, "--seed", seed, "--profile", profile)
        found: list[dict[str, Any]] = told(capsys, *words)["screws"]
        return found

    first = screws("a.json", "3")
    assert first == screws("b.json", "3")
    assert first != screws("c.json", "4")
    for old, new in zip(load_plan(plan).screws, first, strict=True):
        assert math.dist(new["entry"], new["target"]) == pytest.approx(old.length_mm, abs=0.01)
        assert math.dist(new["entry"], old.entry) > 0.01
        assert new["grade"] in "ABCDE"


@pytest.mark.parametrize("command", ["grade", "scatter"])
def test_bad_input_for_plans_is_one_sentence(command: str, planned, tmp_path: Path, capsys) -> None:
    plan, labels = planned
    spine_words = ("--spine", str(labels))
    words = ("implants", command, str(plan), *spine_words)
    assert "a plan is a .json file" in refused(capsys, *words, str(tmp_path / "g.txt"))
    assert "is also an input" in refused(capsys, *words, str(plan))
    empty = edited(plan, tmp_path / "empty.json", lambda content: content.update(screws=[]))
    out = str(tmp_path / "g.json")
    assert "holds no screws" in refused(capsys, "implants", command, str(empty), *spine_words, out)
    assert "does not exist" in refused(capsys, "implants", command, str(plan), "--spine", "nowhere.nrrd", out)


@pytest.fixture(scope="module")
def bolt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A CT of four slices on flipped axes, and a metal mask in the three nearest the head."""
    folder = tmp_path_factory.mktemp("bolt")
    array = np.full((4, 40, 40), -1000.0, dtype=np.float32)
    array[:, 6:34, 6:34] = 30.0
    metal = np.zeros(array.shape, dtype=np.uint16)
    metal[:3, 18:22, 18:22] = 1
    # The slices run from head to feet: the last one of the array is slice 0.
    grid = Grid.from_parts(array.shape, (6.0, 6.0, 5.0), (1.0, 2.0, 3.0), np.diag([1.0, 1.0, -1.0]))
    write_volume(Volume(array, grid), folder / "ct.nrrd")
    write_labels(LabelMap(metal, grid, {1: "metal"}), folder / "metal.seg.nrrd")
    return folder / "ct.nrrd", folder / "metal.seg.nrrd"


@pytest.fixture(scope="module")
def scans(bolt, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The whole scan, and that of slices 1 and 2."""
    ct, metal = (str(path) for path in bolt)
    folder = tmp_path_factory.mktemp("scans")
    words = [
        "simulate",
        "metal",
        ct,
        "--mask",
        metal,
        "--preset",
        "adn-256",
        "--metal-edge",
        "2",
        "--fbp-window",
        "hann",
    ]
    assert main([*words, "--out", str(folder / "whole")]) == 0
    assert main([*words, "--out", str(folder / "part"), "--slices", "1", "2"]) == 0
    return folder / "whole", folder / "part"


def test_scanning_a_part_gives_the_whole_scans_voxels(scans) -> None:
    whole, part = (read_volume(folder / "input.nii.gz") for folder in scans)
    np.testing.assert_array_equal(part.array, whole.array[1:3])
    assert part.grid.mismatch(whole.grid.crop((1, 0, 0), (3, 40, 40))) is None
    settings = json.loads((scans[1] / "settings.json").read_text(encoding="utf-8"))
    assert settings["slices"] == [1, 2]
    assert (settings["metal_edge"], settings["fbp_window"]) == (2.0, "hann")
    masks = [
        read_labels(folder / "metal.seg.nrrd", image.grid) for folder, image in zip(scans, (whole, part), strict=True)
    ]
    assert masks[0].names == {1: "metal"}
    assert masks[1].array.any()
    np.testing.assert_array_equal(masks[1].array, masks[0].array[1:3])


def test_a_part_without_metal_is_refused(bolt, tmp_path: Path, capsys) -> None:
    words = ("simulate", "metal", str(bolt[0]), "--mask", str(bolt[1]), "--out", str(tmp_path / "s"))
    assert "no metal into slices 0 to 0" in refused(capsys, *words, "--slices", "0", "0")
    assert not (tmp_path / "s").exists()


def test_correcting_a_part_leaves_the_other_slices_bit_for_bit(scans, tmp_path: Path, capsys) -> None:
    source, data = str(scans[0] / "input.nii.gz"), str(scans[0] / "acquisition.npz")
    words = ("correct", source, "--method", "li", "--acquisition", data)
    whole, part, mask = (str(tmp_path / name) for name in ("whole.nrrd", "part.nrrd", "mask.seg.nrrd"))
    told(capsys, *words, whole)
    facts = told(capsys, *words, part, "--slices", "1", "1", "--synthesized", mask)
    before, all_of_it, some = (read_volume(path).array for path in (source, whole, part))
    np.testing.assert_array_equal(some[2], all_of_it[2])  # slice 1 from the feet is the third from the head
    np.testing.assert_array_equal(some[[0, 1, 3]], before[[0, 1, 3]])
    assert not np.array_equal(some[2], before[2])
    synthesized = read_labels(mask, read_volume(part).grid).array
    assert facts["synthesized_voxels"] == int((synthesized > 0).sum()) > 0
    assert not synthesized[[0, 1, 3]].any()
    assert facts["files"] == [part, mask]


def test_correcting_a_part_of_a_clinical_ct(scans, bolt, tmp_path: Path, capsys) -> None:
    source, out = str(scans[0] / "input.nii.gz"), str(tmp_path / "out.nrrd")
    words = ("correct", source, out, "--method", "li", "--metal", str(bolt[1]))
    facts = told(capsys, *words, "--slices", "0", "1")
    before, after = read_volume(source).array, read_volume(out).array
    assert not np.array_equal(after[2], before[2])
    np.testing.assert_array_equal(after[[0, 1, 3]], before[[0, 1, 3]])
    assert facts["metal"].startswith("metal: 8.64 ml")
    facts = told(capsys, *words, "--slices", "0", "0")
    assert "no metal in slices 0 to 0" in facts["metal"]
    np.testing.assert_array_equal(read_volume(out).array, before)


def test_slices_and_devices_that_do_not_fit_are_refused(bolt, tmp_path: Path, capsys) -> None:
    words = ("correct", str(bolt[0]), str(tmp_path / "o.nrrd"), "--method", "nmar")
    assert "within 0 to 3, counted from the feet" in refused(capsys, *words, "--slices", "2", "4")
    assert "computes on the CPU only" in refused(capsys, *words, "--device", "cuda")
    simulate = ("simulate", "metal", str(bolt[0]), "--mask", str(bolt[1]), "--out", str(tmp_path / "s"))
    assert "no range within" in refused(capsys, *simulate, "--slices", "3", "2")
    assert "metal edge divisor must lie in 1..100" in refused(capsys, *simulate, "--metal-edge", "0.5")


def test_several_images_are_measured_at_once(scans, capsys) -> None:
    reference, image = str(scans[0] / "reference.nii.gz"), str(scans[0] / "input.nii.gz")
    one = told(capsys, "evaluate", image, "--reference", reference)
    several = told(capsys, "evaluate", reference, image, "--reference", reference)["images"]
    assert several[1] == {"image": image, **one}
    assert several[0]["rmse_hu"] == 0


def test_the_challenge_s_measures_are_asked_for(bolt, scans, tmp_path: Path, capsys) -> None:
    clean = read_volume(scans[0] / "reference.nii.gz")
    metal = read_labels(bolt[1]).array > 0
    with_metal = tmp_path / "truth.nii.gz"
    write_volume(clean.replaced(np.where(metal, 8000, clean.array).astype(np.float32)), with_metal)
    words = ("evaluate", str(scans[0] / "input.nii.gz"), "--reference", str(with_metal), "--challenge")
    found = told(capsys, *words, "--metal", str(bolt[1]))["challenge"]
    assert found["slices"] == int(metal.any(axis=(1, 2)).sum())
    assert found["streak_hu"] > 2 * found["noise_hu"] > 0
    assert found["metal_dice"] > 0.5, "a few pixels"
    assert main([*words, "--metal", str(bolt[1])]) == 0
    assert "streak_hu" in capsys.readouterr().out
    assert "needs --metal" in refused(capsys, *words)


def test_the_environment_lists_what_there_is(capsys) -> None:
    found = told(capsys, "environment")
    versions = {package["name"]: package for package in found["packages"]}
    assert versions["numpy"]["version"] == np.__version__
    assert versions["numpy"]["serves"] is True
    assert "probe" not in found


def test_the_probe_computes_with_torch_and_says_what_it_means(capsys) -> None:
    pytest.importorskip("torch")
    probe = told(capsys, "environment", "--probe")["probe"]
    cpu = probe["devices"][0]
    assert (cpu["name"], cpu["works"], cpu["error"]) == ("cpu", True, None)
    assert cpu["milliseconds"] > 0
    assert probe["torch"] in probe["verdict"]


CPU = {"name": "cpu", "title": "the CPU", "works": True, "error": None}
GPU = {"name": "cuda:0", "title": "RTX 5090", "works": True, "error": None}


@pytest.mark.parametrize(
    ("version", "build", "devices", "words"),
    [
        (None, None, [], "not installed"),
        ("2.9", "12.8", [CPU, GPU], "works on RTX 5090"),
        ("2.9", "12.8", [CPU, {**GPU, "works": False, "error": "no kernel image"}], "cannot compute on it (no kernel"),
        ("2.9", None, [CPU], "without GPU support"),
        ("2.9", "12.8", [CPU], "finds no GPU"),
        ("2.9", None, [{**CPU, "works": False, "error": "libc10.so"}], "is broken (libc10.so)"),
    ],
)
def test_every_outcome_of_a_probe_has_its_sentence(version, build, devices, words, monkeypatch) -> None:
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    assert words in environment.verdict(version, build, devices)


def test_a_torch_that_cannot_be_imported_is_called_broken(monkeypatch) -> None:
    pytest.importorskip("torch")
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    assert "is broken" in environment.probe()["verdict"]


def test_versions_are_compared_as_numbers() -> None:
    package = environment.Package("x", "y", "2.10", True)
    assert environment.Found(package, "2.10.0+cu128").serves
    assert not environment.Found(package, "2.9").serves
    assert not environment.Found(package, None).serves
