"""The frame of every sinogram method: replace what metal corrupted, reconstruct, put the metal back.

A method only says how one slice's sinogram is completed inside the metal trace. Everything else is the same for all
of them, and stands here once:

* Slices without metal come back unchanged, bit for bit, also those where a mask says metal and the image shows none.
* Reconstruction is linear, so the corrected image is `image + FBP(completed - measured)`. The difference is zero
  outside the trace. For a clinical CT that was forward projected this keeps the scanner's own resolution and noise
  wherever no metal ray passed, instead of replacing them by those of a second reconstruction.
* Metal voxels get their measured values back.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.acquisition import Acquisition
from ctrestoration.anatomy.metal import LOWEST_THRESHOLD_HU, not_metal
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import CTRestorationWarning
from ctrestoration.restoration import Restoration

if TYPE_CHECKING:
    from ctrestoration.physics.projector import Projector

SYNTHESIZED_SHARE = 0.5
"""A voxel counts as synthesized where more than this share of its rays was filled in rather than measured."""

CompleteSlice = Callable[["SliceData"], NDArray[np.float32]]


class SliceData:
    """One slice of an acquisition, as a completion method sees it.

    Attributes:
        sinogram: measured line integrals [view, bin].
        trace: bool [view, bin], True where metal was met.
        metal: bool [row, column].
        mu_water: attenuation of water in 1/mm.
        projector: forward projector and adjoint for this slice's geometry.
    """

    def __init__(self, acquisition: Acquisition, index: int, projector: Projector) -> None:
        self._acquisition = acquisition
        self.sinogram = acquisition.sinogram[index]
        self.trace = acquisition.trace[index]
        self.metal = acquisition.metal[index]
        self.mu_water = acquisition.mu_water
        self.projector = projector

    def reconstruct(self, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
        """FBP with the acquisition's own filter: [view, bin] -> attenuation in 1/mm [row, column]."""
        return _reconstruct(self._acquisition, sinogram)


def complete(
    acquisition: Acquisition,
    method: str,
    complete_slice: CompleteSlice,
    control: Control = SILENT,
    settings: dict[str, Any] | None = None,
    measured: bool = False,
) -> Restoration:
    """Restore every slice that holds metal with `complete_slice`, and leave the others alone.

    Args:
        acquisition: the data; nothing of it is changed.
        method: name of the method, for messages and the provenance.
        complete_slice: gives the completed sinogram [view, bin] of one slice. Values outside the trace are ignored.
        control: reported to between slices.
        settings: the method's own settings, for the provenance.
        measured: the method corrects the values in the trace rather than inventing them, so no voxel counts as
            synthesized.

    Returns:
        The restored image on the acquisition's grid, with the mask of synthesized voxels.
    """
    image = np.array(acquisition.image.array)
    synthesized = np.zeros(image.shape, dtype=bool)
    slices = slices_to_correct(acquisition)
    if slices:
        projector = projector_of(acquisition)
        coverage = Coverage(acquisition)
        for index in control.track(slices, f"Correcting with {method}"):
            data = SliceData(acquisition, index, projector)
            image[index] += completed_change(data, complete_slice(data))
            if not measured:
                synthesized[index] = coverage.synthesized(data.trace) & ~data.metal
    provenance = {
        "method": method,
        "version": __version__,
        "settings": settings or {},
        "slices_corrected": slices,
        "data": acquisition.provenance.get("source", "unknown"),
    }
    restored = acquisition.image.replaced(image, name=f"{acquisition.image.name} {method}", correction=provenance)
    return Restoration(restored, synthesized=synthesized, provenance=provenance)


def slices_to_correct(acquisition: Acquisition) -> list[int]:
    """Slices with metal, counted from 0; a warning says where there is none.

    A mask alone is not believed. Slices whose pieces of it are all as dark as tissue (`anatomy.metal.not_metal`), a
    planned implant or the mask of another scan, have no artifact, and every completion would only harm them. A slice
    that only a trace reaches holds less than half a voxel of metal: it is corrected if it is bright anywhere, or the
    slice beside it holds metal.
    """
    crossed = acquisition.trace.any(axis=(1, 2))
    if not crossed.any():
        warnings.warn(
            "No metal in this volume: nothing to correct, the image is returned unchanged.", CTRestorationWarning, 3
        )
        return []
    array, masked = acquisition.image.array, acquisition.metal.any(axis=(1, 2))
    seen = (acquisition.metal & ~not_metal(acquisition.metal, array)).any(axis=(1, 2))
    around = np.pad(seen, 1)
    beside = around[:-2] | around[2:]
    hinted = ~masked & (beside | (array.max(axis=(1, 2)) >= LOWEST_THRESHOLD_HU))
    wrong = crossed & ~seen & ~hinted
    if wrong.any():
        warnings.warn(
            f"{_slices_text(np.flatnonzero(wrong))} unchanged: the metal mask covers nothing above "
            f"{LOWEST_THRESHOLD_HU:.0f} HU there, so there is no metal.",
            CTRestorationWarning,
            3,
        )
    return [int(index) for index in np.flatnonzero(crossed & ~wrong)]


def _slices_text(found: NDArray[np.intp]) -> str:
    if found.size == 1:
        return f"Slice {found[0]} is"
    return f"{found.size} slices between {found[0]} and {found[-1]} are"


def completed_change(data: SliceData, completed: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a completed sinogram [view, bin] changes in the image, HU [row, column]; nothing in the metal.

    Only values inside the trace are looked at.
    """
    return np.where(data.metal, 0.0, image_change(data, completed)).astype(np.float32)


def image_change(data: SliceData, completed: NDArray[np.float32]) -> NDArray[np.float32]:
    """As `completed_change`, also where the metal is."""
    taken = np.where(data.trace, completed, data.sinogram).astype(np.float32)
    return np.asarray(data.reconstruct(taken - data.sinogram) * (1000.0 / data.mu_water), dtype=np.float32)


class Coverage:
    """Which share of the rays through every pixel was filled in, from every fourth view: enough to call it a half."""

    THINNING = 4

    def __init__(self, acquisition: Acquisition) -> None:
        from ctrestoration.physics.projector import Projector

        geometry = acquisition.geometry
        self._views = slice(None, None, self.THINNING if geometry.n_views % self.THINNING == 0 else 1)
        count = len(range(geometry.n_views)[self._views])
        self._projector = Projector(replace(geometry, n_views=count), acquisition.image_grid)
        self._seen = self._projector.adjoint(np.ones((count, geometry.n_bins), dtype=np.float32))

    def synthesized(self, trace: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Pixels [row, column] more than `SYNTHESIZED_SHARE` of whose rays lie in a trace [view, bin]."""
        missing = self._projector.adjoint(trace[self._views].astype(np.float32))
        return np.asarray(missing > SYNTHESIZED_SHARE * self._seen)


def projector_of(acquisition: Acquisition) -> Projector:
    """Forward projector and adjoint of the acquisition's slices."""
    from ctrestoration.physics.projector import Projector

    return Projector(acquisition.geometry, acquisition.image_grid)


def _reconstruct(acquisition: Acquisition, sinogram: NDArray[np.float32]) -> NDArray[np.float32]:
    from ctrestoration.physics.fbp import fbp

    return fbp(
        sinogram,
        acquisition.geometry,
        acquisition.image_grid,
        window=acquisition.fbp_window,
        mode=acquisition.fbp_mode,
    )
