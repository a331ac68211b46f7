"""Scanner presets: published geometries, and a generic clinical one for images without raw data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ctrestoration.errors import InputError
from ctrestoration.physics.geometry import FanArc, FanFlat, Geometry, ImageGrid, ParallelBeam


@dataclass(frozen=True)
class ScannerPreset:
    """A named scanner.

    Attributes:
        name: what the command line calls it.
        source: where its numbers come from.
        field_of_view: nominal width in mm that every image is scaled to, or None for true scale.
        geometry: makes the geometry for an image grid in mm.
        fbp_mode: how its data are reconstructed by default.
        fbp_window: the filter window it is reconstructed with by default.
    """

    name: str
    source: str
    field_of_view: float | None
    geometry: Callable[[ImageGrid], Geometry]
    fbp_mode: str = "exact"
    fbp_window: str = "ram-lak"

    def image_grid(self, shape: tuple[int, int], spacing: tuple[float, float]) -> ImageGrid:
        """The slice as this scanner sees it: true size, or scaled so that its longer side is the field of view."""
        if self.field_of_view is None:
            return ImageGrid(shape, spacing)
        scale = self.field_of_view / max(shape[0] * spacing[0], shape[1] * spacing[1])
        return ImageGrid(shape, (spacing[0] * scale, spacing[1] * scale))


def _syndeeplesion(grid: ImageGrid) -> Geometry:
    pixel = 153.6 / 416
    return FanFlat(
        n_views=640,
        n_bins=641,
        pitch=1.835609 * pixel,
        first_angle=math.pi / 640,
        source_distance=1075 * pixel,
        detector_distance=1075 * pixel,
    )


def _adn(grid: ImageGrid) -> Geometry:
    distance = 1075 * 0.6
    return FanArc(320, 197, math.radians(0.1), source_distance=distance, detector_distance=distance)


def _aapm(grid: ImageGrid) -> Geometry:
    return FanArc(1000, 900, 1.0 / 950.0, offset=-1.25, source_distance=550.0, detector_distance=400.0)


def _lodopab(grid: ImageGrid) -> Geometry:
    extent = max(grid.shape[0] * grid.spacing[0], grid.shape[1] * grid.spacing[1])
    return ParallelBeam(1000, 513, extent * math.sqrt(2.0) / 513, first_angle=0.5 * math.pi / 1000)


def _clinical(grid: ImageGrid) -> Geometry:
    source, detector, views = 595.0, 490.6, 984
    pixel = min(grid.spacing)
    # Wide enough for the corners of the image, as fine at the isocenter as its pixels.
    reach = math.tan(math.asin(min((grid.radius + pixel) / source, 0.95))) * (source + detector)
    pitch = pixel * (source + detector) / source
    bins = 2 * math.ceil(reach / pitch) + 1
    return FanFlat(views, bins, pitch, source_distance=source, detector_distance=detector)


PRESETS: dict[str, ScannerPreset] = {
    preset.name: preset
    for preset in (
        ScannerPreset(
            "syndeeplesion-640",
            "SynDeepLesion benchmark: Yu et al., IEEE TMI 40 (2021) 228; Wang et al., MICCAI 2021. Bodies are scaled "
            "to a nominal field of view of 153.6 mm, as published.",
            153.6,
            _syndeeplesion,
        ),
        ScannerPreset(
            "adn-256",
            "Artifact disentanglement network: Liao et al., IEEE TMI 39 (2020) 634, and its public code: curved "
            "detector of 197 bins of 0.1 degrees, 320 views, 256 pixels of 0.6 mm.",
            153.6,
            _adn,
        ),
        ScannerPreset(
            "aapm-ctmar",
            "AAPM CT-MAR grand challenge 2024: curved detector of 900 columns of 1 mm, 550 mm to the isocenter, 950 mm "
            "to the detector, quarter-detector offset -1.25 columns, 1000 views. Its bowtie, crosstalk and GOS "
            "detector are left out.",
            None,
            _aapm,
        ),
        ScannerPreset(
            "lodopab",
            "LoDoPaB-CT: Leuschner et al., Scientific Data 8 (2021) 109: parallel beam, 1000 views over half a turn, "
            "513 bins, every image taken as 260 mm wide.",
            260.0,
            _lodopab,
        ),
        ScannerPreset(
            "clinical",
            "Generic true-scale diagnostic scanner: source to isocenter 595 mm, source to detector 1085.6 mm, 984 "
            "views; detector as fine as the image and wide enough for its corners. Reconstructed with a Hann window, "
            "as smooth as a standard body kernel: sharper ones show aliasing of a detector no finer than the pixels.",
            None,
            _clinical,
            fbp_window="hann",
        ),
    )
}


def scanner_preset(name: str) -> ScannerPreset:
    """The preset of that name.

    Raises:
        InputError: unknown; the message lists the known ones.
    """
    if name not in PRESETS:
        raise InputError(f"Unknown scanner preset {name!r}: known ones are {', '.join(PRESETS)}.")
    return PRESETS[name]
