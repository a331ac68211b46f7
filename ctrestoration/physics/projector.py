"""Forward projection and its exact adjoint, one call for every geometry and engine.

Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE TMI 1 (1982) 192.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.physics import lanes
from ctrestoration.physics.geometry import Geometry, ImageGrid
from ctrestoration.physics.kernels import Engine, kernels
from ctrestoration.physics.steps import PAD, step_table


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
        self._walks = lanes.symmetric_walks(geometry, grid) if kernels(engine).HAS_LANES else ()

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
        out = np.empty((len(stack), len(self.steps)), dtype=np.float32)
        self._project(stack, self._walks, slice(None), out)
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
        expected = (self.geometry.n_views, self.geometry.n_bins)
        if rays.shape != expected:
            raise InputError(f"The rays have shape {rays.shape}, the geometry expects {expected} (view, bin).")
        chosen = rays.ravel()
        out = np.empty((len(stack), int(chosen.sum())), dtype=np.float32)
        self._project(stack, tuple(walks.serving(chosen) for walks in self._walks), chosen, out)
        return out.reshape(*lead, -1)

    def _project(
        self,
        stack: NDArray[np.float32],
        walks: tuple[lanes.Walks, ...],
        chosen: slice | NDArray[np.bool_],
        out: NDArray[np.float32],
    ) -> None:
        """Line integrals [slice, ray] along the chosen rays, which are those that the walks serve."""
        engine = self._kernels()
        if walks:
            lanes.forward(stack, walks, out)
            return
        columns = np.pad(stack, ((0, 0), (0, 0), (PAD, PAD)))
        rows = np.pad(np.ascontiguousarray(stack.transpose(0, 2, 1)), ((0, 0), (0, 0), (PAD, PAD)))
        engine.forward(rows, columns, self.steps[chosen], self.ranges[chosen], out)

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
        rays = stack.reshape(len(stack), -1)
        rows, columns = self.grid.shape
        engine = self._kernels()
        if self._walks:
            images = np.empty((len(stack), rows, columns), dtype=np.float32)
            lanes.adjoint(rays, self._walks, images)
            return images.reshape(*lead, rows, columns)
        by_rows = np.zeros((len(stack), columns, rows + 2 * PAD), dtype=np.float32)
        by_columns = np.zeros((len(stack), rows, columns + 2 * PAD), dtype=np.float32)
        engine.adjoint(rays, self.steps, self.ranges, by_rows, by_columns)
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


def _is_torch(array: Any) -> bool:
    """Whether this is a torch tensor, found out without importing torch."""
    return type(array).__module__.split(".")[0] == "torch"
