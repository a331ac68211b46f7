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
        self._steps, self._over_columns = _step_table(geometry, grid)

    def forward(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Line integrals of images.

        Args:
            images: [..., row, column], attenuation in 1/mm (any unit: the result has that unit times mm).

        Returns:
            float32 [..., view, bin].

        Raises:
            InputError: images of another shape than the grid.
        """
        stack, lead = self._stack(images, self.grid.shape, "image")
        out = np.empty((len(stack), len(self._steps)), dtype=np.float32)
        padded = np.pad(stack, ((0, 0), (1, 1), (0, 0)))
        turned = np.pad(np.ascontiguousarray(stack.transpose(0, 2, 1)), ((0, 0), (1, 1), (0, 0)))
        self._kernels().forward(padded, turned, self._steps, self._over_columns, out)
        return out.reshape(*lead, self.geometry.n_views, self.geometry.n_bins)

    def adjoint(self, sinograms: NDArray[Any]) -> NDArray[np.float32]:
        """The exact transpose of `forward`.

        Args:
            sinograms: [..., view, bin].

        Returns:
            float32 [..., row, column].

        Raises:
            InputError: sinograms of another shape than the geometry.
        """
        shape = (self.geometry.n_views, self.geometry.n_bins)
        stack, lead = self._stack(sinograms, shape, "sinogram")
        rows, columns = self.grid.shape
        padded = np.zeros((len(stack), rows + 2, columns), dtype=np.float32)
        turned = np.zeros((len(stack), columns + 2, rows), dtype=np.float32)
        rays = stack.reshape(len(stack), -1)
        self._kernels().adjoint(rays, self._steps, self._over_columns, padded, turned)
        images = padded[:, 1:-1] + turned[:, 1:-1].transpose(0, 2, 1)
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


def _step_table(geometry: Geometry, grid: ImageGrid) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(first fractional index, increment, step length in mm) [ray, 3], and whether a ray steps over columns."""
    cosine, sine, s = (part.ravel() for part in np.moveaxis(geometry.rays(), -1, 0))
    (rows, columns), (dy, dx) = grid.shape, grid.spacing
    x, y = grid.coordinates()
    over_columns = np.abs(sine) > np.abs(cosine)
    with np.errstate(divide="ignore", invalid="ignore"):
        # y = (s - x cos) / sin; row index = (rows - 1) / 2 - y / dy
        columns_steps = (0.5 * (rows - 1) - (s - x[0] * cosine) / sine / dy, dx * cosine / sine / dy, dx / np.abs(sine))
        rows_steps = (
            0.5 * (columns - 1) + (s - y[0] * sine) / cosine / dx,
            dy * sine / cosine / dx,
            dy / np.abs(cosine),
        )
    steps = [np.where(over_columns, a, b) for a, b in zip(columns_steps, rows_steps, strict=True)]
    return np.stack(steps, axis=-1), over_columns
