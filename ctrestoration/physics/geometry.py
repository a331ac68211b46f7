"""Scanner geometries: parallel beam, fan beam with a flat and with a curved detector.

Coordinates in a slice: x to the right of the picture (the patient's left), y up (anterior), origin at the isocenter,
mm. Every geometry becomes one ray table: for each view and bin the line x cos(phi) + y sin(phi) = s, stored as
(cos phi, sin phi, s). Projector and adjoint know nothing else, so one kernel serves all geometries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError


@dataclass(frozen=True)
class ImageGrid:
    """The pixels of a slice, centered on the isocenter.

    Attributes:
        shape: (rows, columns), each at least 1.
        spacing: (row, column) pixel size in mm, positive.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]

    def __post_init__(self) -> None:
        shape = (int(self.shape[0]), int(self.shape[1]))
        spacing = (float(self.spacing[0]), float(self.spacing[1]))
        if min(shape) < 1 or not all(math.isfinite(step) and step > 0 for step in spacing):
            raise InputError(
                f"An image grid needs sizes of at least 1 and positive spacings, not {shape}, {spacing} mm."
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "spacing", spacing)

    @property
    def radius(self) -> float:
        """Distance in mm from the isocenter to the outer corner of a corner pixel."""
        return 0.5 * math.hypot(self.shape[0] * self.spacing[0], self.shape[1] * self.spacing[1])

    def coordinates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(x of every column, y of every row) in mm; y falls with the row index."""
        rows, columns = self.shape
        x = np.asarray((np.arange(columns) - 0.5 * (columns - 1)) * self.spacing[1], dtype=np.float64)
        y = np.asarray((0.5 * (rows - 1) - np.arange(rows)) * self.spacing[0], dtype=np.float64)
        return x, y


@dataclass(frozen=True)
class Geometry:
    """What all scanner geometries share.

    Attributes:
        n_views: number of views, equally spaced over `arc`.
        n_bins: number of detector bins.
        pitch: width of a detector bin: mm at the detector (flat), radians (curved), mm (parallel).
        first_angle: angle of the first view in radians.
        arc: angle covered by all views in radians; views stand at first_angle + i * arc / n_views.
        offset: shift of the detector in bins: bin j is centered at (j - (n_bins - 1) / 2 + offset) * pitch.
    """

    n_views: int
    n_bins: int
    pitch: float
    first_angle: float = 0.0
    arc: float = 2.0 * math.pi
    offset: float = 0.0

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.n_views < 1 or self.n_bins < 2:
            raise InputError(f"A scan needs at least 1 view and 2 bins, not {self.n_views} and {self.n_bins}.")
        if not (math.isfinite(self.pitch) and self.pitch > 0):
            raise InputError(f"The detector pitch must be positive, not {self.pitch}.")
        if not 0 < self.arc <= 2 * math.pi * (1 + 1e-9):
            raise InputError(f"The scan must cover an arc above 0 and up to 2 pi radians, not {self.arc}.")

    @property
    def angles(self) -> NDArray[np.float64]:
        """View angles in radians."""
        return np.asarray(self.first_angle + np.arange(self.n_views) * (self.arc / self.n_views), dtype=np.float64)

    @property
    def bins(self) -> NDArray[np.float64]:
        """Centers of the bins in mm or radians (as `pitch`), from the central ray."""
        places = np.arange(self.n_bins) - 0.5 * (self.n_bins - 1) + self.offset
        return np.asarray(places * self.pitch, dtype=np.float64)

    def rays(self) -> NDArray[np.float64]:
        """The ray table [view, bin, 3]: (cos phi, sin phi, s in mm)."""
        raise TypeError(f"{type(self).__name__} is only the base of the geometries")

    @property
    def field_radius(self) -> float:
        """Radius in mm of the circle around the isocenter that every view sees whole."""
        s = self.rays()[0, :, 2]
        return float(max(min(-s.min(), s.max()), 0.0))

    @property
    def bin_width(self) -> float:
        """Width in mm of the central bin, seen at the isocenter."""
        s = np.sort(self.rays()[0, :, 2])
        return float(np.diff(s).max())

    def truncated_fraction(self, grid: ImageGrid) -> float:
        """Share of the pixels of a grid that some view does not see (0..1)."""
        x, y = grid.coordinates()
        return float((x[None, :] ** 2 + y[:, None] ** 2 > self.field_radius**2).mean())

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable description; `from_dict` reads it back."""
        return {"kind": self.kind, **vars(self)}

    @staticmethod
    def from_dict(description: dict[str, Any]) -> Geometry:
        """The geometry of a description made by `to_dict`.

        Raises:
            InputError: unknown kind or fields.
        """
        kinds = {kind.kind: kind for kind in (ParallelBeam, FanFlat, FanArc)}
        fields = dict(description)
        kind = fields.pop("kind", None)
        if kind not in kinds:
            raise InputError(f"Unknown scanner geometry {kind!r}: known ones are {', '.join(kinds)}.")
        try:
            return kinds[kind](**fields)
        except TypeError as error:
            raise InputError(f"The description of a {kind} geometry does not fit: {error}.") from error


@dataclass(frozen=True)
class ParallelBeam(Geometry):
    """Parallel rays; the line of view t and bin u is x cos(t) + y sin(t) = u."""

    arc: float = math.pi
    kind: ClassVar[str] = "parallel"

    def rays(self) -> NDArray[np.float64]:
        """The ray table [view, bin, 3]."""
        t, u = np.broadcast_arrays(self.angles[:, None], self.bins[None, :])
        return np.stack([np.cos(t), np.sin(t), u], axis=-1)


@dataclass(frozen=True)
class _Fan(Geometry):
    """A fan beam; the source of view t stands at source_distance * (sin t, -cos t).

    Attributes:
        source_distance: source to isocenter in mm.
        detector_distance: isocenter to detector in mm.
    """

    source_distance: float = 0.0
    detector_distance: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.source_distance > 0 and self.detector_distance >= 0):
            raise InputError(
                f"A fan beam needs a source distance above 0 and a detector distance of at least 0 mm, not "
                f"{self.source_distance} and {self.detector_distance}."
            )

    @property
    def magnification(self) -> float:
        """Detector length over the length it covers at the isocenter."""
        return (self.source_distance + self.detector_distance) / self.source_distance

    @property
    def fan_angles(self) -> NDArray[np.float64]:
        """Angle of each bin's ray against the central ray in radians, positive along (cos t, sin t)."""
        raise TypeError(f"{type(self).__name__} is only the base of the fan geometries")

    def rays(self) -> NDArray[np.float64]:
        """The ray table [view, bin, 3]: phi = t - gamma, s = source_distance * sin(gamma)."""
        gamma = self.fan_angles[None, :]
        phi = self.angles[:, None] - gamma
        s = np.broadcast_to(self.source_distance * np.sin(gamma), phi.shape)
        return np.stack([np.cos(phi), np.sin(phi), s], axis=-1)


@dataclass(frozen=True)
class FanFlat(_Fan):
    """Fan beam on a straight detector; `pitch` in mm at the detector."""

    kind: ClassVar[str] = "fan-flat"

    @property
    def fan_angles(self) -> NDArray[np.float64]:
        """atan(u / source to detector)."""
        return np.arctan(self.bins / (self.source_distance + self.detector_distance))


@dataclass(frozen=True)
class FanArc(_Fan):
    """Fan beam on a detector curved around the source; `pitch` in radians."""

    kind: ClassVar[str] = "fan-arc"

    @property
    def fan_angles(self) -> NDArray[np.float64]:
        """The bins themselves."""
        return self.bins
