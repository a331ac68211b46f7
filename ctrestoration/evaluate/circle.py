"""PSNR and SSIM inside the circle that touches the image's edges, as low-dose reconstruction reports them.

Papers differ in what they divide by, so the data range and the window stand beside every number. The SSIM map is
averaged inside the circle; masking the images instead counts the outside as perfect, which adds about 0.2.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.evaluate.metrics import structural_similarity

LODOPAB_WINDOW = (-1001.0, 3071.0)
"""0 and 1 of LoDoPaB's scale in HU: nothing, and 3071 HU."""

SSIM_CONVENTION = "Gaussian weights 11x11, sigma 1.5, population covariance, K1 0.01, K2 0.03"
Range = Literal["fixed", "truth"]


def circle_mask(shape: tuple[int, ...] | NDArray[Any]) -> NDArray[np.bool_]:
    """True inside the centered circle that touches the shorter edges; radius 256 pixels at 512x512.

    Args:
        shape: rows and columns.
    """
    rows, columns = (int(length) for length in shape)
    y, x = np.ogrid[:rows, :columns]
    radius = min(rows, columns) / 2
    inside: NDArray[np.bool_] = (y - (rows - 1) / 2) ** 2 + (x - (columns - 1) / 2) ** 2 <= radius**2
    return inside


def circle_scores(
    image: NDArray[np.floating],
    reference: NDArray[np.floating],
    window: tuple[float, float] = LODOPAB_WINDOW,
    data_range: Range = "fixed",
    clip: bool = False,
    ssim_of: Literal["map", "masked_images"] = "map",
) -> dict[str, Any]:
    """PSNR and SSIM of one slice in the circle.

    Args:
        image: HU [row, column].
        reference: HU, same shape.
        window: (low, high) in HU that become 0 and 1.
        data_range: "fixed": 1, the width of the window; "truth": maximum - minimum of the reference in the circle, as
            dival does.
        clip: clip both to the window first. LoDoPaB's noisy images are not clipped; that would add about 0.5 dB.
        ssim_of: "map": the map averaged in the circle; "masked_images": the mean over the whole of images that are set
            to 0 outside, which is nearer to what some papers print.

    Returns:
        `psnr_db` (None where equal), `ssim`, `data_range` (as a share of the window), `window`, `mask`,
        `ssim_convention`.

    Raises:
        InputError: shapes differ, or values are not finite.
    """
    if image.shape != reference.shape or image.ndim != 2:
        raise InputError(f"Image and reference must be slices of one shape, not {image.shape} and {reference.shape}.")
    if not (np.isfinite(image).all() and np.isfinite(reference).all()):
        raise InputError("Image or reference holds NaN or infinite pixels: metrics need finite HU everywhere.")
    low, high = window
    a, b = ((part.astype(np.float64) - low) / (high - low) for part in (image, reference))
    if clip:
        a, b = np.clip(a, 0, 1), np.clip(b, 0, 1)
    inside = circle_mask(image.shape)
    width = 1.0 if data_range == "fixed" else float(b[inside].max() - b[inside].min())
    if width <= 0:
        raise InputError("The reference is constant in the circle: its range is 0; use data_range 'fixed'.")
    error = float(np.mean((a[inside] - b[inside]) ** 2))
    if ssim_of == "map":
        similarity = float(structural_similarity(a, b, width)[inside].mean())
    else:
        similarity = float(structural_similarity(np.where(inside, a, 0), np.where(inside, b, 0), width).mean())
    return {
        "psnr_db": None if error == 0 else float(10 * np.log10(width**2 / error)),
        "ssim": similarity,
        "data_range": width,
        "window": [float(low), float(high)],
        "mask": "centered circle" if ssim_of == "map" else "centered circle; SSIM of masked images",
        "ssim_convention": SSIM_CONVENTION,
    }
