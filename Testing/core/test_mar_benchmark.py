"""The benchmark of MAR methods: names, scores without metal, and the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctrestoration.acquisition import Acquisition
from ctrestoration.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import mar


def slice_of_a_body() -> tuple[np.ndarray, np.ndarray]:
    """Attenuation in 1/cm, and metal."""
    rows, columns = np.indices((96, 96)) - 47.5
    tissue = 0.2 + 0.01 * np.sin(rows / 2.0) * np.sin(columns / 3.0)
    truth = np.where(np.hypot(rows, columns) < 40, tissue, 0.0)
    return truth, np.hypot(rows - 5, columns) < 4


def result_of(metal: np.ndarray, images: dict[str, np.ndarray]) -> dict[str, Any]:
    truth, _ = slice_of_a_body()
    hu = mar._hu(truth)
    uncorrected = np.where(metal, 8000.0, hu).astype(np.float32)
    rows = [
        {"slice": "a/b", "k": 0, "group": "small", "method": name,
         **mar._scores(image, uncorrected, truth, hu, metal)}
        for name, image in images.items()
    ]  # fmt: skip
    return {"cases": 1, "fbp": "exact", "methods": {name: mar._summary(rows, name) for name in images}}


def test_the_challenge_s_measures_stand_beside_the_others() -> None:
    truth, metal = slice_of_a_body()
    perfect = np.where(metal, 8000.0, mar._hu(truth)).astype(np.float32)
    noisy = perfect + np.where(metal, 0, np.random.default_rng(0).normal(0, 30, perfect.shape)).astype(np.float32)
    result = result_of(metal, {"perfect": perfect, "noisy": noisy})
    best = result["methods"]["perfect"]["challenge"]
    assert best["streak_hu"] == best["noise_hu"] == best["range_error_mm"] == 0.0
    assert best["metal_dice"] == best["sharpness"] == 1.0
    assert result["methods"]["noisy"]["challenge"]["noise_hu"] == pytest.approx(30, rel=0.05)
    json.dumps(result, allow_nan=False)
    table = mar._table(result)
    assert " -/1.0000" in table, "no number where the error is nothing"
    assert table.splitlines()[-1].split()[-2] == f"{result['methods']['noisy']['challenge']['noise_hu']:.1f}"


def test_a_score_that_does_not_exist_is_a_dash() -> None:
    truth, metal = slice_of_a_body()
    nothing = np.zeros_like(metal)
    result = result_of(nothing, {"only": mar._hu(truth) + np.float32(20)})
    assert result["methods"]["only"]["ring_rmse_hu"] is None
    assert " - " in mar._table(result).splitlines()[-1]


def test_methods_of_one_name_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Weights:
        name = "unet"

    monkeypatch.setattr(mar, "get", lambda task, word: Weights())
    found = mar.methods_by_name(["input", "a.safetensors", "b.safetensors", "a.safetensors", "c.safetensors"])
    assert list(found) == ["input", "unet", "unet (2)", "unet (3)"]
    assert found["input"] is None


def test_a_picture_is_drawn_anew_and_nothing_else_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slice:
        name, metals = "a/b", (0, 1)

        def clean(self, key: str) -> list[np.ndarray]:
            return [np.rot90(slice_of_a_body()[0], -1)]

    def scan_of(found: Slice, k: int, mask: np.ndarray, mode: str) -> tuple[Any, np.ndarray]:
        truth, metal = slice_of_a_body()
        hu = mar._hu(truth)
        scan = object.__new__(Acquisition)
        object.__setattr__(scan, "image", type("Image", (), {"array": np.where(metal, 8000, hu)[None] + k}))
        object.__setattr__(scan, "metal", metal[None])
        return scan, hu

    drawn: list[tuple[Path, float]] = []
    monkeypatch.setattr(mar, "scan_of", scan_of)
    monkeypatch.setattr(mar, "find_slices", lambda folder: [Slice(), Slice()])
    monkeypatch.setattr(mar, "read_masks", lambda path: np.zeros((96, 96, 2), dtype=np.uint8))
    monkeypatch.setattr(
        mar, "_draw", lambda path, truth, images, metal: drawn.append((path, float(images["input"][0, 0])))
    )
    picture = tmp_path / "old.png"
    picture.write_bytes(b"of yesterday")
    words = ["mar.py", str(tmp_path), "--methods", "input", "--json", "--picture"]
    monkeypatch.setattr(sys, "argv", [*words, str(picture)])
    assert mar.main() == 0
    assert drawn == [(picture, -1000.0)], "the first metal of the first slice, once"
    assert len(json.loads(capsys.readouterr().out)["methods"]["input"]["slices"]) == 4
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path / "masks.npy")])
    assert mar.main() == InputError.exit_code
    assert "png" in capsys.readouterr().err
