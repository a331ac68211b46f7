"""Error bars in HU: coverage on patients left out, and what a calibration refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.evaluate.calibration import (
    ZONES_PX,
    Errors,
    HalfWidth,
    Row,
    ause,
    by_patient,
    distance_from,
    errors_of,
    fit,
    folds,
    measure,
    spearman,
)
from ctrestoration.models.calibrate import cross_fitted, patients_of, trained_on


def patient(number: int, pixels: int = 1000, between: float = 0.1) -> Errors:
    """Errors of a known scale, 4 (spread + 2) HU and five times that near metal; each patient has a factor, too."""
    draw = np.random.default_rng(number)
    spread = np.exp(draw.normal(0.0, 1.0, pixels))
    distance = draw.uniform(0.5, 30.0, pixels)
    scale = 4.0 * (spread + 2.0) * np.where(distance <= 10.0, 5.0, 1.0) * np.exp(draw.normal(0.0, between))
    error = np.abs(draw.normal(0.0, scale))
    return Errors(f"p{number}", *(array.astype(np.float32) for array in (spread, error, distance)))


def test_coverage_on_other_patients_is_the_nominal_one_everywhere() -> None:
    half_width = fit([patient(number) for number in range(100)])
    found = measure([patient(number) for number in range(1000, 1060)], half_width)
    assert found["patients"] == 60
    for place in ("body", "within 5 px", "within 10 px", "smallest spread"):
        assert abs(found["coverage"][place]["mean"] - 0.9) < 0.02, place
    widths = found["median_half_width_hu"]
    assert widths["within 10 px"] > 3 * widths["body"] / 2
    assert widths["smallest spread"] > 1.645 * 4 * 2, "a small spread is no certainty"
    assert found["spearman"] > 0.1
    assert 0 < found["ause"] < 1


def test_half_widths_of_a_known_scale_are_found() -> None:
    half_width = fit([patient(number, 4000, between=0.0) for number in range(60)], coverage=0.8)
    spread, far = np.array([0.5, 1.0, 3.0], dtype=np.float32), np.full(3, 20.0, dtype=np.float32)
    np.testing.assert_allclose(half_width.of(spread, far), 1.2816 * 4 * (spread + 2), rtol=0.15)
    near = half_width.of(spread, np.full(3, 4.0, dtype=np.float32))
    np.testing.assert_allclose(near, 5 * 1.2816 * 4 * (spread + 2), rtol=0.15)


def test_few_patients_get_wider_intervals_and_too_few_none() -> None:
    assert min(fit([patient(n, between=0.0) for n in range(10)]).factors) > 1.2
    assert max(fit([patient(n, between=0.0) for n in range(60)]).factors) < 1.2
    with pytest.raises(InputError, match=r"8 patients with pixels at most 5 px from metal are too few: .* at least 9"):
        fit([patient(n) for n in range(8)])
    with pytest.raises(InputError, match="8 patients"):
        fit([replace(patient(n), patient=f"p{n % 8}") for n in range(40)])  # forty scans of eight patients
    with pytest.raises(InputError, match=r"0\.5\.\.0\.99, not 1"):
        fit([patient(n) for n in range(20)], coverage=1.0)


def test_a_patient_counts_once_however_many_pixels() -> None:
    """One patient with most of the pixels, and errors a hundred times as large, is a twentieth of what is covered."""
    normal = [patient(n) for n in range(40)]
    large = patient(50, 60000)
    large = replace(large, error=large.error * 100)
    with_it, without = fit([*normal, large]), fit(normal)
    assert max(with_it.factors) < 1.6 * max(without.factors)


def test_a_patient_is_never_on_both_sides() -> None:
    """Whatever a patient's errors, the calibration that judges this patient is the same."""
    every = [patient(n, 300) for n in range(24)] + [replace(patient(90, 300), patient="p3")]
    before = cross_fitted(every, "mar")
    assert set(before) == {f"p{n}" for n in range(24)}
    changed = [replace(one, error=one.error * 50) if one.patient == "p3" else one for one in every]
    after = cross_fitted(changed, "mar")
    assert after["p3"] == before["p3"]
    assert any(after[name] != before[name] for name in before)
    groups = list(folds(list(before), 10))
    assert sorted(name for group in groups for name in group) == sorted(before)
    assert [one.patient for one in by_patient(every)] == sorted(before), "two scans of one patient are one"


def test_without_metal_there_is_one_zone() -> None:
    every = [replace(patient(n), distance=np.full(1000, np.inf, dtype=np.float32)) for n in range(30)]
    with pytest.raises(InputError, match="0 patients with pixels at most 5 px from metal"):
        fit(every)
    half_width = fit(every, zones_px=(), bands_px=())
    assert len(half_width.table) == len(half_width.factors) == 1
    found = measure(every, half_width)
    assert found["coverage"]["within 5 px"] is None
    assert found["coverage"]["body"]["mean"] > 0.9
    assert np.isinf(distance_from(np.zeros((3, 4), dtype=bool))).all()


def test_a_table_holds_below_and_grows_beyond_what_was_seen() -> None:
    rows = (Row(2.0, (1.0, 10.0), (20.0, 50.0)), Row(6.0, (1.0, 10.0), (10.0, 30.0)))
    half_width = HalfWidth(0.9, rows, (5.0,), (2.0, 1.0))

    def width(spread: float, distance: float) -> float:
        return float(half_width.of(np.float32([spread]), np.float32([distance]))[0])

    assert width(0.0, 1.0) == width(1.0, 2.0) == pytest.approx(40.0)
    assert width(10.0, 2.0) == pytest.approx(100.0)
    assert width(40.0, 2.0) == pytest.approx(400.0), "in proportion"
    assert width(1.0, 4.0) == pytest.approx(2 * 15.0), "halfway between the rows"
    assert width(1.0, 5.0) == pytest.approx(2 * 12.5), "an end belongs to its zone"
    assert width(1.0, 100.0) == width(1.0, float("inf")) == pytest.approx(10.0)
    assert ZONES_PX == (5.0, 10.0)


def test_only_the_body_outside_metal_is_looked_at() -> None:
    reference = np.full((40, 40), -1000, dtype=np.float32)
    reference[5:35, 5:35] = 30
    metal = np.zeros(reference.shape, dtype=bool)
    metal[20, 20] = True
    spread = np.full(reference.shape, 3, dtype=np.float32)
    found = errors_of("someone", reference - 7, spread, reference, metal)
    assert found.error.size == 900 - 1
    assert set(found.error) == {7.0}
    assert found.distance.min() == 1.0


def test_rank_measures() -> None:
    error = np.arange(1, 101, dtype=np.float32)
    assert spearman(error, error) == pytest.approx(1.0)
    assert ause(error, error) == 0.0
    mixed = np.random.default_rng(0).permutation(error)
    assert ause(-mixed, mixed) > ause(np.ones_like(mixed), mixed) > 0.2
    assert np.isnan(spearman(np.ones(5, dtype=np.float32), error[:5]))
    assert np.isnan(ause(error, np.zeros_like(error)))


def test_patients_of_a_simulation_are_known_from_the_header() -> None:
    settings = {"phantoms": 2, "first_seed": 5, "volumes": ["/data/a.nrrd"]}
    assert patients_of(settings) == ["phantom-5", "phantom-6", "a.nrrd"]
    one = {"settings": settings, "seed": 0, "stage": "main"}
    for simulation in (one, {"folders": [one]}):
        assert trained_on({"provenance": {"data": {"simulation": simulation}}}) == {"phantom-5", "phantom-6", "a.nrrd"}
    assert trained_on({}) == set()
