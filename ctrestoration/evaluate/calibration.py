"""From the spread of an ensemble to an error bar in HU: conformal calibration, by patients.

The half-width of the interval at a pixel is

    factor(zone) * table(spread, distance from metal)

The *table* holds the wanted quantile of the absolute error among pixels of about that spread and distance, and is
interpolated: below its smallest spread the half-width does not shrink (members that agree by chance promise no
certainty), above its largest it grows in proportion. The *factors* make the coverage right in every zone: within 5 px
of metal, within 10 px, and beyond. They are quantiles of the scores |x - x'| / table, in which every patient has the
same weight however many pixels there are, and one more patient is at infinity:

    (n / (n + 1)) R(factor) + 1 / (n + 1) <= 1 - coverage

R is the mean over n patients of the share of pixels outside the interval: conformal risk control (Angelopoulos, Bates,
Fisch, Lei, Schuster 2024, theorem 1) with the share of missed pixels as loss, which is also hierarchical conformal
prediction (Lee, Barber, Willett 2023). Every patient is scored by a table made of others (cross-conformal, Vovk 2015):
the table's own fit is paid for, but the bound becomes an approximation. See decision 0085.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError

COVERAGE = 0.9
ZONES_PX = (5.0, 10.0)
"""Distances from metal, in pixels, where the zones near it end; the last zone has no end."""

BANDS_PX = (2.0, 5.0, 10.0, 20.0, 40.0)
"""Distances from metal, in pixels, between which rows of the table are made."""

INNER_FOLDS = 5
_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
_LEAST_HU = 0.01
_MOST = 4000
"""Pixels of a patient in a band that the table is made of; the factors are made of all."""

_STEPS = 20
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Errors:
    """What a method said of pixels whose answer is known: one scan, in the body and outside the metal.

    Attributes:
        patient: who was scanned; scans of one patient count as one.
        spread: of the ensemble in HU, float32 [pixel].
        error: absolute, in HU, float32 [pixel].
        distance: from metal in the slice, in pixels, float32 [pixel]; infinity where there is none.
    """

    patient: str
    spread: Floats
    error: Floats
    distance: Floats


@dataclass(frozen=True)
class Row:
    """A row of the table: half-widths by spread at one distance from metal.

    Attributes:
        distance_px: from metal, in pixels.
        spread_hu: ascending.
        half_width_hu: not descending.
    """

    distance_px: float
    spread_hu: tuple[float, ...]
    half_width_hu: tuple[float, ...]

    def of(self, spread: Floats) -> NDArray[np.float64]:
        """Half-width in HU of spreads in HU."""
        known = np.log(np.maximum(self.spread_hu, _LEAST_HU))
        found = np.interp(np.log(np.maximum(spread, _LEAST_HU)), known, self.half_width_hu)
        return np.asarray(found * np.maximum(1.0, spread / max(self.spread_hu[-1], _LEAST_HU)))


@dataclass(frozen=True)
class HalfWidth:
    """How a spread becomes the half-width of an interval.

    Attributes:
        coverage: nominal share of pixels whose error is not above the half-width.
        table: rows by ascending distance from metal; interpolated between them, constant beyond them.
        zones_px: where zones end, as distances from metal in pixels, ascending; the last zone has no end.
        factors: one for each zone.
    """

    coverage: float
    table: tuple[Row, ...]
    zones_px: tuple[float, ...]
    factors: tuple[float, ...]

    def of(self, spread: Floats, distance: Floats) -> Floats:
        """Half-width in HU of spreads in HU at distances from metal in pixels; all of one shape."""
        factors = np.asarray(self.factors)[zone_of(distance, self.zones_px)]
        return np.asarray(factors * look_up(self.table, spread, distance), dtype=np.float32)


def look_up(table: Sequence[Row], spread: Floats, distance: Floats) -> NDArray[np.float64]:
    """Half-widths of a table, before the factors."""
    width = table[0].of(spread)
    for near, far in pairwise(table):
        share = np.clip((distance - near.distance_px) / (far.distance_px - near.distance_px), 0.0, 1.0)
        width = np.where(share > 0, (1.0 - share) * width + share * far.of(spread), width)
    return width


def zone_of(distance: Floats, zones_px: Sequence[float]) -> NDArray[np.intp]:
    """The number of the zone of each distance; a zone's end belongs to it."""
    return np.searchsorted(np.asarray(zones_px, dtype=np.float32), distance, side="left")


def distance_from(metal: NDArray[np.bool_]) -> Floats:
    """Distance of each pixel of a slice from metal, in pixels; infinity where there is none.

    Args:
        metal: bool [row, column].
    """
    from scipy.ndimage import distance_transform_edt

    if not metal.any():
        return np.full(metal.shape, np.inf, dtype=np.float32)
    return np.asarray(distance_transform_edt(~metal), dtype=np.float32)


