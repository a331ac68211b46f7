"""A stack of DICOM slices becomes a volume: ordered by position, checked for gaps, straightened where tilted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.io._itk import quiet, simpleitk
from ctrestoration.volume import AIR_HU, Grid

_SAME_POSITION_MM = 1e-3
_EVEN = 0.1
"""Slices may lie off their even positions by this share of the spacing: headers round positions."""

_STRAIGHT_PIXELS = 0.5
"""A stack whose last slice lies off the normal by less than this is straight: headers round directions, too."""


@dataclass(frozen=True)
class Stack:
    """Images of one size and orientation, in any order.

    Attributes:
        files: one file an image.
        positions: LPS mm of the first pixel of every image, [image, 3].
        orientation: 2x3, unit vectors along a row and along a column.
        spacing: mm between columns and between rows.
    """

    files: tuple[str, ...]
    positions: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: tuple[float, float]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector through the slices; towards the head for axial slices."""
        normal = np.cross(self.orientation[0], self.orientation[1])
        return normal / np.linalg.norm(normal)

    @property
    def heights(self) -> NDArray[np.float64]:
        """Position of every image along the normal in mm."""
        return self.positions @ self.normal

    def picked(self, order: Any) -> Stack:
        """The stack of some of the images, in the given order."""
        return replace(self, files=tuple(self.files[int(n)] for n in order), positions=self.positions[order])


def stacked(
    stack: Stack, pixels: NDArray[np.float32], name: str, *, resample: bool
) -> tuple[NDArray[np.float32], Grid, dict[str, Any]]:
    """Make one volume of a stack.

    Args:
        stack: the images.
        pixels: their values, [image, y, x].
        name: what to call them in messages.
        resample: interpolate slices at uneven positions onto even ones rather than refuse them.

    Returns:
        Array [z, y, x] float32, its grid, and what was done, for the provenance.

    Raises:
        InputError: several different images at one position, uneven or missing slices.
    """
    order = np.argsort(stack.heights, kind="stable")
    stack, array, done = _distinct(stack.picked(order), pixels[order], name)
    if len(stack.files) == 1:
        return array, _grid(stack, array, stack.normal * 1.0), done
    complaint = _unevenness(stack.heights)
    if complaint and not resample:
        raise InputError(f"{name}: {complaint}; give the missing files, or --resample to interpolate between slices.")
    if complaint:
        stack, array = _evened(stack, array)
        done["resampled"] = complaint
    step = (stack.positions[-1] - stack.positions[0]) / (len(stack.files) - 1)
    drift = np.abs(stack.orientation @ step) / np.asarray(stack.spacing)
    if float(drift.max()) * (len(stack.files) - 1) > _STRAIGHT_PIXELS:
        lean = np.degrees(np.arccos(min(1.0, float(step @ stack.normal) / float(np.linalg.norm(step)))))
        warnings.warn(
            f"{name}: the gantry was tilted by {lean:.1f} degrees; the slices were shifted to a straight grid by "
            "linear interpolation.",
            CTRestorationWarning,
            stacklevel=4,
        )
        done["gantry_tilt_deg"] = round(float(lean), 3)
        return *_straightened(stack, array, step), done
    return array, _grid(stack, array, step), done


def read_pixels(files: tuple[str, ...]) -> NDArray[np.float32]:
    """Rescaled values [image, y, x] of single-frame files, each with its own slope and intercept.

    Raises:
        InputError: a damaged file.
    """
    sitk = simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    slices = []
    for file in files:
        reader.SetFileName(file)
        with quiet():
            try:
                image = reader.Execute()
            except RuntimeError as error:
                raise InputError(f"{file} is damaged or cut off: its pixels cannot be read.") from error
        array = sitk.GetArrayFromImage(image)
        slices.append(array.reshape(array.shape[-2:]))
    return np.stack(slices).astype(np.float32, copy=False)


