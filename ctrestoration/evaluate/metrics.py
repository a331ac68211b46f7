"""PSNR, SSIM, RMSE and Dice of CT images, each with the window and the mask it was computed in.

Every number here uses a fixed linear HU window that is stated beside it: images are clipped to the window and scaled
to 0..1 before PSNR and SSIM. The popular alternative, stretching each image by its own minimum and maximum, moves
PSNR by up to 10 dB with the brightest pixel and is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.evaluate.masks import body_mask, metal_ring

BENCHMARK_WINDOW = (-1000.0, 1604.0)
"""0 to 0.5 1/cm at 0.192 1/cm for water: the linear range of the public MAR benchmarks, in HU."""

BONE_HU = 150.0
"""Bone for the Dice score, as in the AAPM CT-MAR grand challenge."""

RING_PIXELS = 10


@dataclass(frozen=True)
class Scores:
    """Numbers over one mask.

    Attributes:
        psnr_db: peak signal-to-noise ratio with the window's width as peak; None where the images are equal.
        ssim: structural similarity averaged over the mask.
        rmse_hu: root mean square error in HU, of unclipped values.
        voxels: size of the mask.
    """

    psnr_db: float | None
    ssim: float | None
    rmse_hu: float
    voxels: int


def evaluate(
    image: NDArray[np.float32],
    reference: NDArray[np.float32],
    metal: NDArray[np.bool_] | None = None,
    window: tuple[float, float] = BENCHMARK_WINDOW,
) -> dict[str, Any]:
    """Every image metric of a volume against its reference.

    Args:
        image: HU [z, y, x], axial slices along the first axis.
        reference: HU, same shape.
        metal: bool, same shape; metal is left out of every number. None: there is none.
        window: (low, high) in HU for PSNR and SSIM.

    Returns:
        JSON-serializable: `psnr_db` (None where infinite), `ssim`, `rmse_hu` outside the metal; `ring_rmse_hu` (None
        without metal); `dice` of bone; `window`; `mask` (what each number was computed over); `regions` with the
        same numbers over the body and the ring.

    Raises:
        InputError: shapes differ, values are not finite, the window is empty, or metal fills the volume.
    """
    image, reference, metal = _checked(image, reference, metal, window)
    outside = ~metal
    body = body_mask(reference) & outside
    ring = metal_ring(metal, RING_PIXELS) if metal.any() else None
    similarity = ssim_map(image, reference, metal, window)
    regions = {"outside_metal": _scores(image, reference, outside, window, similarity)}
    if body.any():
        regions["body"] = _scores(image, reference, body, window, similarity)
    if ring is not None and ring.any():
        regions["ring"] = _scores(image, reference, ring, window, similarity)
    whole = regions["outside_metal"]
    return {
        "psnr_db": whole.psnr_db,
        "ssim": whole.ssim,
        "rmse_hu": whole.rmse_hu,
        "ring_rmse_hu": regions["ring"].rmse_hu if "ring" in regions else None,
        "dice": dice((image > BONE_HU) & body, (reference > BONE_HU) & body),
        "window": [float(window[0]), float(window[1])],
        "mask": {
            "psnr_db": "every voxel outside the metal",
            "ssim": "every voxel outside the metal; metal set to the window's low end in both images",
            "rmse_hu": "every voxel outside the metal, values not clipped to the window",
            "ring_rmse_hu": f"voxels within {RING_PIXELS} pixels of metal in their slice, values not clipped",
            "dice": f"bone, above {BONE_HU:g} HU, inside the body and outside the metal",
        },
        "regions": {name: vars(scores) for name, scores in regions.items()},
    }


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float | None:
    """Dice overlap 2 |A and B| / (|A| + |B|) of two masks; None where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return None if total == 0 else 2.0 * int((first & second).sum()) / total


def ssim_map(
    image: NDArray[np.float32],
    reference: NDArray[np.float32],
    metal: NDArray[np.bool_],
    window: tuple[float, float] = BENCHMARK_WINDOW,
) -> NDArray[np.float32]:
    """Structural similarity of every pixel, slice by slice.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13 (2004) 600,
    Eq. 13: Gaussian weights of 11x11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, dynamic range 1 (the window's width).

    Args:
        image: HU [z, y, x].
        reference: HU, same shape.
        metal: bool, same shape; both images are set to the window's low end there.
        window: (low, high) in HU.

    Returns:
        float32, same shape.
    """
    low, high = window
    out = np.empty(image.shape, dtype=np.float32)
    for z in range(image.shape[0]):
        hidden = metal[z]
        a, b = (
            np.where(hidden, 0.0, np.clip((part[z].astype(np.float64) - low) / (high - low), 0.0, 1.0))
            for part in (image, reference)
        )
        out[z] = structural_similarity(a, b)
    return out


def structural_similarity(
    a: NDArray[np.float64], b: NDArray[np.float64], data_range: float = 1.0
) -> NDArray[np.float64]:
    """The map of `ssim_map`, of two scaled slices [row, column] and any dynamic range."""
    from scipy.ndimage import gaussian_filter

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b, aa, bb, ab = (
        gaussian_filter(x, sigma=1.5, radius=5, mode="reflect") for x in (a, b, a * a, b * b, a * b)
    )
    structure = (2 * mean_a * mean_b + c1) * (2 * (ab - mean_a * mean_b) + c2)
    energy = (mean_a**2 + mean_b**2 + c1) * (aa - mean_a**2 + bb - mean_b**2 + c2)
    similarity: NDArray[np.float64] = structure / energy
    return similarity


def _scores(
    image: NDArray[np.float32],
    reference: NDArray[np.float32],
    mask: NDArray[np.bool_],
    window: tuple[float, float],
    similarity: NDArray[np.float32],
) -> Scores:
    low, high = window
    a, b = image[mask].astype(np.float64), reference[mask].astype(np.float64)
    clipped = float(np.mean((np.clip(a, low, high) - np.clip(b, low, high)) ** 2)) / (high - low) ** 2
    return Scores(
        psnr_db=None if clipped == 0 else float(-10.0 * np.log10(clipped)),
        ssim=float(similarity[mask].mean(dtype=np.float64)),
        rmse_hu=float(np.sqrt(np.mean((a - b) ** 2))),
        voxels=int(mask.sum()),
    )


def _checked(
    image: NDArray[np.float32],
    reference: NDArray[np.float32],
    metal: NDArray[np.bool_] | None,
    window: tuple[float, float],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    if image.shape != reference.shape or image.ndim != 3:
        raise InputError(f"Image and reference must be volumes of one shape, not {image.shape} and {reference.shape}.")
    if not (np.isfinite(image).all() and np.isfinite(reference).all()):
        raise InputError("Image or reference holds NaN or infinite voxels: metrics need finite HU everywhere.")
    if not (np.isfinite(window).all() and window[0] < window[1]):
        raise InputError(f"The window {window[0]:g} {window[1]:g} is empty: give LOW HIGH in HU, LOW below HIGH.")
    metal = np.zeros(image.shape, dtype=bool) if metal is None else np.asarray(metal, dtype=bool)
    if metal.shape != image.shape:
        raise InputError(
            f"The metal mask has shape {metal.shape}, the image {image.shape}: they must be the same grid."
        )
    if metal.all():
        raise InputError("The metal mask covers the whole volume: nothing is left to measure.")
    return image, reference, metal