def errors_of(patient: str, image: Floats, spread: Floats, reference: Floats, metal: NDArray[np.bool_]) -> Errors:
    """The pixels of one slice that a calibration looks at.

    Args:
        patient: who was scanned.
        image: the method's, HU [row, column].
        spread: of its ensemble, HU.
        reference: what is right, HU; says where the body is, too.
        metal: bool; not looked at.
    """
    from ctrestoration.evaluate.masks import body_mask

    where = body_mask(reference[None])[0] & ~metal
    error = np.abs(image.astype(np.float64) - reference).astype(np.float32)
    return Errors(patient, spread[where], error[where], distance_from(metal)[where])


def fit(
    scans: Sequence[Errors],
    coverage: float = COVERAGE,
    zones_px: tuple[float, ...] = ZONES_PX,
    bands_px: tuple[float, ...] = BANDS_PX,
) -> HalfWidth:
    """Calibrate on scans of several patients.

    Args:
        scans: of at least as many patients as the coverage needs, in every zone: nine for 0.9.
        coverage: nominal, 0.5..0.99.
        zones_px: see `HalfWidth`; empty: one zone, the body.
        bands_px: distances from metal between which rows of the table are made; empty: one row.

    Raises:
        InputError: coverage out of range, or too few patients.
    """
    if not 0.5 <= coverage <= 0.99:
        raise InputError(f"The coverage has to lie in 0.5..0.99, not {coverage:g}.")
    patients = by_patient(scans)
    least = least_patients(coverage)
    for zone in range(len(zones_px) + 1):
        count = sum(bool((zone_of(one.distance, zones_px) == zone).any()) for one in patients)
        if count < least:
            raise InputError(
                f"{count} patients with pixels {_zone_name(zone, zones_px)} are too few: {coverage:.0%} coverage needs "
                f"at least {least}."
            )
    scores: list[list[Floats]] = [[] for _ in range(len(zones_px) + 1)]
    for out in folds([one.patient for one in patients], INNER_FOLDS):
        table = _table([one for one in patients if one.patient not in out], coverage, bands_px)
        for one in (one for one in patients if one.patient in out):
            score = (one.error / look_up(table, one.spread, one.distance)).astype(np.float32)
            zones = zone_of(one.distance, zones_px)
            for zone, found in enumerate(scores):
                found.append(score[zones == zone])
    factors = []
    for found in scores:
        known = [score for score in found if score.size]
        factors.append(_quantile(known, coverage * (len(known) + 1) / len(known)))
    return HalfWidth(coverage, _table(patients, coverage, bands_px), tuple(zones_px), tuple(factors))


def least_patients(coverage: float) -> int:
    """Fewer patients can promise nothing: the one that is still to come could be missed whole."""
    return int(np.ceil(coverage / (1.0 - coverage) - 1e-9))


def by_patient(scans: Sequence[Errors]) -> list[Errors]:
    """The scans of each patient as one, in the order of their names."""
    joined = []
    for patient in sorted({scan.patient for scan in scans}):
        own = [scan for scan in scans if scan.patient == patient]
        fields = (np.concatenate([getattr(scan, name) for scan in own]) for name in ("spread", "error", "distance"))
        joined.append(Errors(patient, *fields))
    return joined


def folds(patients: Sequence[str], count: int) -> Iterator[set[str]]:
    """Patients in at most `count` groups of nearly one size, by the hash of their names."""
    ordered = sorted(set(patients), key=lambda name: hashlib.sha256(name.encode("utf-8")).hexdigest())
    for number in range(min(count, len(ordered))):
        yield set(ordered[number::count])


def _table(patients: Sequence[Errors], coverage: float, bands_px: tuple[float, ...]) -> tuple[Row, ...]:
    """A row for each band of distances that has pixels; between quantiles of the spread, the quantile of the error."""
    rows = []
    for band in range(len(bands_px) + 1):
        spread, error, distance, weights = _pixels(patients, bands_px, band)
        if not spread.size:
            continue
        edges = _weighted(spread, weights, _EDGES)
        places, widths = [], []
        for low, high in pairwise(edges):
            inside = (spread >= low) & (spread <= high)
            places.append(max(_weighted(spread[inside], weights[inside], (0.5,))[0], _LEAST_HU))
            widths.append(max(_weighted(error[inside], weights[inside], (coverage,))[0], _LEAST_HU))
        keep = np.unique(places, return_index=True)[1]
        near = float(np.mean(distance[np.isfinite(distance)])) if np.isfinite(distance).any() else 0.0
        rising = np.maximum.accumulate(widths)
        rows.append(Row(near, tuple(places[i] for i in keep), tuple(float(rising[i]) for i in keep)))
    return tuple(rows)


