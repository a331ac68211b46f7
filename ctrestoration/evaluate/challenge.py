"""The eight measures of the AAPM CT-MAR grand challenge 2024, without its reference tables.

Report of the challenge: Med. Phys. 2025, 10.1002/mp.70050. It turns each measure into points by tables that only its
own cases have (0 perfect, 2 as NMAR, 4 no gain); here the measures themselves are given, in their units. As there, the
corrected image has to contain the metal. The challenge measures noise in an even region drawn by hand; where none is
given, the spread of the error stands for it, as that of a whole patient would be anatomy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.evaluate.masks import body_mask
from ctrestoration.evaluate.metrics import dice
from ctrestoration.evaluate.proton_range import water_equivalent_thickness

BONE_HU = 150.0
METAL_ABOVE_BONE_HU = 250.0
METAL_MARGIN_PIXELS = 2
SSIM_RANGE_HU = 5000.0
SSIM_METAL_HU = 100.0
_TAIL = 0.05


def challenge_measures(
    image: NDArray[Any],
    reference: NDArray[Any],
    metal: NDArray[np.bool_],
    pixel_mm: float,
    region: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """All eight, of one slice.

    Args:
        image: HU, corrected, metal included [row, column].
        reference: HU, the same slice with metal in place and no artifact.
        metal: bool, where metal is.
        pixel_mm: side of a pixel in mm.
        region: bool, an even region where noise, sharpness and streaks are measured; None: the patient without metal
            and its margin.

    Returns:
        rmse_hu; noise_hu (standard deviation of the image in the region; without a region, of the error); sharpness
        (ratio of the 90th percentile of the Sobel gradient, 1 = as sharp as the reference); streak_hu (mean of the
        highest 5 % of the error minus mean of the lowest 5 %); ssim; bone_dice and bone_volume_ratio; metal_dice and
        metal_volume_ratio; range_error_mm (largest difference of the proton's water-equivalent thickness) and
        range_error_percent. None where a measure has no pixels to look at.

    Raises:
        InputError: shapes differ, values are not finite, or no patient is in the slice.
    """
    image, reference = (np.asarray(part, dtype=np.float64) for part in (image, reference))
    if not image.shape == reference.shape == metal.shape or image.ndim != 2:
        raise InputError(
            f"Image, reference and metal must be slices of one shape, not {image.shape}, {reference.shape} and "
            f"{metal.shape}."
        )
    if not (np.isfinite(image).all() and np.isfinite(reference).all()):
        raise InputError("Image or reference holds NaN or infinite voxels: the measures need finite HU everywhere.")
    patient = _patient(reference, metal)
    if not patient.any():
        raise InputError("The reference holds no patient: nothing in it is above -300 HU outside the metal.")
    error = image - reference
    uneven = error if region is None else image
    region = patient if region is None else region & ~_grown(metal)
    bone, true_bone = ((part > BONE_HU) & patient for part in (image, reference))
    found, true_metal = _metal_found(image, reference, metal, true_bone)
    return {
        "rmse_hu": float(np.sqrt(np.mean(error[patient] ** 2))),
        "noise_hu": float(uneven[region].std()) if region.any() else None,
        "sharpness": _sharpness(image, reference, region),
        "streak_hu": _streaks(error[region]) if region.any() else None,
        "ssim": _ssim(image, reference, metal),
        "bone_dice": dice(bone, true_bone),
        "bone_volume_ratio": _ratio(bone, true_bone),
        "metal_dice": dice(found, true_metal),
        "metal_volume_ratio": _ratio(found, true_metal),
        **_range_error(image, reference, pixel_mm),
    }


def challenge_of_volume(
    image: NDArray[Any], reference: NDArray[Any], metal: NDArray[np.bool_], pixels_mm: tuple[float, float]
) -> dict[str, Any]:
    """Means of `challenge_measures` over the axial slices that hold metal and a patient.

    Args:
        image: HU, corrected, metal included [z, y, x].
        reference: HU, same shape, the same without artifact.
        metal: bool, same shape.
        pixels_mm: spacing along x and y.

    Returns:
        The measures, each the mean over the slices that have it (None where none has), and "slices".

    Raises:
        InputError: pixels are not square, or no slice holds metal in a patient; see `challenge_measures`.
    """
    if not np.isclose(*pixels_mm, rtol=1e-3):
        raise InputError(
            f"The measures of the CT-MAR challenge need square pixels, not {pixels_mm[0]:g} x {pixels_mm[1]:g} mm."
        )
    if not image.shape == reference.shape == metal.shape or image.ndim != 3:
        raise InputError(
            f"Image, reference and metal must be volumes of one shape, not {image.shape}, {reference.shape} and "
            f"{metal.shape}."
        )
    rows = [
        challenge_measures(image[z], reference[z], metal[z], pixels_mm[0])
        for z in np.flatnonzero(metal.any(axis=(1, 2)))
        if _patient(reference[z], metal[z]).any()
    ]
    if not rows:
        raise InputError("No slice holds metal in a patient: the measures of the CT-MAR challenge need one.")
    return {**mean_measures(rows), "slices": len(rows)}


def mean_measures(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of every measure over the slices that have it; None where none has."""
    known = {key: [row[key] for row in rows if row[key] is not None] for key in rows[0]}
    return {key: float(np.mean(values)) if values else None for key, values in known.items()}  # type: ignore[arg-type]


def _patient(reference: NDArray[Any], metal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return body_mask(reference[None].astype(np.float32))[0] & ~_grown(metal)


def _grown(metal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(metal, iterations=METAL_MARGIN_PIXELS)) if metal.any() else metal


def _sharpness(image: NDArray[np.float64], reference: NDArray[np.float64], region: NDArray[np.bool_]) -> float | None:
    from scipy.ndimage import sobel

    if not region.any():
        return None
    steep, true = (
        float(np.percentile(np.hypot(sobel(part, axis=0), sobel(part, axis=1))[region], 90))
        for part in (image, reference)
    )
    return steep / true if true > 0 else None


def _streaks(error: NDArray[np.float64]) -> float:
    count = max(1, round(_TAIL * error.size))
    ordered = np.partition(error, (count - 1, error.size - count))
    return float(ordered[-count:].mean() - ordered[:count].mean())


def _ssim(image: NDArray[np.float64], reference: NDArray[np.float64], metal: NDArray[np.bool_]) -> float:
    from ctrestoration.evaluate.metrics import ssim_map

    ours, true = (np.where(metal, SSIM_METAL_HU, part)[None].astype(np.float32) for part in (image, reference))
    window = (-1000.0, SSIM_RANGE_HU - 1000.0)
    return float(ssim_map(ours, true, np.zeros(ours.shape, dtype=bool), window).mean(dtype=np.float64))


def _metal_found(
    image: NDArray[np.float64], reference: NDArray[np.float64], metal: NDArray[np.bool_], bone: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Metal in image and reference: above the brightest bone by 250 HU."""
    level = float(reference[bone].max()) if bone.any() else BONE_HU
    level = max(level, BONE_HU) + METAL_ABOVE_BONE_HU
    return image > level, (reference > level) | metal


def _ratio(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float | None:
    return float(found.sum()) / float(true.sum()) if true.any() else None


def _range_error(image: NDArray[np.float64], reference: NDArray[np.float64], pixel_mm: float) -> dict[str, float]:
    ours, true = (water_equivalent_thickness(part, pixel_mm) for part in (image, reference))
    difference = np.abs(ours - true)
    return {
        "range_error_mm": float(difference.max()),
        "range_error_percent": float(100.0 * difference.max() / max(float(true.max()), 1e-6)),
    }
