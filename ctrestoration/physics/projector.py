"""Forward projection and its exact adjoint, one call for every geometry and engine.

Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE TMI 1 (1982) 192.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.physics.geometry import Geometry, ImageGrid
from ctrestoration.physics.kernels import Engine, kernels

PAD = 2
"""Zeros around an image, across the direction of stepping."""


class Projector:
    """Line integrals of images on one grid in one geometry, and the exact transpose of that operation.

    Args:
        geometry: the scanner.
        grid: the pixels.
        threads: how many CPU threads; None takes what numba is set to. Results do not depend on it.
        engine: "auto" takes numba where it is installed, else a slower numpy kernel with the same numbers.
    """

    def __init__(
        self, geometry: Geometry, grid: ImageGrid, *, threads: int | None = None, engine: Engine = "auto"
    ) -> None:
        self.geometry, self.grid, self.threads = geometry, grid, threads
        self.engine = engine
        kernels(engine)
        self.steps, self.ranges = step_table(geometry, grid)

    def forward(self, images: Any) -> Any:
        """Line integrals of images.

        Args:
            images: [..., row, column], attenuation in 1/mm (any unit: the result has that unit times mm). A torch
                tensor gives a torch tensor, differentiable any number of times.

        Returns:
            float32 [..., view, bin].

        Raises:
            InputError: images of another shape than the grid.
        """
        if _is_torch(images):
            from ctrestoration.physics._torch_ops import project

            return project(images, self)
        stack, lead = self._stack(images, self.grid.shape, "image")
        out = self._project(stack, self.steps, self.ranges)
        return out.reshape(*lead, self.geometry.n_views, self.geometry.n_bins)

    def forward_rays(self, images: NDArray[Any], rays: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Line integrals along some rays only, the same numbers as `forward(images)[..., rays]`.

        Args:
            images: [..., row, column].
            rays: bool [view, bin], which ones.

        Returns:
            float32 [..., ray].

        Raises:
            InputError: images or rays of another shape than grid and geometry.
        """
        stack, lead = self._stack(images, self.grid.shape, "image")
        if rays.shape != (self.geometry.n_views, self.geometry.n_bins):
            raise InputError(f"The rays have shape {rays.shape}, the geometry has {self.geometry.n_views} views.")
        chosen = rays.ravel()
        return self._project(stack, self.steps[chosen], self.ranges[chosen]).reshape(*lead, -1)

    def _project(
        self, stack: NDArray[np.float32], steps: NDArray[np.float64], ranges: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        out = np.empty((len(stack), len(steps)), dtype=np.float32)
        columns = np.pad(stack, ((0, 0), (0, 0), (PAD, PAD)))
        rows = np.pad(np.ascontiguousarray(stack.transpose(0, 2, 1)), ((0, 0), (0, 0), (PAD, PAD)))
        self._kernels().forward(rows, columns, steps, ranges, out)
        return out

    def adjoint(self, sinograms: Any) -> Any:
        """The exact transpose of `forward`.

        Args:
            sinograms: [..., view, bin]; a torch tensor gives a torch tensor, as in `forward`.

        Returns:
            float32 [..., row, column].

        Raises:
            InputError: sinograms of another shape than the geometry.
        """
        if _is_torch(sinograms):
            from ctrestoration.physics._torch_ops import backproject

            return backproject(sinograms, self)
        shape = (self.geometry.n_views, self.geometry.n_bins)
        stack, lead = self._stack(sinograms, shape, "sinogram")
        rows, columns = self.grid.shape
        by_rows = np.zeros((len(stack), columns, rows + 2 * PAD), dtype=np.float32)
        by_columns = np.zeros((len(stack), rows, columns + 2 * PAD), dtype=np.float32)
        rays = stack.reshape(len(stack), -1)
        self._kernels().adjoint(rays, self.steps, self.ranges, by_rows, by_columns)
        images = by_columns[:, :, PAD:-PAD] + by_rows[:, :, PAD:-PAD].transpose(0, 2, 1)
        return np.ascontiguousarray(images).reshape(*lead, rows, columns)

    @staticmethod
    def _stack(arrays: NDArray[Any], shape: tuple[int, int], what: str) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        arrays = np.ascontiguousarray(arrays, dtype=np.float32)
        if arrays.shape[-2:] != shape:
            raise InputError(f"The {what} has shape {arrays.shape[-2:]}, the geometry expects {shape}.")
        return arrays.reshape(-1, *shape), arrays.shape[:-2]

    def _kernels(self) -> Any:
        chosen = kernels(self.engine)
        if self.threads is not None and hasattr(chosen, "set_threads"):
            chosen.set_threads(self.threads)
        return chosen


def step_table(geometry: Geometry, grid: ImageGrid) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """How every ray walks through the image.

    Returns:
        steps [ray, 3]: index across at step 0 (shifted by `PAD`), its increment a step, step length in mm; float64.
        ranges [ray, 3]: whether the ray steps over columns, its first step inside the image, one past its last; int32.
    """
    cosine, sine, s = (part.ravel() for part in np.moveaxis(geometry.rays(), -1, 0))
    (rows, columns), (dy, dx) = grid.shape, grid.spacing
    x, y = grid.coordinates()
    # In pixels, not in mm: the index across then moves by at most one a step, for oblong pixels too.
    over_columns = np.abs(sine) * dy >= np.abs(cosine) * dx
    with np.errstate(divide="ignore", invalid="ignore"):
        # y = (s - x cos) / sin, row = (rows - 1) / 2 - y / dy; likewise for the column of a row.
        down = (0.5 * (rows - 1) - (s - x[0] * cosine) / sine / dy, dx * cosine / sine / dy, dx / np.abs(sine))
        right = (0.5 * (columns - 1) + (s - y[0] * sine) / cosine / dx, dy * sine / cosine / dx, dy / np.abs(cosine))
        steps = np.stack([np.where(over_columns, a, b) for a, b in zip(down, right, strict=True)], axis=-1)
        steps[:, 0] += PAD
        # Inside: PAD - 1 <= first + k * increment < across + PAD. A rounding error reads padding, which holds zero.
        across = np.where(over_columns, rows, columns)
        ends = np.stack([PAD - 1 - steps[:, 0], across + PAD - steps[:, 0]]) / steps[:, 1]
    flat = np.abs(steps[:, 1]) < 1e-9
    held = (steps[:, 0] >= PAD - 1) & (steps[:, 0] < across + PAD)
    start = np.where(flat, np.where(held, 0, np.inf), np.ceil(ends.min(axis=0)))
    stop = np.where(flat, np.where(held, np.inf, 0), np.ceil(ends.max(axis=0)))
    along = np.where(over_columns, columns, rows)
    limits = [np.clip(limit, 0, along) for limit in (start, stop)]
    return np.ascontiguousarray(steps), np.stack([over_columns, *limits], axis=-1).astype(np.int32)


def _is_torch(array: Any) -> bool:
    """Whether this is a torch tensor, found out without importing torch."""
    return type(array).__module__.split(".")[0] == "torch"
