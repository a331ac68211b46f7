"""The calibration beside weights: what makes an error bar of the spread of their ensemble, and where it was measured.

`x.calibration.json` lies beside `x.safetensors`, whose digest it holds: it says nothing about other weights. The
arithmetic is in `evaluate.calibration`, making one in `models.calibrate`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.evaluate.calibration import HalfWidth, Row, distance_from
from ctrestoration.jobs.durable import replace_json, sha256_of
from ctrestoration.jobs.outcome import DataRefusedError

SCHEMA = 1
ENDING = ".calibration.json"
SAME_PIXELS = 1.25
"""Pixels larger or smaller than the calibrated ones by more than this factor are told to the user."""

NOTABLE_SHARE = 0.001
"""Share of the body with a larger spread than ever seen that is told to the user."""


@dataclass(frozen=True)
class Calibration:
    """How the spread of one network's ensemble becomes a half-width, and what is known about it.

    Attributes:
        half_width: the map.
        largest_spread_hu: the largest spread seen in calibration.
        ensemble: whose spread it is, in the words of the provenance.
        weights: SHA-256 of the weights file.
        scope: method, task, data, patients, scans, sources, scanners, pixel_mm (smallest, largest), reference, mask,
            date, version; JSON types.
        measured: coverage on patients that were not calibrated on, see `evaluate.calibration.measure`.
    """

    half_width: HalfWidth
    largest_spread_hu: float
    ensemble: str
    weights: str
    scope: dict[str, Any]
    measured: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write it; an older file is replaced whole."""
        width = self.half_width
        replace_json(
            path,
            {
                "schema": SCHEMA,
                "weights_sha256": self.weights,
                "ensemble": self.ensemble,
                "coverage": width.coverage,
                "unit": "HU",
                "half_width": "factor of the zone x table, see ctrestoration.evaluate.calibration",
                "table": [asdict(row) for row in width.table],
                "zones_px": list(width.zones_px),
                "factors": list(width.factors),
                "largest_spread_hu": self.largest_spread_hu,
                "scope": self.scope,
                "measured": self.measured,
            },
        )


def beside(weights: Path) -> Path:
    """Where the calibration of a weights file lies, if there is one."""
    return weights.with_suffix(ENDING)


def calibration_of(weights: Path, path: Path | None = None) -> Calibration | None:
    """The calibration of a weights file; None where none was made.

    Args:
        weights: the file.
        path: of the calibration; None: the one beside the weights.

    Raises:
        InputError: `path` does not exist, or it belongs to other weights.
        DataRefusedError: it is damaged.
    """
    found = beside(weights) if path is None else path
    if path is None and not found.is_file():
        return None
    calibration = read_calibration(found)
    if calibration.weights != sha256_of(weights):
        raise InputError(
            f"{found} was made for other weights than {weights.name}: calibrate these with 'ctrestoration models "
            "calibrate', or take the file away for a spread that is not calibrated."
        )
    return calibration


