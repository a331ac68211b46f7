"""The study of the task-adaptive paper: its tables, its claims, and a whole run of it as small as can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("monai", reason="Dice losses are MONAI's")
pytest.importorskip("yaml", reason="training needs PyYAML")
pytest.importorskip("h5py", reason="stored pairs need h5py")
pytest.importorskip("skimage", reason="classical denoisers are scikit-image's")

from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.control import Control  # noqa: E402
from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.evaluate.task_scores import rank_correlation  # noqa: E402
from ctrestoration.studies import running  # noqa: E402
from ctrestoration.studies import task_adaptive as study  # noqa: E402
from ctrestoration.studies.task_adaptive_claims import claims  # noqa: E402
from ctrestoration.studies.task_adaptive_tables import PUBLISHED, markdown, paired, pareto_front, summarize, title  # noqa: E402
from ctrestoration.training.launch import create_run, open_run, train_here  # noqa: E402

MICRO = replace(
    study.SCALES["tiny"], size=32, pixel_mm=10.0, phantoms=3, slices=4, scanner={"fine_pixels": 32, "views": 50},
    epochs=1, segment_epochs=1, batch=2, network={"name": "unet", "widths": [2, 4]},
    heldout={"name": "unet", "widths": [2, 2]}, validate_every=1,
)  # fmt: skip


def published(score: str) -> dict[str, float]:
    return {row: scores[score][0] for row, scores in PUBLISHED.items() if score in scores}


def test_the_published_tables_have_the_published_orders() -> None:
    def order(score: str) -> list[str]:
        return sorted(published(score), key=lambda row: -published(score)[row])

    assert order("psnr_db") == [
        "base", "bm3d", "adaptive-0.1", "joint-0.5", "adaptive-0.9", "joint-0.1", "adaptive-0.5", "fbp", "low-dose",
        "joint-0.9",
    ]  # fmt: skip
    assert order("dice")[0] == "full-dose"
    assert order("dice")[3:] == ["adaptive-0.1", "bm3d", "joint-0.1", "fbp", "base", "low-dose", "joint-0.5",
                                 "joint-0.9"]  # fmt: skip
    assert order("ssim")[:4] == ["base", "bm3d", "joint-0.1", "adaptive-0.9"]


def test_the_papers_own_rows_fulfill_its_claims_and_none_of_the_openings() -> None:
    table = {row: {score: {"mean": pair[0]} for score, pair in scores.items()} for row, scores in PUBLISHED.items()}
    found = claims(table)
    holds = {name: claim["holds"] for name, claim in found.items()}
    assert holds == {
        "image_quality_misleads": True,
        "every_alpha_helps": True,
        "joint_fails_the_frozen_segmenter": True,
        "gap_closed": True,
        "above_classical": True,
        "both_at_once": False,
    }
    assert found["gap_closed"]["values"]["share"] == pytest.approx(0.72, abs=0.005)


def row(dice: dict[int, float], psnr_db: float = 40.0) -> dict[str, Any]:
    means = {str(seed): value for seed, value in dice.items()}
    return {
        "dice": {"mean": float(np.mean(list(dice.values()))), "seeds": means},
        "heldout_dice": {"mean": 0.5, "seeds": means},
        "psnr_db": {"mean": psnr_db, "seeds": dict.fromkeys(means, psnr_db)},
    }


def test_a_network_is_compared_with_the_base_of_its_own_output() -> None:
    table = {
        "base": row({0: 0.80, 1: 0.82}, 42.0), "residual": row({0: 0.86, 1: 0.86}, 46.0),
        "adaptive-0.1": row({0: 0.88, 1: 0.86}, 40.0), "residual-0.1": row({0: 0.89, 1: 0.88}, 44.5),
        "residual-0.001": row({0: 0.88, 1: 0.875}, 45.5), "full-dose": row({0: 0.90, 1: 0.92}),
    }  # fmt: skip
    found = claims(table)
    assert found["gap_closed"]["values"] == pytest.approx(
        {"share": 0.6, "share, seed 0": 0.8, "share, seed 1": 0.4, "published share": 0.72}
    )
    assert not found["both_at_once"]["holds"], "2 dB below"
    assert found["gap_closed_residual"]["says"].startswith("residual-0.1 closes")
    assert found["helps_residual"]["holds"]
    assert found["both_at_once_residual"]["holds"]
    assert found["both_at_once_residual"]["says"].startswith("residual-0.001 ")
    assert found["both_at_once_residual"]["values"] == pytest.approx(
        {"part of the full dose": 0.8775 / 0.91, "dB below": 0.5}
    )
    assert not found["heldout_confirms_residual"]["holds"], "equal is no gain"


def test_validation_patients_decide_which_network_a_claim_is_about() -> None:
    table = {
        "fbp": row({0: 0.84}, 36.0), "base": row({0: 0.80}, 42.0), "adaptive-0.1": row({0: 0.88}, 41.5),
        "adaptive-0.5": row({0: 0.83}, 38.0), "full-dose": row({0: 0.90}),
    }  # fmt: skip
    validated = {"base": (0.7, 42.0), "adaptive-0.1": (0.81, 41.5), "adaptive-0.5": (0.85, 38.0)}
    for name, (dice, psnr_db) in validated.items():
        table[name]["validation"] = {"dice": dice, "psnr_db": psnr_db}
    found = claims(table)
    assert found["gap_closed"]["says"].startswith("adaptive-0.5 "), "worse on the test, better on validation"
    assert found["gap_closed"]["values"]["share"] == pytest.approx(0.3)
    assert not found["above_classical"]["holds"]
    assert found["both_at_once"]["says"].startswith("adaptive-0.1 "), "the best within 1 dB"
    assert found["both_at_once"]["holds"]


def test_a_network_of_fewer_seeds_takes_no_part_in_a_claim_and_says_so() -> None:
    table = {
        "base": row({0: 0.80, 1: 0.82}), "adaptive-0.1": row({0: 0.9}), "adaptive-0.5": row({0: 0.84, 1: 0.83}),
        "full-dose": row({0: 0.90, 1: 0.92}),
    }  # fmt: skip
    assert claims(table)["gap_closed"]["says"].startswith("adaptive-0.5 ")
    assert claims(table)["every_alpha_helps"]["values"]["adaptive-0.1 - base"] == pytest.approx(0.1), "of seed 0"
    spread = {score: {"sd": 0.1, "seed_sd": None} for score in ("dice", "psnr_db", "heldout_dice")}
    shown = {name: {score: one[score] | spread[score] for score in spread} for name, one in table.items()}
    text = markdown("tiny", {"rows": shown, "ranks": {}, "claims": claims(table)}, [])
    assert "| Task-adaptive, alpha = 0.1 (1 of 2 seeds) |" in text
    assert "| Task-adaptive, alpha = 0.5 |" in text
    assert "share: 0.250; share, seed 0: 0.400; share, seed 1: 0.100" in text


def test_patients_are_compared_over_the_seeds_that_both_rows_have() -> None:
    base = {0: {"a": 0.5, "b": 0.6}, 1: {"a": 0.1, "b": 0.2}}
    table = paired({"base": base, "adaptive-0.1": {0: {"a": 0.6, "b": 0.7}}, "bound-1": {2: {"a": 0.6}}})
    assert table["adaptive-0.1"]["difference"] == pytest.approx(0.1)
    assert "difference" not in table["bound-1"]


def test_tables_say_mean_and_spread_of_slices_and_seeds() -> None:
    rows: dict[str, Any] = {
        row: {seed: {"psnr_db": [value + seed, value - seed], "dice": [0.5, 0.7]} for seed in (0, 1, 2)}
        for row, value in published("psnr_db").items()
    }
    result = summarize(rows)
    base = result["rows"]["base"]["psnr_db"]
    assert base["mean"] == pytest.approx(36.049)
    assert base["sd"] == pytest.approx(np.mean([0, 1, 2]))
    assert base["seed_sd"] == pytest.approx(0.0, abs=1e-9)
    assert result["ranks"]["psnr_db"]["rho"] == pytest.approx(1.0)
    assert result["ranks"]["dice"]["rho"] is None, "all equal: no order"
    assert rank_correlation(published("psnr_db"), published("dice"))["rho"] < 0.7
    text = markdown("tiny", result, ["Facts."])
    assert "| Base U-Net | 36.05 ± 1.00 (0.00) | 36.05 ± 1.32 |" in text
    assert "| psnr_db | +1.00 | 10 |" in text


def test_the_front_holds_what_no_other_row_beats_in_both() -> None:
    table = {
        "base": row({0: 0.80}, 43.0), "adaptive-0.1": row({0: 0.88}, 38.0), "adaptive-0.001": row({0: 0.87}, 42.0),
        "adaptive-0.5": row({0: 0.86}, 37.0), "joint-0.9": row({0: 0.0}, 20.0), "full-dose": {"dice": {"mean": 0.9}},
    }  # fmt: skip
    assert pareto_front(table) == ["base", "adaptive-0.001", "adaptive-0.1"]
    assert pareto_front({"base": row({0: 0.8}), "residual": row({0: 0.8})}) == ["base", "residual"], "equals"
    text = markdown("tiny", {"rows": {}, "ranks": {}, "claims": {}, "front": ["base", "adaptive-0.1"]}, [])
    assert "more Dice at once: Base U-Net; Task-adaptive, alpha = 0.1." in text


def test_a_plan_holds_what_its_runs_need() -> None:
    names = [run.name for run in study.plan(study.SCALES["tiny"], ("bound-1",), 1)]
    assert names == ["segment_0", "heldout_0", "base_0", "bound-1_0"]
    first, second = study.phases(study.plan(study.SCALES["tiny"]))
    assert {run.variant for run in first} == {"segment", "heldout", "base"}
    assert len(first) + len(second) == 3 * 12
    with pytest.raises(InputError, match="Unknown variant 'bass'"):
        study.plan(study.SCALES["tiny"], ("bass",))
    for scale in study.SCALES.values():
        for run in study.plan(scale, seeds=1):
            study.run_file(scale, run)


def test_variants_differ_in_what_their_names_say() -> None:
    scale = study.SCALES["small"]
    found = {run.variant: study.run_file(scale, run).method for run in study.plan(scale, seeds=1)}
    plain, crossed = found["adaptive-0.01"], found["adaptive-0.01-ce"]
    assert (plain.tasks[0].loss, crossed.tasks[0].loss) == ("dice", "dice_ce")
    assert plain.balance.alpha == crossed.balance.alpha == 0.01
    assert plain.output == found["base"].output == "sigmoid"
    assert found["residual"].output == found["residual-0.001"].output == "residual"
    assert (found["residual"].name, found["residual-0.001"].balance.alpha) == ("reconstruct", 0.001)
    assert found["residual-bound-1"].balance.base_weights == Path("../residual_0/weights/g.safetensors")
    assert [run.variant for run in study.plan(scale, ("residual-bound-1",), 1)] == [
        "segment", "heldout", "residual", "residual-bound-1",
    ]  # fmt: skip
    assert title("residual-bound-1") == "Task-adaptive, residual output, at most 1 dB below base"
    assert title("residual-0.001") == "Task-adaptive, residual output, alpha = 0.001"
    assert found["bound-1"].balance == found["bound-1-ce"].balance
    assert found["bound-1"].balance.drop_db == 1.0
    assert [found[f"joint-{c}"].c for c in study.PUBLISHED_SHARES] == [0.1, 0.5, 0.9]


def train_in_this_process(runs: Mapping[Path, Any], workers: int, control: Control) -> dict[Path, str]:
    for folder, config in runs.items():
        if not running.is_done(folder):
            create_run(config, folder)
            train_here(*open_run(folder))
    return {}


def test_the_command_prints_both_tables_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "SCALES", MappingProxyType({"tiny": MICRO}))
    monkeypatch.setattr(running, "train_all", train_in_this_process)
    command = ["reproduce", "task-adaptive", "--scale", "tiny", "--out", str(tmp_path / "study"), "--seeds", "1"]
    assert main([*command, "--variants", "base"]) == 0
    assert "Base U-Net" in capsys.readouterr().out
    before = (tmp_path / "study/runs/base_0/weights/g.safetensors").stat().st_mtime_ns
    assert main([*command, "--variants", "joint-0.5,adaptive-0.1,bound-1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (tmp_path / "study/runs/base_0/weights/g.safetensors").stat().st_mtime_ns == before
    rows = result["rows"]
    assert list(rows) == [
        "low-dose", "fbp", "nlm", "tv", "base", "joint-0.5", "adaptive-0.1", "bound-1", "full-dose",
    ]  # fmt: skip
    assert set(rows["joint-0.5"]) == {
        "psnr_db",
        "ssim",
        "dice",
        "heldout_dice",
        "own_dice",
        "drift_hu",
        "liver_bias_hu",
        "lesion_bias_hu",
        "error_per_mm",
        "full_dose_dice",
        "validation",
    }
    assert "psnr_db" not in rows["full-dose"]
    assert len({rows[name]["psnr_db"]["mean"] for name in rows if name != "full-dose"}) == len(rows) - 1
    assert set(result["ranks"]) == {"psnr_db", "ssim", "dice"}
    assert {"gap_closed", "heldout_confirms", "above_classical"} <= set(result["claims"])
    assert rows["bound-1"]["validation"].keys() == {"psnr_db", "dice"}
    assert rows["base"]["validation"].keys() == {"psnr_db"}, "no segmenter was asked while it was trained"
    assert (tmp_path / "study/results.md").read_text(encoding="utf-8").startswith("# Task-adaptive")
    assert main(["reproduce", "uc", *command[2:4], "--out", str(tmp_path / "study")]) == 2
    assert "task-adaptive at scale tiny" in capsys.readouterr().err
    assert main([*command, "--dataset", "lits", str(tmp_path)]) == 2


def test_patients_are_compared_in_pairs_over_all_their_slices() -> None:
    names = [f"patient-{number}" for number in range(8)]
    base = {seed: {name: 0.1 * k for k, name in enumerate(names)} for seed in (0, 1)}
    better = {seed: {name: value + 0.1 + 0.01 * seed for name, value in base[0].items()} for seed in (0, 1)}
    mixed = {0: {name: value + (0.1 if k % 2 else -0.1) for k, (name, value) in enumerate(base[0].items())}}
    table = paired({"base": base, "adaptive-0.1": better, "joint-0.1": mixed})
    assert "difference" not in table["base"]
    assert table["adaptive-0.1"]["difference"] == pytest.approx(0.105)
    assert table["adaptive-0.1"]["better"] == 8
    assert table["adaptive-0.1"]["p"] == pytest.approx(2 / 2**8), "all eight in one direction"
    assert table["joint-0.1"]["better"] == 4
    assert table["joint-0.1"]["p"] > 0.5
    few = {"base": {0: {"a": 0.5}}, "fbp": {0: {"a": 0.4}}}
    assert paired(few)["fbp"] == {
        "mean": 0.4, "sd": None, "patients": 1, "difference": pytest.approx(-0.1), "better": 0, "p": None
    }  # fmt: skip
    text = markdown("tiny", {"rows": {}, "ranks": {}, "claims": {}, "volumes": table}, [])
    assert "| Task-adaptive, alpha = 0.1 | 0.455" in text


def test_the_volume_dice_counts_a_patient_once() -> None:
    from ctrestoration.studies.task_adaptive_scores import TestSlices, volumes

    labels = np.zeros((3, 4, 4), dtype=np.int64)
    labels[0, :2], labels[1, :1], labels[2, 0, 0] = 1, 1, 2
    found = labels.copy()
    found[1] = 0
    images = np.zeros(labels.shape, dtype=np.float32)
    test = TestSlices(images, images, labels, ("a", "a", "b"), 2.0)
    assert volumes(found, test) == {"a": pytest.approx(2 * 8 / (8 + 12)), "b": 1.0}
