"""Acquisitions in files: one zip of numpy arrays, a slice each, read and written slice by slice.

Numpy and the standard library are enough for it, so it works on what 3D Slicer bundles, and any numpy user can open
it (`numpy.load`). Every member carries the zip format's checksum, which catches a flipped bit. Nothing is pickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError
from ctrestoration.files import atomic
from ctrestoration.volume import Grid, Volume

if TYPE_CHECKING:
    from ctrestoration.acquisition import Acquisition

SUFFIX = ".npz"
_FORMAT = "ctrestoration acquisition"
_VERSION = 1


def save_acquisition(acquisition: Acquisition, path: str | Path) -> None:
    """Write an acquisition; the file is complete or not there at all.

    Args:
        acquisition: what to write.
        path: a file ending in .npz.

    Raises:
        InputError: another suffix.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: an acquisition is written to a file ending in {SUFFIX}.")
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "shape": list(acquisition.sinogram.shape),
        "geometry": acquisition.geometry.to_dict(),
        "image_grid": {"shape": acquisition.image_grid.shape, "spacing": acquisition.image_grid.spacing},
        "grid": {"shape": acquisition.image.grid.shape, "affine": acquisition.image.grid.affine.tolist()},
        "name": acquisition.image.name,
        "image_provenance": acquisition.image.provenance,
        "mu_water": acquisition.mu_water,
        "fbp_mode": acquisition.fbp_mode,
        "fbp_window": acquisition.fbp_window,
        "provenance": acquisition.provenance,
    }
    with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("metadata.json", json.dumps(metadata, allow_nan=False))
        for z in range(len(acquisition.sinogram)):
            _put(archive, f"sinogram/{z:05d}", acquisition.sinogram[z])
            _put(archive, f"trace/{z:05d}", np.packbits(acquisition.trace[z]))
            _put(archive, f"metal/{z:05d}", np.packbits(acquisition.metal[z]))
            _put(archive, f"image/{z:05d}", acquisition.image.array[z])


def load_acquisition(path: str | Path) -> Acquisition:
    """Read an acquisition written by `save_acquisition`.

    Raises:
        InputError: not there, not an acquisition, of a newer version, or damaged.
    """
    from ctrestoration.acquisition import Acquisition
    from ctrestoration.physics.geometry import Geometry, ImageGrid

    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the acquisition file in it, such as {path / 'acquisition.npz'}.")
    if not path.is_file():
        raise InputError(f"{path} does not exist: an acquisition is a file written by 'ctrestoration simulate'.")
    try:
        with zipfile.ZipFile(path) as archive:
            facts = _facts(archive, path)
            scan = _Members(archive, facts["shape"][0])
            geometry = Geometry.from_dict(facts["geometry"])
            image_grid = ImageGrid(tuple(facts["image_grid"]["shape"]), tuple(facts["image_grid"]["spacing"]))
            views = (geometry.n_views, geometry.n_bins)
            grid = Grid(tuple(facts["grid"]["shape"]), np.array(facts["grid"]["affine"]))
            return Acquisition(
                Volume(scan.stack("image", grid.shape[1:]), grid, facts["name"], facts["image_provenance"]),
                scan.stack("sinogram", views),
                scan.bits("trace", views),
                scan.bits("metal", image_grid.shape),
                geometry,
                image_grid,
                float(facts["mu_water"]),
                facts["fbp_mode"],
                facts["fbp_window"],
                facts["provenance"],
            )
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is damaged or no acquisition ({error}): simulate it again.") from error


@dataclass(frozen=True)
class _Members:
    """The arrays of an open archive."""

    archive: zipfile.ZipFile
    slices: int

    def stack(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        out = np.empty((self.slices, *shape), dtype=np.float32)
        for z in range(self.slices):
            out[z] = self._get(f"{name}/{z:05d}")
        return out

    def bits(self, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        out = np.empty((self.slices, *shape), dtype=bool)
        count = int(np.prod(shape))
        for z in range(self.slices):
            out[z] = np.unpackbits(self._get(f"{name}/{z:05d}"), count=count).reshape(shape)
        return out

    def _get(self, name: str) -> NDArray[Any]:
        loaded: NDArray[Any] = np.load(io.BytesIO(self.archive.read(f"{name}.npy")), allow_pickle=False)
        return loaded


def _put(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    archive.writestr(f"{name}.npy", stream.getvalue())


def _facts(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(archive.read("metadata.json"))
    if facts.get("format") != _FORMAT:
        raise InputError(f"{path} is no acquisition: it was not written by 'ctrestoration simulate'.")
    if facts["version"] > _VERSION:
        raise InputError(f"{path} was written by a newer version of CTRestoration: update it to read this file.")
    return facts
