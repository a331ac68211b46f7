"""Scores of tasks, and the rules they state."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.evaluate.task_scores import (
    class_dice,
    full_dose_drift,
    lesions_found,
    mean_dice,
    rank_correlation,
    volume_dice,
)


def test_background_does_not_count() -> None:
    truth = np.zeros((10, 10), dtype=int)
    truth[2:4, 2:4] = 1
    assert mean_dice(np.zeros_like(truth), truth, (1, 2)) == 0.0
    assert mean_dice(truth, truth, (1, 2)) == 1.0
    half = truth.copy()
    half[2] = 0
    assert mean_dice(half, truth, (1, 2)) == pytest.approx(2 * 2 / 6)


def test_a_class_that_is_not_there_follows_the_rule() -> None:
    truth = np.zeros((4, 4), dtype=int)
    truth[0] = 1
    found = truth.copy()
    assert np.isnan(class_dice(found, truth, (1, 2))[1])
    assert class_dice(found, truth, (1, 2), "one")[1] == 1.0
    found[3] = 2
    assert np.isnan(class_dice(found, truth, (1, 2))[1]), "dropped, whatever was found"
    assert class_dice(found, truth, (1, 2), "one")[1] == 0.0
    assert np.isnan(mean_dice(found, np.zeros_like(truth), (1, 2)))
    assert volume_dice(found, truth, (1, 2, 3)) == [1.0, 0.0, None]


def test_lesions_by_size_and_false_findings() -> None:
    truth = np.zeros((60, 60), dtype=bool)
    truth[5:9, 5:9] = True  # 4 mm squares: diameter 4.5 mm
    truth[20:40, 20:40] = True  # 22.6 mm
    found = np.zeros_like(truth)
    found[30, 30] = True
    found[50, 50] = True
    result = lesions_found(found, truth, 1.0)
    assert result["sizes"] == {"<10 mm": [0, 1], "10-20 mm": [0, 0], ">20 mm": [1, 1]}
    assert result["false"] == 1


def test_rank_correlation_is_spearmans() -> None:
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(1)
    ours = {str(n): float(v) for n, v in enumerate(draw.integers(0, 6, 12))}
    theirs = {str(n): float(v) for n, v in enumerate(draw.normal(size=12))}
    expected = stats.spearmanr(list(ours.values()), list(theirs.values())).statistic
    assert rank_correlation(ours, theirs)["rho"] == pytest.approx(expected)
    assert rank_correlation(theirs, theirs)["rho"] == pytest.approx(1.0)
    assert rank_correlation({"0": 1.0, "1": 2.0}, theirs)["rho"] is None
    assert rank_correlation({**ours, "3": float("nan")}, theirs)["rows"] == [name for name in theirs if name != "3"]


def test_drift_is_a_mean_absolute_change() -> None:
    image = np.zeros((4, 4))
    inside = np.zeros((4, 4), dtype=bool)
    inside[1] = True
    assert full_dose_drift(image + np.array([1.0, -1.0, 3.0, -3.0]), image, inside) == 2.0