def read_calibration(path: Path) -> Calibration:
    """Read and check a calibration.

    Raises:
        InputError: there is no such file.
        DataRefusedError: it is damaged, or no calibration.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"There is no calibration {path}.") from error
    except ValueError as error:
        raise DataRefusedError(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataRefusedError(f"{path} is no calibration of version {SCHEMA}.")
    try:
        zones, factors = (tuple(float(value) for value in content[name]) for name in ("zones_px", "factors"))
        width = HalfWidth(float(content["coverage"]), tuple(map(_row, content["table"])), zones, factors)
        found = Calibration(
            width, float(content["largest_spread_hu"]), str(content["ensemble"]), str(content["weights_sha256"]),
            dict(content["scope"]), dict(content["measured"]),
        )  # fmt: skip
        low, high = (float(value) for value in found.scope["pixel_mm"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataRefusedError(f"{path} is damaged: {error} is missing or of a wrong kind.") from error
    if not _sound(width, found.largest_spread_hu, low, high):
        raise DataRefusedError(f"{path} is damaged: its numbers do not fit together.")
    return found


def _row(content: Any) -> Row:
    spread, width = (tuple(float(value) for value in content[name]) for name in ("spread_hu", "half_width_hu"))
    return Row(float(content["distance_px"]), spread, width)


def _sound(width: HalfWidth, *others: float) -> bool:
    """Whether numbers are finite, positive and in order."""
    values = [
        *others,
        *width.zones_px,
        *width.factors,
        *(v for row in width.table for v in (*row.spread_hu, *row.half_width_hu)),
    ]
    if not all(math.isfinite(value) and value > 0 for value in values) or not 0 < width.coverage < 1:
        return False
    distances = [row.distance_px for row in width.table]
    ascending = [list(width.zones_px), distances, *(list(row.spread_hu) for row in width.table)]
    return (
        len(width.factors) == len(width.zones_px) + 1
        and all(values == sorted(set(values)) for values in ascending)
        and all(0 < len(row.spread_hu) == len(row.half_width_hu) for row in width.table)
        and bool(width.table)
        and all(math.isfinite(distance) and distance >= 0 for distance in distances)
        and all(list(row.half_width_hu) == sorted(row.half_width_hu) for row in width.table)
    )


class ErrorBars:
    """The uncertainty of a volume, slice by slice: half-widths where there is a calibration, else spreads.

    Args:
        calibration: of the weights, or None.
        ensemble: whose spread it is.
        source: where the data came from, as the acquisition's provenance says.
        pixel_mm: (column, row).

    Raises:
        InputError: the calibration is that of another ensemble of the same network.
    """

    def __init__(
        self, calibration: Calibration | None, ensemble: str, source: str, pixel_mm: tuple[float, float]
    ) -> None:
        if calibration is not None and calibration.ensemble != ensemble:
            raise InputError(
                f"The calibration is that of a {calibration.ensemble}, and what is at hand is a {ensemble}: its spread "
                "is another one."
            )
        self.calibration, self._source, self._pixel_mm = calibration, source, pixel_mm
        self._body = self._beyond = 0

    def of(self, spread: NDArray[np.float32], image: NDArray[np.float32], metal: NDArray[np.bool_]) -> Any:
        """What is written for one slice, HU [row, column]; 0 in metal, of which nothing is said.

        Args:
            spread: standard deviation of the ensemble, HU.
            image: restored, HU.
            metal: bool.
        """
        if self.calibration is None:
            return np.where(metal, np.float32(0.0), spread)
        from ctrestoration.evaluate.masks import body_mask

        body = body_mask(image[None])[0] & ~metal
        self._body += int(body.sum())
        self._beyond += int((spread[body] > self.calibration.largest_spread_hu).sum())
        width = self.calibration.half_width.of(spread, distance_from(metal))
        return np.where(metal, np.float32(0.0), width)

    def facts(self) -> dict[str, Any] | None:
        """What the provenance says about the half-widths, JSON types; None where there is no calibration."""
        if self.calibration is None:
            return None
        share = self._beyond / self._body if self._body else 0.0
        scope, measured = self.calibration.scope, self.calibration.measured
        return {
            "meaning": "half-width of the interval around the image",
            "coverage": self.calibration.half_width.coverage,
            "unit": "HU",
            "patients": scope.get("patients"),
            "measured_coverage": measured.get("coverage"),
            "scope": scope,
            "share_beyond_calibration": share,
            "outside_scope": self._outside(share),
        }

    def _outside(self, share: float) -> list[str]:
        """What tells that the calibration may not hold here; that nothing is said proves nothing."""
        if self.calibration is None:
            return []
        scope, said = self.calibration.scope, []
        low, high = scope["pixel_mm"]
        if min(self._pixel_mm) * SAME_PIXELS < low or max(self._pixel_mm) > high * SAME_PIXELS:
            known = f"{low:g} mm" if low == high else f"{low:g} to {high:g} mm"
            said.append(f"pixels of {max(self._pixel_mm):.3g} mm, calibrated at {known}")
        sources = scope.get("sources", [])
        if self._source not in sources:
            said.append(f"data are {self._source!r}, calibrated on {' and '.join(map(repr, sources))}")
        if share > NOTABLE_SHARE:
            said.append(f"{share:.1%} of the body has a larger spread than any pixel of the calibration")
        return said
