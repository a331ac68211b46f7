"""What every low-dose reconstruction method shares: slice by slice, in HU, with progress and provenance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration._version import __version__
from ctrestoration.acquisition import Acquisition
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import InputError
from ctrestoration.physics.fbp import fbp
from ctrestoration.restoration import Restoration
from ctrestoration.simulate.lowdose import MU_AIR
from ctrestoration.volume import Volume

IMAGE_ONLY = "image only"
"""`provenance["source"]` of an acquisition that has no sinogram."""

RestoreSlice = Callable[[int], NDArray[np.floating]]


def acquisition_of_image(volume: Volume) -> Acquisition:
    """A CT without raw data, for the methods that work on the image: its sinogram holds nothing.

    Args:
        volume: CT in HU, any orientation.
    """
    from ctrestoration.physics.geometry import ImageGrid
    from ctrestoration.physics.presets import scanner_preset

    axial = volume.axial()
    column, row, _ = axial.grid.spacing
    grid = ImageGrid((axial.grid.shape[1], axial.grid.shape[2]), (row, column))
    geometry = scanner_preset("lodopab").geometry(grid)
    shape = (axial.grid.shape[0], geometry.n_views, geometry.n_bins)
    empty = np.broadcast_to(np.float32(0.0), shape), np.broadcast_to(np.False_, shape)
    metal = np.broadcast_to(np.False_, axial.grid.shape)
    provenance = {"source": IMAGE_ONLY}
    return Acquisition(axial, empty[0], empty[1], metal, geometry, grid, 0.02, provenance=provenance)


def restore_slices(
    acquisition: Acquisition,
    method: str,
    restore_slice: RestoreSlice,
    control: Control = SILENT,
    settings: dict[str, Any] | None = None,
    needs_sinogram: bool = False,
) -> Restoration:
    """Restore every slice.

    Args:
        acquisition: the data; nothing of it is changed.
        method: name of the method.
        restore_slice: gives the HU of the slice of that index [row, column].
        control: reported to between slices.
        settings: for the provenance.
        needs_sinogram: refuse data that are an image only.

    Raises:
        InputError: the method needs a sinogram and there is none.
        Cancelled: where the control asks to stop.
    """
    if needs_sinogram and acquisition.provenance.get("source") == IMAGE_ONLY:
        raise InputError(
            f"Method {method!r} reconstructs from a sinogram and {acquisition.image.name} has none: give the "
            "acquisition, or choose a method that works on the image, such as nlm, tv or fbp-reproject."
        )
    out = np.empty_like(acquisition.image.array)
    for z in control.track(range(len(out)), f"Reconstructing with {method}"):
        out[z] = restore_slice(z)
    provenance = {
        "method": method,
        "version": __version__,
        "settings": settings or {},
        "data": acquisition.provenance.get("source", "unknown"),
    }
    restored = acquisition.image.replaced(out, name=f"{acquisition.image.name} {method}", reconstruction=provenance)
    return Restoration(restored, provenance=provenance)


def fbp_hu(acquisition: Acquisition, sinogram: NDArray[np.float32], **options: Any) -> NDArray[np.float32]:
    """FBP of one slice's sinogram [view, bin] in HU; options as in `physics.fbp.fbp`."""
    mu = fbp(sinogram, acquisition.geometry, acquisition.image_grid, **options)
    return to_hu(mu, acquisition.mu_water)


def to_hu(mu: NDArray[np.floating], mu_water: float) -> NDArray[np.float32]:
    """HU of attenuation in 1/mm, by LoDoPaB's scale: air is 0.02 per meter, not nothing."""
    return np.asarray((mu - mu_water) * (1000.0 / (mu_water - MU_AIR)), dtype=np.float32)


def to_mu(hu: NDArray[np.floating], mu_water: float) -> NDArray[np.float32]:
    """Attenuation in 1/mm of HU; the inverse of `to_hu`."""
    return np.asarray(hu * ((mu_water - MU_AIR) / 1000.0) + mu_water, dtype=np.float32)


def noise_hu(image: NDArray[np.floating]) -> float:
    """Noise of a CT slice in HU: the lower quartile of the local standard deviation (7x7 pixels) inside the patient.

    Even regions have the noise only; edges and texture raise the rest of the distribution. Correlated noise, as FBP
    makes it, is counted whole, which estimators from neighboring differences miss. 0 where there is no patient.
    """
    from scipy.ndimage import uniform_filter

    values = image.astype(np.float64)
    mean = uniform_filter(values, 7)
    spread = np.sqrt(np.maximum(uniform_filter(values**2, 7) - mean**2, 0.0))
    inside = mean > -200.0
    return float(np.percentile(spread[inside], 25)) if inside.any() else 0.0
