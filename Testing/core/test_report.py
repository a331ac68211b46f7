"""The report is one self-contained file, and its pictures are where the reader expects them."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from ctrestoration.evaluate import figures
from ctrestoration.evaluate.metrics import evaluate
from ctrestoration.evaluate.report import Picture, Section, metrics_table, render

pytest.importorskip("matplotlib", reason="pictures need matplotlib")


def _pixels(png: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return imread(io.BytesIO(png), format="png")


def test_cut_directions_follow_radiological_convention() -> None:
    volume = np.zeros((4, 5, 6), dtype=np.float32)
    volume[3, 0, 5] = 1  # superior, anterior, left
    assert figures.Cut("axial", 3).of(volume)[0, 5] == 1  # left of the patient on the right, anterior on top
    assert figures.Cut("coronal", 0).of(volume)[0, 5] == 1  # superior on top
    assert figures.Cut("sagittal", 5).of(volume)[0, 0] == 1  # anterior on the left


def test_comparison_shows_every_panel_with_its_error() -> None:
    truth = np.full((1, 40, 40), 40, dtype=np.float32)
    wrong = truth.copy()
    wrong[0, 10:30, 10:30] = 240
    cut = figures.Cut("axial", 0)
    png = figures.comparison({"truth": truth, "wrong": wrong}, "truth", cut, (1, 1, 1), figures.SOFT_TISSUE)
    pixels = _pixels(png)[..., :3]
    lower = pixels[pixels.shape[0] // 2 :]
    reddish = (lower[..., 0] > lower[..., 2] + 0.3).sum()
    assert reddish > 1000  # the error of +200 HU, drawn in red
    flat = figures.comparison({"truth": truth, "same": truth}, "truth", cut, (1, 1, 1), figures.SOFT_TISSUE)
    lower = _pixels(flat)[..., :3][pixels.shape[0] // 2 :]
    assert (lower[:, : lower.shape[1] * 8 // 10, 0] > lower[:, : lower.shape[1] * 8 // 10, 2] + 0.3).sum() < 1000


def test_crop_box_keeps_its_margin() -> None:
    mask = np.zeros((30, 40), dtype=bool)
    mask[10:12, 20] = True
    assert figures.around(mask, 3) == (slice(7, 15), slice(17, 24))
    assert figures.around(mask & False, 3) == (slice(None), slice(None))


def test_page_needs_nothing_beside_it_and_escapes_names() -> None:
    patient = np.random.default_rng(0).normal(40, 20, (1, 32, 32)).astype(np.float32)
    table = metrics_table(
        {"input": evaluate(patient + 5, patient), "li": evaluate(patient + 1, patient)}, {"li": "<LI>"}
    )
    page = render("A & B", "lead", [Section("S", "text", [Picture(b"png", "caption")], table)], {"seed": 3})
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    assert "A &amp; B" in page
    assert "&lt;LI&gt;" in page
    assert "Not a medical device" in page
    assert '"seed": 3' in page.replace("&quot;", '"')
    assert re.search(r"window -1000 to 1604 HU", page)


def test_best_value_is_marked() -> None:
    patient = np.random.default_rng(0).normal(40, 20, (1, 32, 32)).astype(np.float32)
    table = metrics_table({"worse": evaluate(patient + 50, patient), "better": evaluate(patient + 1, patient)}, {})
    better = table[table.index("<td>better</td>") :]
    assert better.count("<b>") >= 3