def _distinct(stack: Stack, array: NDArray[np.float32], name: str) -> tuple[Stack, NDArray[np.float32], dict[str, Any]]:
    """Drop images that repeat their neighbor; refuse different ones at one position."""
    keep = [0]
    for number in range(1, len(stack.files)):
        if stack.heights[number] - stack.heights[keep[-1]] > _SAME_POSITION_MM:
            keep.append(number)
        elif not np.array_equal(array[number], array[keep[-1]]):
            raise InputError(
                f"{name}: several different images lie at one position ({stack.heights[number]:.2f} mm along the "
                "stack), as in a scan of several phases: keep one phase in the folder."
            )
    dropped = len(stack.files) - len(keep)
    return stack.picked(keep), array[keep], {"repeated_images": dropped} if dropped else {}


def _unevenness(heights: NDArray[np.float64]) -> str | None:
    """One clause on the slices that are missing or lie unevenly, or None."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if gaps.size:
        missing = sum(max(round(float(steps[gap]) / usual) - 1, 1) for gap in gaps)
        places = ", ".join(f"{heights[gap]:.2f} and {heights[gap + 1]:.2f} mm" for gap in gaps[:3])
        more = f" and {gaps.size - 3} further places" if gaps.size > 3 else ""
        return f"about {missing} slices are missing between {places}{more} (usual spacing {usual:.4g} mm)"
    even = np.linspace(heights[0], heights[-1], len(heights))
    if float(np.abs(heights - even).max()) > _EVEN * usual:
        return f"the slices lie unevenly, {steps.min():.4g} to {steps.max():.4g} mm apart"
    return None


def _evened(stack: Stack, array: NDArray[np.float32]) -> tuple[Stack, NDArray[np.float32]]:
    """Linear interpolation along the stack, at the usual spacing of the slices."""
    heights = stack.heights
    spans = max(1, round(float(heights[-1] - heights[0]) / float(np.median(np.diff(heights)))))
    share = np.linspace(heights[0], heights[-1], spans + 1)
    below = np.clip(np.searchsorted(heights, share, side="right") - 1, 0, len(heights) - 2)
    weight = (share - heights[below]) / (heights[below + 1] - heights[below])
    wide = weight[:, None, None].astype(np.float32)
    values = array[below] * (1 - wide) + array[below + 1] * wide
    positions = stack.positions[below] * (1 - weight[:, None]) + stack.positions[below + 1] * weight[:, None]
    return replace(stack, files=("",) * len(share), positions=positions), values


def _straightened(
    stack: Stack, array: NDArray[np.float32], step: NDArray[np.float64]
) -> tuple[NDArray[np.float32], Grid]:
    """Shift every slice within its plane, onto a matrix wide enough for all, so that the axes are at right angles."""
    from scipy.ndimage import shift

    pixel = np.asarray(stack.spacing)
    # Pixels (column, row) by which a slice moves against its predecessor.
    drift = (stack.orientation @ step) / pixel
    moves = np.arange(len(array))[:, None] * drift
    low = np.floor(moves.min(axis=0)).astype(int)
    high = np.ceil(moves.max(axis=0)).astype(int)
    columns, rows = array.shape[2] + high[0] - low[0], array.shape[1] + high[1] - low[1]
    result = np.full((len(array), rows, columns), AIR_HU, dtype=np.float32)
    for number, (move_x, move_y) in enumerate(moves):
        canvas = np.full((rows, columns), AIR_HU, dtype=np.float32)
        canvas[-low[1] : -low[1] + array.shape[1], -low[0] : -low[0] + array.shape[2]] = array[number]
        result[number] = shift(canvas, (move_y, move_x), order=1, mode="constant", cval=AIR_HU)
    normal = stack.normal
    straight = _grid(stack, result, normal * float(step @ normal))
    affine = straight.affine.copy()
    affine[:3, 3] = straight.to_world([low[0], low[1], 0])
    return result, Grid(straight.shape, affine)


def _grid(stack: Stack, array: NDArray[np.float32], step: NDArray[np.float64]) -> Grid:
    affine = np.eye(4)
    affine[:3, 0] = stack.orientation[0] * stack.spacing[0]
    affine[:3, 1] = stack.orientation[1] * stack.spacing[1]
    # Within the rounding of the header the stack is straight: make it exactly so, or no file could hold the grid.
    affine[:3, 2] = stack.normal * float(step @ stack.normal)
    affine[:3, 3] = stack.positions[0]
    z, y, x = array.shape
    return Grid((z, y, x), affine)