def _pixels(patients: Sequence[Errors], bands_px: Sequence[float], band: int) -> list[NDArray[Any]]:
    """Spread, error and distance of the pixels in a band, some of each patient, and their weights."""
    found: list[list[NDArray[Any]]] = [[], [], [], []]
    for one in patients:
        where = np.flatnonzero(zone_of(one.distance, bands_px) == band)
        where = where[:: max(1, where.size // _MOST)]
        arrays = one.spread[where], one.error[where], one.distance[where], np.full(where.size, 1.0 / max(where.size, 1))
        for values, array in zip(found, arrays, strict=True):
            values.append(array)
    return [np.concatenate(values) for values in found]


def _weighted(values: Floats, weights: NDArray[np.float64], levels: Sequence[float]) -> list[float]:
    """The smallest values at or below which lie these shares of the weight."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # Rounding of the sum must not ask for a value beyond the last.
    places = np.searchsorted(reached, (np.asarray(levels) - 1e-9) * reached[-1])
    return [float(value) for value in values[order[np.minimum(places, values.size - 1)]]]


def _quantile(groups: Sequence[Floats], level: float) -> float:
    """As `_weighted`, every group of the same weight."""
    weights = np.concatenate([np.full(group.size, 1.0 / group.size) for group in groups])
    return _weighted(np.concatenate(groups), weights, (level,))[0]


def _zone_name(zone: int, zones_px: Sequence[float]) -> str:
    if not zones_px:
        return "in the body"
    if zone == len(zones_px):
        return f"more than {zones_px[-1]:g} px from metal"
    return f"at most {zones_px[zone]:g} px from metal"


def measure(scans: Sequence[Errors], half_width: HalfWidth | Sequence[HalfWidth]) -> dict[str, Any]:
    """How good the intervals are on patients that they were not calibrated on.

    Args:
        scans: of those patients.
        half_width: to be judged; one for each patient, in the order of `by_patient`, where they were calibrated apart.

    Returns:
        JSON types: number of patients; coverage (mean over patients of the share of pixels within the interval), its
        standard deviation over patients and its lowest, in the body, within 5 and 10 px of metal, and in the fifth of
        the pixels with the smallest spread; median half-width in HU; Spearman's correlation of spread and error; AUSE,
        the area between the sparsification curves by half-width and by true error, as a share of the mean error. None
        where there is no such pixel.
    """
    patients = by_patient(scans)
    widths = [half_width] * len(patients) if isinstance(half_width, HalfWidth) else half_width
    bars = [width.of(one.spread, one.distance) for one, width in zip(patients, widths, strict=True)]
    least = np.quantile(np.concatenate([one.spread for one in patients]), 0.2)
    places = {"body": [np.ones(one.error.size, dtype=bool) for one in patients]}
    places |= {f"within {edge:g} px": [one.distance <= edge for one in patients] for edge in ZONES_PX}
    places["smallest spread"] = [one.spread <= least for one in patients]
    return {
        "patients": len(patients),
        "coverage": {
            name: _coverage([(one.error <= bar)[where] for one, bar, where in zip(patients, bars, wheres, strict=True)])
            for name, wheres in places.items()
        },
        "median_half_width_hu": {
            name: _middle([bar[where] for bar, where in zip(bars, wheres, strict=True)])
            for name, wheres in places.items()
        },
        "spearman": _mean([spearman(one.spread, one.error) for one in patients]),
        "ause": _mean([ause(bar, one.error) for one, bar in zip(patients, bars, strict=True)]),
    }


def _coverage(hits: Sequence[NDArray[np.bool_]]) -> dict[str, float | int] | None:
    shares = [float(hit.mean()) for hit in hits if hit.size]
    if not shares:
        return None
    spread = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return {"mean": float(np.mean(shares)), "sd": spread, "lowest": min(shares), "patients": len(shares)}


def _middle(values: Sequence[Floats]) -> float | None:
    found = np.concatenate(list(values))
    return float(np.median(found)) if found.size else None


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def spearman(spread: Floats, error: Floats) -> float:
    """Spearman's rank correlation; NaN where one of the two is constant or there are fewer than three pixels."""
    from scipy.stats import spearmanr

    if error.size < 3 or np.ptp(spread) == 0 or np.ptp(error) == 0:
        return float("nan")
    return float(spearmanr(spread, error).statistic)


def ause(uncertainty: Floats, error: Floats) -> float:
    """Area under the sparsification error (Ilg et al. 2018, section 4): 0 is a perfect order of the pixels.

    That is the mean error left when the least certain pixels are removed, less what is left when those of largest error
    are, averaged over shares removed and divided by the mean error. NaN where there is no error.
    """
    if error.size == 0 or not error.any():
        return float("nan")

    def left(by: Floats) -> NDArray[np.float64]:
        sums = np.concatenate([[0.0], np.cumsum(error[np.argsort(by, kind="stable")], dtype=np.float64)])
        kept = np.maximum(1, np.rint(error.size * (1.0 - np.arange(_STEPS) / _STEPS)).astype(int))
        return np.asarray(sums[kept] / kept)

    return float(np.mean(left(uncertainty) - left(error)) / error.mean(dtype=np.float64))
